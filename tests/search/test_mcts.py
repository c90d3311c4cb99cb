"""Whole trees against a naive search; ends, depth, mixed evaluation, trees that are kept; what the program is like."""

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
from tests.support import stochastic, worlds

KEY = jax.random.key(0)
STATES = np.arange(6)
NUM_SIMULATIONS = 40
EXACT = {"dirichlet_fraction": 0.0, "temperature": 0.0}


class Share(NamedTuple):
    """A world, and how much a second opinion of its states counts."""

    world: worlds.World
    opinion: np.ndarray  # [S]
    share: float


def game(seed=0, **settings):
    """Two players, moves that are not allowed, games that end."""
    return worlds.random_world(seed, discount=-0.9, ends=0.15, forbidden=0.3, **settings)


def wide(seed=5):
    """So many states that none comes twice in most trees."""
    return worlds.random_world(seed, num_states=500, num_actions=6, forbidden=0.2, ends=0.2)


@jax.jit
def uct_search(world, root):
    return search.uct(world, KEY, root, worlds.model, NUM_SIMULATIONS)


def assert_same(tree, element, node, slot=0, rtol=1e-9):
    """Every node below, its visits exactly and its values; nothing that the naive tree does not have."""
    where = slot, element
    np.testing.assert_array_equal(tree.visits[where], node.visits)
    np.testing.assert_allclose(tree.value[where], node.q, rtol=rtol, atol=1e-12)
    np.testing.assert_allclose(tree.raw_value[where], node.raw_value)
    children = {action: child for action, child in node.children.items() if not child.over}
    assert set(np.flatnonzero(tree.child[where] >= 0)) == set(children)
    for action, child in children.items():
        assert_same(tree, element, child, int(tree.child[where][action]), rtol)


def assert_all_same(tree, nodes):
    tree = jax.tree.map(np.asarray, tree)
    for element, node in enumerate(nodes):
        assert_same(tree, element, node)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("mcts", "dt-plan")
def test_uct_grows_the_naive_tree():
    """Naive search: with the rule of Kocsis & Szepesvári every node of the trees, with ends and forbidden moves."""
    world = wide()
    decision = uct_search(worlds.on_device(world), worlds.root(worlds.on_device(world), STATES))
    nodes = worlds.naive_trees(world, STATES, NUM_SIMULATIONS, oracle.uct)
    assert_all_same(decision.tree, nodes)
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
    """Naive search: leaves are worth (1 - share) v + share z; with share 0 as if there were no rollouts."""
    world = game(1)
    opinion = np.random.default_rng(7).normal(size=len(world.value))

    def evaluate(state):
        return (1 - share) * world.value[state] + share * opinion[state]

    params = Share(worlds.on_device(world), jnp.asarray(opinion), share)
    decision = mixed(params, worlds.root(params.world, STATES))
    assert_all_same(decision.tree, worlds.naive_trees(world, STATES, NUM_SIMULATIONS, oracle.puct, evaluate=evaluate))
    plain = worlds.naive_trees(world, STATES, NUM_SIMULATIONS, oracle.puct)
    same = [np.array_equal(n.visits, v) for n, v in zip(plain, decision.tree.visits[0], strict=True)]
    assert all(same) if share == 0 else not all(same)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("mcts")
def test_no_simulation_goes_deeper_than_allowed():
    """Naive search: with max_depth 2 leaves are evaluated anew, again and again, and nothing lies below them."""
    world = game(2)
    params = Share(worlds.on_device(world), jnp.zeros(len(world.value)), 0.0)
    tree = mixed(params, worlds.root(params.world, STATES), max_depth=2).tree
    assert_all_same(tree, worlds.naive_trees(world, STATES, NUM_SIMULATIONS, oracle.puct, max_depth=2))
    assert max(depths(tree).flatten()) == 2


def depths(tree):
    """Actions between the root and each node, ``[N, B]``."""
    found = np.zeros(tree.parent.shape, int)
    for slot in range(1, len(found)):
        found[slot] = 1 + np.take_along_axis(found, np.asarray(tree.parent[slot])[None], 0)[0]
    return found


def gumbel_search(num_simulations, max_considered, gumbel_scale=1.0):
    return jax.jit(
        lambda world, key, root: search.gumbel_muzero(
            world,
            key,
            root,
            worlds.model,
            num_simulations,
            max_considered=max_considered,
            gumbel_scale=gumbel_scale,
        )
    )


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("dt-plan")
def test_gumbel_search_grows_the_naive_tree():
    """Naive search: halving turn by turn, the improved policy below, the action and the target that come of them."""
    world, num_considered = game(3, num_actions=9), 5
    root = worlds.root(worlds.on_device(world), STATES)
    decision = gumbel_search(NUM_SIMULATIONS, num_considered)(worlds.on_device(world), KEY, root)
    gumbel = np.asarray(jax.random.gumbel(jax.random.split(KEY)[0], root.logits.shape, root.logits.dtype))
    model, nodes = worlds.naive(world), []
    for state, noise in zip(STATES, gumbel, strict=True):
        node = oracle.new_node(model, state)
        considered = min(num_considered, int(np.sum(node.logits > -np.inf)))
        root_score = oracle.halving(noise, considered, NUM_SIMULATIONS)
        nodes.append(oracle.search(model, node, NUM_SIMULATIONS, oracle.improved, root_score))
    assert_all_same(decision.tree, nodes)
    for element, node in enumerate(nodes):
        ahead = gumbel[element] + node.logits + oracle.completed(node)
        most = node.visits == node.visits.max()
        assert decision.action[element] == np.argmax(np.where(most, ahead, -np.inf))
        np.testing.assert_allclose(decision.weights[element], oracle.improved_policy(node), atol=1e-12)
        np.testing.assert_allclose(decision.value[element], node.value)


@pytest.mark.usefixtures("x64")
def test_search_of_a_world_of_chance_grows_the_naive_tree():
    """Naive search: even levels decide by PUCT, odd ones follow the outcomes' probabilities."""
    tables = stochastic.random_chance(2)
    root = search.Root(tables.logits[STATES], tables.value[STATES], jnp.asarray(STATES))
    decision = jax.jit(
        lambda tables: search.stochastic_muzero(
            tables, KEY, root, stochastic.decision_model, stochastic.chance_model, NUM_SIMULATIONS, **EXACT
        )
    )(tables)
    tree, num_actions = jax.tree.map(np.asarray, decision.tree), tables.logits.shape[1]
    model = stochastic.naive(tables)

    def score(node, depth):
        return oracle.by_chance(node, depth) if node.state[0] else oracle.puct(node, depth)

    def assert_levels(element, node, slot=0, offset=0):
        here = slice(offset, offset + len(node.logits))
        np.testing.assert_array_equal(tree.visits[slot, element, here], node.visits)
        assert tree.visits[slot, element].sum() == node.visits.sum()
        np.testing.assert_allclose(tree.value[slot, element, here], node.q, atol=1e-12)
        for action, child in node.children.items():
            assert_levels(element, child, tree.child[slot, element, offset + action], num_actions - offset)

    for element, state in enumerate(STATES):
        node = oracle.search(model, oracle.new_node(model, (False, state)), NUM_SIMULATIONS, score)
        assert_levels(element, node)
        np.testing.assert_allclose(decision.weights[element], node.visits / NUM_SIMULATIONS)


# --- keeping the tree -------------------------------------------------------------------------------------


def forget(node, num_kept):
    """Leave the youngest nodes behind, and the ends; their edges keep what is known of them."""

    def ages(node):
        return [node.born, *(age for child in node.children.values() if not child.over for age in ages(child))]

    oldest = sorted(ages(node))[:num_kept]

    def prune(node):
        node.children = {action: child for action, child in node.children.items() if child.born in oldest}
        for child in node.children.values():
            prune(child)

    prune(node)


@functools.partial(jax.jit, static_argnames=("num_kept", "num_more"))
def go_on(world, tree, action, root, num_kept, num_more):
    rule = rules.uct()
    kept = search.reuse_subtree(tree, action, root, rule.prior, num_kept, num_more)
    return search.uct(world, KEY, root, worlds.model, num_more, tree=kept)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("mcts")
@pytest.mark.parametrize("num_kept", [NUM_SIMULATIONS, 5], ids=["all", "the oldest five"])
def test_search_goes_on_from_what_it_knows(num_kept):
    """Naive search: below the action taken it goes on growing; untried actions and new episodes begin anew."""
    world = wide()
    tables, num_more = worlds.on_device(world), 30
    root = worlds.root(tables, STATES)
    tree = uct_search(tables, root).tree
    nodes = worlds.naive_trees(world, STATES, NUM_SIMULATIONS, oracle.uct)

    moving = [max((a for a in n.children if not n.children[a].over), key=n.visits.__getitem__) for n in nodes]
    action = np.asarray(moving)
    untried, ended = 1, next(e for e, n in enumerate(nodes) if e != 1 and any(c.over for c in n.children.values()))
    tree = tree.replace(child=tree.child.at[0, untried, action[untried]].set(-1))  # it never went there
    action[ended] = next(a for a, c in nodes[ended].children.items() if c.over)
    states = world.next_state[STATES, action]
    states[ended] = 17  # the first of the next episode
    after = go_on(tables, tree, jnp.asarray(action), worlds.root(tables, states), num_kept, num_more).tree
    assert after.parent.shape[0] == num_kept + num_more

    model = worlds.naive(world)
    for element, node in enumerate(nodes):
        new = element in (untried, ended)
        below = oracle.new_node(model, states[element]) if new else node.children[action[element]]
        forget(below, num_kept)
        nodes[element] = oracle.search(model, below, num_more, oracle.uct)
    assert_all_same(after, nodes)


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


# --- odd input --------------------------------------------------------------------------------------------


def test_roots_that_do_not_fit_and_empty_searches_are_refused():
    """Messages: shapes of the root, and no simulations."""
    world = jax.tree.map(jnp.asarray, game())
    root = worlds.root(world, STATES)
    with pytest.raises(ValueError, match=r"logits \[B, A\] and value \[B\], but their shapes are \(6, 4\) and \(5,\)"):
        search.uct(world, KEY, root._replace(value=root.value[:5]), worlds.model, 4)
    with pytest.raises(ValueError, match="num_simulations = 0: a search needs at least 1"):
        search.uct(world, KEY, root, worlds.model, 0)


POLICIES = {
    "muzero": jax.jit(lambda world, key, root: search.muzero(world, key, root, worlds.model, NUM_SIMULATIONS)),
    "gumbel": gumbel_search(NUM_SIMULATIONS, 16),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_broken_networks_break_no_rules(policy):
    """Broken networks: NaN in some states harms no other tree, shows in the value, and no move is against the rules."""
    world = game(4)
    broken = world._replace(value=np.where(np.arange(40) % 5 == 0, np.nan, world.value))
    broken = broken._replace(reward=np.where(np.arange(40)[:, None] == 3, np.nan, broken.reward))
    clean_root = worlds.root(worlds.on_device(world), STATES)
    root = worlds.root(worlds.on_device(broken), STATES)
    decision = POLICIES[policy](worlds.on_device(broken), KEY, root)
    tree = jax.tree.map(np.asarray, decision.tree)
    added = tree.parent[..., None] >= 0
    added[0] = True
    legal = world.logits[tree.embedding] > -np.inf
    assert tree.visits[added & ~legal].sum() == 0 and (tree.visits[0].sum(-1) == NUM_SIMULATIONS).all()
    assert legal[0, STATES, np.asarray(decision.action)].all()
    hit = np.isnan(tree.value[0]).any(-1) | np.isnan(root.value)
    assert hit[0] and hit[3] and np.isnan(np.asarray(decision.value))[hit].all()

    alone = worlds.on_device(world._replace(value=np.where(np.arange(40) == 0, np.nan, world.value)))
    one_broken = POLICIES[policy](alone, KEY, clean_root._replace(value=clean_root.value.at[0].set(jnp.nan)))
    clean = POLICIES[policy](worlds.on_device(world), KEY, clean_root)
    untouched = ~np.any(np.asarray(one_broken.tree.embedding) == 0, axis=0)
    assert untouched.any()
    np.testing.assert_array_equal(clean.weights[untouched], one_broken.weights[untouched])


@pytest.mark.parametrize("policy", [search.muzero, search.gumbel_muzero], ids=lambda p: p.__name__)
def test_one_simulation_of_one_state_where_nothing_is_allowed(policy):
    """The smallest search: a batch of one, one simulation; a state without a legal move is searched as if all were."""
    world = worlds.random_world(0, num_actions=3)
    world = jax.tree.map(jnp.asarray, world._replace(logits=np.full(world.logits.shape, -np.inf)))
    run = jax.jit(lambda world: policy(world, KEY, worlds.root(world, [0]), worlds.model, 1))
    decision = run(world)
    assert 0 <= int(decision.action[0]) < 3 and decision.action.dtype == jnp.int32
    np.testing.assert_allclose(decision.weights.sum(-1), 1.0, rtol=1e-6)
    after = int(world.next_state[0, int(np.argmax(decision.tree.visits[0, 0]))])
    taken = int(np.argmax(decision.tree.visits[0, 0]))
    returned = world.reward[0, taken] + world.discount[0, taken] * world.value[after]
    np.testing.assert_allclose(decision.value, (world.value[0] + returned) / 2, rtol=1e-5)


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

    world, keys = jax.tree.map(jnp.asarray, game()), jax.random.split(KEY, 3)
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


def test_no_simulation_copies_a_tree():
    """The compiled program, also of vmapped seeds, whose paths differ in length: no loop copies an array of slots or
    chooses between two, and its scratch space is little over a tree."""
    params = jnp.ones((A, E))

    def model(params, key, action, embedding):
        embedding = jnp.tanh(embedding + params[action])
        zeros = jnp.zeros(B)
        return search.Output(zeros, zeros + 0.9, embedding @ params.T, embedding[:, 0]), embedding

    def run(params, root):
        return search.muzero(params, KEY, root, model, N - 1)

    root = search.Root(jnp.ones((B, A)), jnp.zeros(B), jnp.ones((B, E)))
    program = jax.jit(run).lower(params, root).compile()
    assert whole_copies(program) == []
    tree = jax.eval_shape(run, params, root).tree
    num_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
    assert program.memory_analysis().temp_size_in_bytes < 1.3 * num_bytes
    seeds = jax.jit(jax.vmap(run, (0, None))).lower(jnp.ones((S, A, E)), root).compile()
    assert whole_copies(seeds) == []
    assert seeds.memory_analysis().temp_size_in_bytes < 1.3 * S * num_bytes

    def copies(x):  # keeps what the slots were, so it must copy them
        return jax.lax.fori_loop(0, 3, lambda i, both: (both[0].at[i].add(1.0), both[0]), (x, x))

    assert whole_copies(jax.jit(copies).lower(jnp.ones((N, B, A))).compile())
