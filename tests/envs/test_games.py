"""What every game of two players has: whose turn it is, and the symmetries of its board."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.envs import Environment, Game, games
from tests.support.pgx_games import KEY, MOVES, SYMMETRIC, legal_move, named, played


def test_a_game_is_a_record_of_pure_functions():
    """The first five attributes are those of an environment, in the same order."""
    assert Game._fields[:5] == Environment._fields[:5]


def test_turn_is_minus_one_zero_or_plus_one():
    """Tic-tac-toe: -1 after a move, 0 after the winning one. Leduc: raised and called, the second round begins with who
    moved first, so the turn passes after 'raise, call' and does not after 'check, raise, call'."""

    def turns(game, moves):
        _, state = game.reset(KEY)
        found = []
        for move in moves:
            _, after, _, terminated, _, _ = jax.jit(game.step)(KEY, state, jnp.int32(move))
            found.append(games.turn(game, state, after, terminated))
            state = after
        assert all(turn.dtype == jnp.float32 for turn in found)
        return [float(turn) for turn in found]

    assert turns(named("tic_tac_toe"), [0, 3, 1, 4, 2]) == [-1, -1, -1, -1, 0]
    call, bet = 0, 1
    leduc = named("leduc_holdem")
    assert turns(leduc, [bet, call, call, call]) == [-1, -1, -1, 0]
    assert turns(leduc, [call, bet, call, call, call]) == [-1, -1, 1, -1, 0]


def test_only_boards_have_symmetries():
    """As many as each game has, the identity first; they are permutations, and one after another is again one."""
    for name in MOVES:
        symmetries = named(name).symmetries
        if name not in SYMMETRIC:
            assert symmetries is None
            continue
        for images in symmetries:
            assert images.shape[0] == SYMMETRIC[name] and images.dtype == np.int32
            assert np.array_equal(images[0], np.arange(images.shape[1]))
            assert np.array_equal(np.sort(images), np.broadcast_to(images[0], images.shape))
            composed = {tuple(image[other]) for image in images for other in images}
            assert composed == {tuple(image) for image in images} and len(composed) == len(images)


@pytest.mark.covers("toy-envs")
@pytest.mark.parametrize("name", SYMMETRIC)
def test_the_image_of_a_game_is_a_game(name):
    """Two random games and their images under every symmetry, move by move: the images of what is seen and of what is
    legal are seen and legal in the image, and earn the same."""
    game = named(name)
    images = jnp.argsort(game.symmetries.actions, axis=1)  # [K, A] where each move goes
    image = jax.vmap(functools.partial(games.apply, game.symmetries), (0, None, None))
    indices = jnp.arange(len(images))

    def body(states, key):
        original = jax.tree.map(lambda x: x[0], states)
        moves = images[:, legal_move(game, original, key)]
        obs, states, reward, terminated, _, _ = jax.vmap(functools.partial(game.step, key))(states, moves)
        legal = jax.vmap(game.legal)(states)
        wanted = image(indices, obs[0], legal[0])
        alike = jnp.array_equal(obs, wanted[0]) & jnp.array_equal(legal, wanted[1])
        return states, (alike, reward, terminated)

    @jax.jit
    @jax.vmap
    def play(key):
        reset_key, scan_key = jax.random.split(key)
        _, state = game.reset(reset_key)
        states = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(images), *x.shape)), state)
        return jax.lax.scan(body, states, jax.random.split(scan_key, MOVES[name]))[1]

    alike, reward, terminated = play(jax.random.split(KEY, 2))
    assert alike.all()
    assert np.array_equal(reward, np.broadcast_to(reward[..., :1], reward.shape))
    assert np.array_equal(terminated, np.broadcast_to(terminated[..., :1], terminated.shape))


def test_othello_has_no_others():
    """Of the eight turns and reflections of the board just these four map what is legal at the start onto itself: the
    others would exchange the players' stones."""
    game = named("othello")
    _, state = game.reset(KEY)
    legal = np.asarray(game.legal(state))[:64]
    kept = [cells for cells in games.of_square(8) if np.array_equal(legal[cells], legal)]
    np.testing.assert_array_equal(kept, game.symmetries.cells)


def test_apply_moves_a_stone_and_its_probability_together():
    """Connect Four mirrored: a stone in column 1 is seen in column 5, and so is what was thought of it. In the images
    of tic-tac-toe, a plane that shows the policy shows it still."""
    game = named("connect_four")
    obs, _ = played(game, [1])
    seen, policy = games.apply(game.symmetries, jnp.int32(1), obs, jnp.arange(7.0))
    assert np.argwhere(seen).tolist() == [[5, 5, 1]] and policy.tolist() == [6, 5, 4, 3, 2, 1, 0]
    policy = jnp.arange(9.0)
    for index in range(8):
        board, turned = games.apply(named("tic_tac_toe").symmetries, index, policy.reshape(3, 3, 1), policy)
        np.testing.assert_array_equal(board.ravel(), turned)
