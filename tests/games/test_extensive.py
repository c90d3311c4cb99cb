"""Trees of small games: how many information sets and sequences there are, how they hang together, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.envs.games import Game
from purerl.games import extensive
from purerl.games.levels import TooLargeError
from purerl.spaces import Box, Discrete
from tests.support.cut_game import REWARD, cut_game
from tests.support.kuhn import place
from tests.support.nim import nim
from tests.support.pgx_games import named, tree

SIZES = {  # nodes, deals, information sets and legal sequences of each player, moves of one's own on the way
    "kuhn_poker": (24, 6, 6, 13, (2, 1)),
    "leduc_holdem": (864, 24, 144, 337, (4, 4)),
}


@pytest.mark.covers("markov-game")
@pytest.mark.parametrize("name", SIZES)
def test_trees_have_the_known_sizes(name):
    """Kuhn's 12 information sets and Leduc's 288; each is known by its observation, of which pgx's own part, without
    seat and moves, tells 6 and 81 apart."""
    num_nodes, num_deals, num_sets, num_sequences, depths = SIZES[name]
    found = tree(name)
    assert (found.name, found.num_nodes, len(found.deals)) == (f"pgx/{name}", num_nodes, num_deals)
    for side, depth in zip(found.sides, depths, strict=True):
        assert side.legal.shape[0] == num_sets and 1 + side.legal.sum() == num_sequences
        assert len(side.levels) == depth + 1 and side.levels[-1] == num_sets
    obs = np.concatenate([side.obs for side in found.sides])
    assert len(np.unique(obs, axis=0)) == 2 * num_sets
    told = 1 + {"kuhn_poker": 2 * 2, "leduc_holdem": 7 * 3}[name]
    assert len(np.unique(obs[:, :-told], axis=0)) == {"kuhn_poker": 6, "leduc_holdem": 81}[name]


@pytest.mark.parametrize("name", SIZES)
def test_trees_hang_together(name):
    """An information set is among the children of its parent and no other's, one level further; every end is listed by
    both players, with opposite payoffs, and each is met by one node's worth of moves."""
    found = tree(name)
    for side in found.sides:
        num_sets, num_actions = side.legal.shape
        listed = [(i, s) for s, row in enumerate(side.children) for i in row if i < num_sets]
        assert sorted(listed) == [(i, side.parent[i]) for i in range(num_sets)]
        level = np.searchsorted(side.levels, np.arange(num_sets), side="right") - 1
        above = np.where(side.parent == 0, -1, level[(side.parent - 1) // num_actions])
        np.testing.assert_array_equal(level, above + 1)
        legal = np.concatenate([[True], side.legal.ravel()])
        assert legal[side.parent].all() and not side.payoff[~legal].any()
    first, second = ({} for _ in range(2))
    for ends, side in zip((first, second), found.sides, strict=True):
        for s, e in np.argwhere(side.payoff):
            pair = (s, side.other[s, e]) if ends is first else (side.other[s, e], s)
            ends[(*pair, side.deal[s, e])] = side.payoff[s, e]
    assert {key: -payoff for key, payoff in second.items()} == first


def test_information_sets_of_kuhn_by_name():
    """The first player moves with each card at the start and after a pass and a bet, the second after either."""
    names = [sorted(place(obs) for obs in side.obs) for side in tree("kuhn_poker").sides]
    assert names[0] == sorted((card, history) for card in range(3) for history in ("", "pb"))
    assert names[1] == sorted((card, history) for card in range(3) for history in ("b", "p"))


def test_moves_that_are_hidden():
    """Three moves in a row, of which one sees only the number: whoever moves twice remembers its own move, which is not
    shown, and knows nothing of the other's."""
    found = extensive.extract(_ending(cut_game(behind=0.0, forced=False)))
    assert found.num_nodes == 7
    assert [len(side.legal) for side in found.sides] == [1 + 2, 1]
    np.testing.assert_allclose(found.sides[0].payoff.sum(), 4 * REWARD)


def _ending(game):
    """All moves are legal, and the third ends the game."""

    def step(key, moves, action):
        obs, after, reward, terminated, truncated, info = game.step(key, moves, action)
        return obs, after, reward, terminated | (after >= 3), truncated, info

    return game._replace(step=step, legal=lambda moves: jnp.array([True, True]))


def test_what_cannot_be_extracted_is_refused():
    """A game too large, with the number of nodes that were reached; a random reset that is not listed; other legal
    moves where a player sees the same."""
    with pytest.raises(TooLargeError, match=r"pgx/tic_tac_toe has more than max_nodes = 60 nodes: 82 were reached"):
        extensive.extract(named("tic_tac_toe"), max_nodes=60)
    with pytest.raises(ValueError, match="nim: a reset is random; list what may happen in the game's `deals`"):
        extensive.extract(nim())

    def step(key, state, action):
        card, move = state
        return jnp.zeros(1), (card, move + 1), 0.0, move >= 1, jnp.array(False), {}

    def deals():
        return np.full(2, 0.5), (jnp.zeros((2, 1)), (jnp.arange(2), jnp.zeros(2, jnp.int32)))

    blind = Game(
        *("blind", lambda key: (jnp.zeros(1), (jnp.int32(0), jnp.int32(0))), step, Box(0.0, 1.0, (1,)), Discrete(2)),
        *(lambda state: jnp.array([True, False]) | (state[0] == 1), lambda state: state[1], None, str),
        deals=deals,
    )
    with pytest.raises(ValueError, match="blind: other moves are legal where a player sees the same"):
        extensive.extract(blind)
    # A level is a batch of arrays, and so it stays when it is empty.
    assert jax.tree.leaves(tree("kuhn_poker").deals)[0].shape == (6,)
