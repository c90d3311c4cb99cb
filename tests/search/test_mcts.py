"""Tree search against a naive search, node for node: terminal states, depth, leaf evaluation; and its program."""

import functools
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import search
from purerl.search import rules
from tests.oracles import search as oracle
from tests.support import worlds

KEY = jax.random.key(0)
STATES = np.arange(6)
NUM_SIMULATIONS = 40
EXACT = {"dirichlet_fraction": 0.0, "temperature": 0.0}


class Share(NamedTuple):
    """A world, and how much a second opinion of its states counts."""

    world: worlds.World
    opinion: np.ndarray  # [S]
    share: float


@jax.jit
def uct_search(world, root):
    return search.uct(world, KEY, root, worlds.model, NUM_SIMULATIONS)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("mcts", "dt-plan")
def test_uct_grows_the_naive_tree():
    """Naive search: with the rule of Kocsis & Szepesvári every node of the trees, with ends and forbidden moves."""
    world = worlds.wide()
    decision = uct_search(worlds.on_device(world), worlds.root(worlds.on_device(world), STATES))
    nodes = worlds.naive_trees(world, STATES, NUM_SIMULATIONS, oracle.uct)
    worlds.assert_same_trees(decision.tree, nodes)
    np.testing.assert_allclose(decision.value, [node.value for node in nodes])
    np.testing.assert_array_equal(decision.action, [np.argmax(node.visits) for node in nodes])


@functools.partial(jax.jit, static_argnames=("max_depth",))
def mixed(params, root, max_depth=None):
    def model(params, key, action, state):
        return worlds.model(params.world, key, action, state)

    evaluate = search.mixed_evaluation(lambda params, key, state: params.opinion[state], params.share)
    return search.muzero(
        params, KEY, root, model, NUM_SIMULATIONS, rule=rules.puct(), evaluate=evaluate, max_depth=max_depth, **EXACT
    )


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("puct", "alphago")
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_puct_with_mixed_evaluation_grows_the_naive_tree(share):
    """Naive search: leaf values are (1 - share) v + share z; with share 0 as if there were no rollouts."""
    world = worlds.two_players(1)
    opinion = np.random.default_rng(7).normal(size=len(world.value))

    def evaluate(state):
        return (1 - share) * world.value[state] + share * opinion[state]

    params = Share(worlds.on_device(world), jnp.asarray(opinion), share)
    decision = mixed(params, worlds.root(params.world, STATES))
    worlds.assert_same_trees(
        decision.tree, worlds.naive_trees(world, STATES, NUM_SIMULATIONS, oracle.puct, evaluate=evaluate)
    )
    plain = worlds.naive_trees(world, STATES, NUM_SIMULATIONS, oracle.puct)
    same = [np.array_equal(n.visits, v) for n, v in zip(plain, decision.tree.visits[0], strict=True)]
    assert all(same) if share == 0 else not all(same)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("mcts")
def test_no_simulation_goes_deeper_than_allowed():
    """Naive search: with max_depth 2 leaves are evaluated anew, again and again, and nothing lies below them."""
    world = worlds.two_players(2)
    params = Share(worlds.on_device(world), jnp.zeros(len(world.value)), 0.0)
    tree = mixed(params, worlds.root(params.world, STATES), max_depth=2).tree
    worlds.assert_same_trees(tree, worlds.naive_trees(world, STATES, NUM_SIMULATIONS, oracle.puct, max_depth=2))
    assert max(depths(tree).flatten()) == 2


def depths(tree):
    """Actions between the root and each node, ``[N, B]``."""
    found = np.zeros(tree.parent.shape, int)
    for slot in range(1, len(found)):
        found[slot] = 1 + np.take_along_axis(found, np.asarray(tree.parent[slot])[None], 0)[0]
    return found


# --- two players ------------------------------------------------------------------------------------------


def wins_within(board, num_moves):
    """Whether the player to move can force a win in so many moves of its own."""
    for cell in worlds.tic_tac_toe.moves(board):
        after = worlds.tic_tac_toe.play(board, cell)
        if worlds.tic_tac_toe.winner(after):
            return True
        replies = worlds.tic_tac_toe.moves(after)
        then = (wins_within(worlds.tic_tac_toe.play(after, reply), num_moves - 1) for reply in replies)
        if num_moves > 1 and replies and all(then):
            return True
    return False


@pytest.mark.deep
@pytest.mark.covers("mcts")
def test_search_without_knowledge_plays_tic_tac_toe_perfectly():
    """Solved games: both players find wins in one, two and three moves, and elsewhere never leave the optimal moves."""
    solver, rng = worlds.tic_tac_toe, np.random.default_rng(0)
    boards = solver.positions()
    going_on = [b for b in boards if not solver.is_over(b)]
    kinds = {}
    for number in rng.permutation(len(going_on)):
        board = going_on[number]
        first = next((n for n in (1, 2, 3) if wins_within(board, n)), 0)
        kinds.setdefault((first, solver.to_move(board)), []).append(board)
    chosen = [board for kind in sorted(kinds) for board in kinds[kind][:8]] + [solver.EMPTY]
    assert {(n, mover) for n in (1, 2) for mover in (1, -1)} | {(3, 1)} <= set(kinds)

    world = jax.tree.map(jnp.asarray, worlds.tic_tac_toe_world())
    world = jax.tree.map(lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, world)
    states = [boards.index(board) for board in chosen]
    run = jax.jit(lambda world, root: search.uct(world, KEY, root, worlds.model, 1500))
    decision = run(world, worlds.root(world, states))
    for board, move, value in zip(chosen, decision.action.tolist(), decision.value.tolist(), strict=True):
        after = solver.play(board, move)
        assert -solver.value(after) == solver.value(board), board
        if solver.value(board) != 0:
            assert np.sign(value) == solver.value(board), board


# --- the program ------------------------------------------------------------------------------------------


def test_searches_side_by_side_are_the_lone_ones_and_compile_once():
    """vmap and jit: seeds under vmap give each seed's trees; new numbers of model, rule or noise trace nothing."""
    traces = 0

    def run(world, key, fraction, c_init):
        nonlocal traces
        traces += 1
        root = worlds.root(world, STATES)
        rule = rules.puct(c_init=c_init)
        return search.muzero(world, key, root, worlds.model, 12, rule=rule, dirichlet_fraction=fraction)

    world, keys = jax.tree.map(jnp.asarray, worlds.two_players()), jax.random.split(KEY, 3)
    lone = jax.jit(run)
    apart = [lone(world, key, fraction, 1.25) for key, fraction in zip(keys, [0.1, 0.2, 0.3], strict=True)]
    assert traces == 1
    together = jax.jit(jax.vmap(run, (None, 0, 0, None)))(world, keys, jnp.asarray([0.1, 0.2, 0.3]), 1.25)
    apart = jax.tree.map(lambda *leaves: jnp.stack(leaves), *apart)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-6, atol=1e-6), together, apart)


S, N, B, A, E = 3, 37, 5, 11, 13  # the shapes that give trees away in a program's text


def whole_copies(program):
    """Instructions in the bodies of a program's loops that copy, or choose between, whole arrays of slots."""
    computations = re.split(r"\n(?=%|ENTRY)", program.as_text())
    bodies = [c for c in computations if not c.startswith("ENTRY")]
    return [
        line.strip()
        for body in bodies
        for line in body.splitlines()
        if re.search(rf"= \w+\[(?:{S},)?{N},{B}(,\d+)?\]\S* (copy|select)\(", line)
    ]


def tree_program(seeds):
    """A compiled search, of one seed or of several, and the size of its trees in bytes."""
    params = jnp.ones((A, E))

    def model(params, key, action, embedding):
        embedding = jnp.tanh(embedding + params[action])
        zeros = jnp.zeros(B)
        return search.Output(zeros, zeros + 0.9, embedding @ params.T, embedding[:, 0]), embedding

    def run(params, root):
        return search.muzero(params, KEY, root, model, N - 1)

    if seeds:
        params, run = jnp.ones((S, A, E)), jax.vmap(run, (0, None))
    root = search.Root(jnp.ones((B, A)), jnp.zeros(B), jnp.ones((B, E)))
    program = jax.jit(run).lower(params, root).compile()
    leaves = jax.tree.leaves(jax.eval_shape(run, params, root).tree)
    return program, sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


@pytest.mark.parametrize("seeds", [pytest.param(False, marks=pytest.mark.deep), True], ids=["one", "seeds"])
def test_no_simulation_copies_a_tree(seeds):
    """The compiled program, also of vmapped seeds, whose paths differ in length: no loop copies an array of slots or
    chooses between two, and its scratch space is little over a tree."""
    program, num_bytes = tree_program(seeds)
    assert whole_copies(program) == []
    assert program.memory_analysis().temp_size_in_bytes < 1.3 * num_bytes


def test_a_program_that_copies_a_tree_is_found():
    """A loop that keeps what the slots were, so it must copy them."""

    def copies(x):
        return jax.lax.fori_loop(0, 3, lambda i, both: (both[0].at[i].add(1.0), both[0]), (x, x))

    assert whole_copies(jax.jit(copies).lower(jnp.ones((N, B, A))).compile())
