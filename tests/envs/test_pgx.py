"""Games of pgx against pgx itself, their symmetries, and what is said of them in text and pictures."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from purerl.envs import check_env, from_pgx, make, pgx, registered
from purerl.spaces import Box, Discrete
from tests.support.pgx_games import KEY, MOVES, legal_move, named, played

NUM_GAMES = 8
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
    # XLA's compiler dies of empty arrays that are split over devices
    assert all(x.size for x in jax.tree.leaves(jax.eval_shape(game.reset, KEY)))


@pytest.mark.parametrize("name", ["tic_tac_toe", "othello", "gardner_chess"])
def test_types_are_the_same_where_jax_computes_in_64_bits(name):
    """pgx mixes both kinds there: the adapter keeps it to 32 bits."""
    game = named(name)

    def types(action):
        obs, state = jax.eval_shape(game.reset, KEY)
        return (obs, state), jax.eval_shape(game.step, KEY, state, action)

    plain = types(jnp.int32(0))
    with jax.enable_x64(True):
        assert types(jnp.asarray(0)) == plain


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
    assert named("leduc_holdem").observation_space == Box(0.0, 1.0, (34 + 1 + 7 * 3,), np.dtype(bool))
    assert named("connect_four").action_space == Discrete(7)


@pytest.mark.covers("toy-envs")
@pytest.mark.parametrize("name", MOVES)
def test_games_are_those_of_pgx(name):
    """Eight random games beside pgx's own: one view, one set of legal moves, one end. The reward is that of who moved,
    and the players earn opposite sums; who moves first is 0, whatever pgx's toss. In every second game an illegal move
    is made as soon as there is one, which ends it and earns -1. After the end nothing changes, nothing is earned."""
    import pgx as library

    game, peer = named(name), library.make(name)

    def seen_by_pgx(obs):
        return obs[..., : peer.observation_shape[-1]]  # to cards the seat and the moves are appended

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
            jnp.array_equal(seen_by_pgx(obs), theirs.observation),
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
        begin = jnp.array_equal(seen_by_pgx(obs), theirs.observation) & (game.player(state) == 0)
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


@pytest.mark.parametrize(
    ("name", "moves", "told"),
    [
        ("kuhn_poker", [1, 0], [[0, 1], [1, 0]]),
        ("leduc_holdem", [0, 1, 0, 1], [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0], *[[0, 0, 0]] * 3]),
    ],
)
def test_cards_are_seen_with_seat_and_moves(name, moves, told):
    """What is appended to pgx's view: whether player 1 is to move, and every move so far, also those of a round that is
    over, which the bets do not tell. After the end nothing is added."""
    game = named(name)
    num_told = 1 + np.size(told)
    for number in range(len(moves) + 1):
        obs, state = played(game, moves[:number])
        seat, seen = obs[-num_told], obs[1 - num_told :].reshape(np.shape(told))
        assert seat == (game.player(state) == 1)
        np.testing.assert_array_equal(seen, [*told[:number], *np.zeros_like(told[number:])])
    if name == "kuhn_poker":
        over, state = played(game, [0, 0])
        after, _, _, terminated, _, _ = game.step(KEY, state, jnp.int32(0))
        np.testing.assert_array_equal(after[8:], over[8:])
        assert terminated


@pytest.mark.parametrize(("name", "number"), [("kuhn_poker", 6), ("leduc_holdem", 24)])
def test_deals_come_up_as_often_as_they_should(name, number):
    """Every deal that is listed, and no other, in 3000 resets, by chi-square with its probability; a game without
    hidden cards lists none."""
    game = named(name)
    probability, (_, state) = game.deals()
    listed = [tuple(cards) for cards in np.asarray(state.state._cards).tolist()]
    assert len({*listed}) == len(listed) == number
    np.testing.assert_allclose(probability.sum(), 1)
    _, state = jax.jit(jax.vmap(game.reset))(jax.random.split(KEY, 3000))
    first = np.asarray(state.first)
    drawn = [tuple(cards) for cards in np.asarray(state.state._cards).tolist()]
    assert {*first} == {0, 1}
    count = np.array([drawn.count(cards) for cards in listed])
    assert count.sum() == 3000
    assert stats.chisquare(count, 3000 * probability).pvalue > 1e-3
    assert named("tic_tac_toe").deals is None


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
