"""Deterministic worlds in tables, for a search and for the naive one: states are numbers, a model looks them up."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.search import Output, Root
from tests.oracles import search as oracle
from tests.oracles import tic_tac_toe


class World(NamedTuple):
    next_state: np.ndarray  # [S, A]
    reward: np.ndarray  # [S, A]
    discount: np.ndarray  # [S, A] of what follows
    logits: np.ndarray  # [S, A]
    value: np.ndarray  # [S]


def random_world(seed, num_states=40, num_actions=4, discount=0.97, rewards=1.0, ends=0.0, forbidden=0.0, spread=1.0):
    """Tables of normal numbers; ``ends`` and ``forbidden`` are shares of steps that end and of actions not allowed."""
    rng = np.random.default_rng(seed)
    shape = num_states, num_actions
    logits = spread * rng.normal(size=shape)
    not_allowed = rng.random(shape) < forbidden
    not_allowed[np.arange(num_states), rng.integers(num_actions, size=num_states)] = False
    return World(
        next_state=rng.integers(num_states, size=shape),
        reward=rewards * rng.normal(size=shape),
        discount=np.where(rng.random(shape) < ends, 0.0, discount),
        logits=np.where(not_allowed, -np.inf, logits),
        value=rng.normal(size=num_states),
    )


def two_players(seed=0, **settings):
    """Two players, moves that are not allowed, games that end."""
    return random_world(seed, discount=-0.9, ends=0.15, forbidden=0.3, **settings)


def wide(seed=5):
    """So many states that none comes twice in most trees."""
    return random_world(seed, num_states=500, num_actions=6, forbidden=0.2, ends=0.2)


def one_step(reward, logits, value):
    """A bandit for each state, where every action ends the episode: ``[S, A]``, ``[S, A]`` and ``[S]``."""
    reward, logits = np.asarray(reward, float), np.asarray(logits, float)
    return World(np.zeros(reward.shape, int), reward, np.zeros(reward.shape), logits, np.asarray(value, float))


@functools.cache
def tic_tac_toe_world():
    """The whole game without knowledge: equal priors of the moves, values 0. States are those of the solver."""
    boards = tic_tac_toe.positions()
    number = {board: state for state, board in enumerate(boards)}
    shape = len(boards), 9
    next_state, reward, discount = np.zeros(shape, int), np.zeros(shape), np.zeros(shape)
    logits = np.full(shape, -np.inf)
    for state, board in enumerate(boards):
        for cell in tic_tac_toe.moves(board):
            after = tic_tac_toe.play(board, cell)
            next_state[state, cell], logits[state, cell] = number[after], 0.0
            reward[state, cell] = abs(tic_tac_toe.winner(after))
            discount[state, cell] = 0.0 if tic_tac_toe.is_over(after) else -1.0
    return World(next_state, reward, discount, logits, np.zeros(len(boards)))


def model(world, key, action, state):
    after = world.next_state[state, action]
    edge = world.reward[state, action], world.discount[state, action]
    return Output(*edge, world.logits[after], world.value[after]), after


def root(world, states):
    states = jnp.asarray(states)
    return Root(world.logits[states], world.value[states], states)


def on_device(world):
    return jax.tree.map(jnp.asarray, world)


def naive(world):
    """The same world as the naive search wants it."""

    def step(state, action):
        return world.reward[state, action], world.discount[state, action], world.next_state[state, action]

    return oracle.Model(step, world.logits.__getitem__, world.value.__getitem__)


def naive_trees(world, states, *args, **kwargs):
    """The naive search from each state."""
    model = naive(world)
    return [oracle.search(model, oracle.new_node(model, state), *args, **kwargs) for state in states]


def assert_same_tree(tree, element, node, slot=0, rtol=1e-9):
    """Every node of a searched tree and of the naive one: visits exactly, values, and the same children."""
    where = slot, element
    np.testing.assert_array_equal(tree.visits[where], node.visits)
    np.testing.assert_allclose(tree.value[where], node.q, rtol=rtol, atol=1e-12)
    np.testing.assert_allclose(tree.raw_value[where], node.raw_value)
    children = {action: child for action, child in node.children.items() if not child.over}
    assert set(np.flatnonzero(tree.child[where] >= 0)) == set(children)
    for action, child in children.items():
        assert_same_tree(tree, element, child, int(tree.child[where][action]), rtol)


def assert_same_trees(tree, nodes):
    tree = jax.tree.map(np.asarray, tree)
    for element, node in enumerate(nodes):
        assert_same_tree(tree, element, node)
