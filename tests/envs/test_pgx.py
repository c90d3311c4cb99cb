"""Games of pgx against pgx itself, their symmetries, and what is said of them in text and pictures."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.envs import Game, check_env, from_pgx, games, make, pgx, registered
from purerl.spaces import Box, Discrete

KEY = jax.random.key(0)
NUM_GAMES = 8
MOVES = {  # how many random moves are looked at, enough to end most games of the short ones
    "tic_tac_toe": 12,
    "connect_four": 44,
    "othello": 70,
    "hex": 40,
    "go_9x9": 40,
    "gardner_chess": 30,
    "kuhn_poker": 5,
    "leduc_holdem": 10,
}
SYMMETRIC = {"tic_tac_toe": 8, "connect_four": 2, "othello": 4, "hex": 2, "go_9x9": 8}


@functools.cache
def named(name):
    """One game for all tests, so that what is compiled for one is there for the next."""
    return make(f"pgx/{name}")


def legal_move(game, state, key):
    return jax.random.categorical(key, jnp.where(game.legal(state), 0.0, -jnp.inf))


def played(game, moves):
    """The observation and state after some moves."""
    obs, state = game.reset(KEY)
    for move in moves:
        obs, state, *_ = jax.jit(game.step)(KEY, state, jnp.int32(move))
    return obs, state


# --- the environment --------------------------------------------------------------------------------------


@pytest.mark.covers("toy-envs")
@pytest.mark.parametrize("name", MOVES)
def test_every_game_keeps_the_protocol_of_environments(name):
    """check_env has no error and no note for any game, with a new toss and new cards in each."""
    game = named(name)
    # All are run below, so here most are only traced
    report = check_env(game, num_steps=60 if name in ("tic_tac_toe", "leduc_holdem") else 0)
    assert report.name == game.name == f"pgx/{name}"
    assert report.errors == report.notes == ()


def test_all_games_have_names():
    """registered() lists the eight, and a misspelt one is answered with its neighbour."""
    assert [name for name in registered() if name.startswith("pgx/")] == sorted(f"pgx/{name}" for name in MOVES)
    with pytest.raises(ValueError, match=r"(?s)'pgx/tictactoe'.*'pgx/tic_tac_toe'"):
        make("pgx/tictactoe")
    with pytest.raises(ValueError, match=r"'conect4'.*Near: 'connect_four'.*There are: tic_tac_toe, "):
        from_pgx("conect4")


def test_spaces_are_those_of_what_is_seen():
    """Shapes and dtypes of the observations of a board, of chess and of cards, and the number of moves."""
    assert named("hex").observation_space == Box(0.0, 1.0, (11, 11, 4), np.dtype(bool))
    assert named("gardner_chess").observation_space == Box(0.0, 1.0, (5, 5, 115), np.dtype(np.float32))
    assert named("leduc_holdem").observation_space == Box(0.0, 1.0, (34,), np.dtype(bool))
    assert named("connect_four").action_space == Discrete(7)


@pytest.mark.covers("toy-envs")
@pytest.mark.parametrize("name", MOVES)
def test_games_are_those_of_pgx(name):
    """Eight random games beside pgx's own: one view, one set of legal moves, one end. The reward is that of who moved,
    and the players earn opposite sums; who moves first is 0, whatever pgx's toss. In every second game an illegal move
    is made as soon as there is one, which ends it and earns -1. After the end nothing changes, nothing is earned."""
    import pgx as library

    game, peer = named(name), library.make(name)

    def body(states, key, rebels):
        state, theirs, first = states
        move_key, step_key = jax.random.split(key)
        legal, mover, over = game.legal(state), theirs.current_player, theirs.terminated
        breaks = rebels & ~legal.all()
        move = jnp.where(breaks, jnp.argmin(legal), legal_move(game, state, move_key))
        obs, after, reward, terminated, truncated, info = game.step(step_key, state, move)
        assert info == {}
        theirs = peer.step(theirs, move)
        alike = (
            jnp.array_equal(obs, theirs.observation),
            jnp.array_equal(game.legal(after), theirs.legal_action_mask),
            terminated == theirs.terminated,
            game.player(state) == (mover != first),
            reward == theirs.rewards[mover],
            reward == -theirs.rewards[1 - mover],
        )
        seen = {
            "alike": jnp.stack(alike),
            "over": over,
            "unchanged": games_equal(after, state),
            "breaks": breaks,
            "reward": reward,
            "terminated": terminated,
            "truncated": truncated,
        }
        return (after, theirs, first), seen

    def play(key, rebels):
        reset_key, scan_key = jax.random.split(key)
        obs, state = game.reset(reset_key)
        theirs = peer.init(reset_key)
        begin = jnp.array_equal(obs, theirs.observation) & (game.player(state) == 0)
        keys, body_of_game = jax.random.split(scan_key, MOVES[name]), functools.partial(body, rebels=rebels)
        return theirs.current_player, begin, jax.lax.scan(body_of_game, (state, theirs, theirs.current_player), keys)[1]

    rebels = jnp.arange(NUM_GAMES) % 2 == 1
    first, begin, seen = jax.device_get(jax.jit(jax.vmap(play))(jax.random.split(KEY, NUM_GAMES), rebels))
    assert set(first) == {0, 1} and begin.all() and seen["alike"].all() and not seen["truncated"].any()
    over, breaks = seen["over"], seen["breaks"]
    assert over.any() and seen["terminated"][over].all() and not seen["reward"][over].any()
    np.testing.assert_array_equal(seen["unchanged"], over)
    assert seen["terminated"][breaks].all() and (seen["reward"][breaks] == -1).all()
    assert breaks.any() == (name != "kuhn_poker")


def games_equal(after, state):
    """Whether two states agree but for the record of what the last step earned."""
    after, state = (x._replace(state=x.state.replace(rewards=None)) for x in (after, state))
    return jnp.stack([jnp.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (after, state)), strict=True)]).all()


def test_games_end_by_their_own_limit():
    """A game of Go in which nobody passes and few stones are taken is over after 162 moves at the latest, as an end of
    the game, not of its recording."""
    game = named("go_9x9")

    def body(state, key):
        legal = game.legal(state).at[81].set(False)
        move = jnp.where(legal.any(), jax.random.categorical(key, jnp.where(legal, 0.0, -jnp.inf)), 81)
        _, state, _, terminated, truncated, _ = game.step(key, state, move)
        return state, (terminated, truncated)

    @jax.jit
    @jax.vmap
    def play(key):
        reset_key, scan_key = jax.random.split(key)
        return jax.lax.scan(body, game.reset(reset_key)[1], jax.random.split(scan_key, 162))[1]

    terminated, truncated = play(jax.random.split(KEY, 4))
    assert terminated[:, -1].all() and not truncated.any()


# --- whose turn it is -------------------------------------------------------------------------------------


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


# --- symmetries -------------------------------------------------------------------------------------------


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


# --- text and pictures ------------------------------------------------------------------------------------


def test_boards_in_text():
    """x moves first, o second, whoever is to move: tic-tac-toe after two and three moves, Connect Four with its stones
    at the bottom, the slanted board of Hex, in which the stone of who moved first is mirrored by swapping."""
    show = {name: named(name).show for name in ("tic_tac_toe", "connect_four", "hex")}

    def lines(name, moves):
        return show[name](played(named(name), moves)[1]).split("\n")

    assert lines("tic_tac_toe", [0, 4]) == ["x . .", ". o .", ". . ."]
    assert lines("tic_tac_toe", [0, 4, 5]) == ["x . .", ". o x", ". . ."]
    assert lines("connect_four", [3, 3, 0])[4:] == [". . . o . . .", "x . . x . . ."]
    rows = lines("hex", [1, 24])
    assert [len(row) for row in rows] == [*range(21, 32)]
    assert rows[0][2] == "x" and rows[2] == "  " + ". . o . . . . . . . ."
    swapped = lines("hex", [1, 121])
    assert swapped[1] == " o" + " ." * 10 and "x" not in "".join(swapped)


def test_chess_in_text_is_seen_from_whites_side():
    """The start with White to move, and the same with Black to move, to whom pgx shows it from the other side."""
    from pgx.gardner_chess import _flip

    game = named("gardner_chess")
    _, state = game.reset(KEY)
    start = ["r n b q k", "p p p p p", ". . . . .", "P P P P P", "R N B Q K"]
    assert game.show(state).split("\n") == start
    other = state._replace(state=_flip(state.state))
    assert game.player(other) == 1 and game.show(other).split("\n") == start


def test_cards_in_text():
    """What the player to move knows: its card, the bets, and in the second round of Leduc the card on the table."""
    kuhn, leduc = named("kuhn_poker"), named("leduc_holdem")
    bet, call, raised = 0, 0, 1
    _, state = played(kuhn, [bet])
    card = "JQK"[int(state.state._cards[state.state.current_player])]
    assert kuhn.show(state) == f"player 1 holds {card}, has bet 0, the other 1"
    for moves, table in (([raised], "nothing"), ([raised, call], None)):
        _, state = played(leduc, moves)
        table = table or "JQK"[int(state.state._cards[2])]
        card = "JQK"[int(state.state._cards[state.state.current_player])]
        bets = "has bet 1, the other 3" if table == "nothing" else "has bet 3, the other 3"
        player = len(moves) % 2
        assert leduc.show(state) == f"player {player} holds {card}, on the table is {table}, {bets}"


def test_pictures_are_svg():
    """A board, chess and cards are drawn as SVG files; what is no state of pgx's is refused with the alternative."""
    for name in ("tic_tac_toe", "gardner_chess", "leduc_holdem"):
        game = named(name)
        _, state = game.reset(KEY)
        assert pgx.draw(game, state).startswith("<svg ") and pgx.draw(game, state).endswith("</svg>")
    with pytest.raises(ValueError, match=r"pgx/leduc_holdem has no picture.*game\.show"):
        pgx.draw(game, jnp.zeros(3))


def test_a_game_is_a_record_of_pure_functions():
    """The first five attributes are those of an environment, in the same order."""
    from purerl.envs import Environment

    assert Game._fields[:5] == Environment._fields
