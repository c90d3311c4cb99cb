"""Planning at decision time: exhaustive lookahead, shooting and rollouts against exact values and enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import rollout
from purerl.algorithms.model_based import lookahead
from purerl.algorithms.tabular.dynamic_programming import backward_induction, value_iteration
from purerl.envs.base import Environment
from purerl.envs.mdp import environment
from purerl.envs.textbook import maps, maze
from purerl.envs.wrappers import expose_state
from purerl.kernels import mdp as kernel
from purerl.spaces import Discrete

KEY = jax.random.key(0)
SMALL: maps.Map = ("S..", ".#.", "..G")
NUM_MDPS = 32


def random_mdps() -> kernel.MDP:
    """32 processes with chance."""
    return jax.vmap(lambda key: kernel.random_mdp(key, 5, 3, gamma=0.9))(jax.random.split(KEY, NUM_MDPS))


def every_state(mdp: kernel.MDP) -> jax.Array:
    return jnp.arange(len(mdp.start))


def loss(mdp: kernel.MDP, best: jax.Array, q: jax.Array) -> jax.Array:
    """By how much the policy that is greedy with respect to q falls short of the best."""
    return (best - kernel.state_value(mdp, kernel.greedy(q))).max()


# --- exhaustive -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("dt-plan")
def test_with_optimal_leaves_lookahead_is_optimal():
    """32 processes, depths 1, 2 and 5: Q is Q*, so the first action of the plan is a best one, in every state."""

    @jax.jit
    @jax.vmap
    def both(mdp):
        best = value_iteration(mdp, tolerance=1e-13).value
        qs = [lookahead.exhaustive(mdp, every_state(mdp), depth, best) for depth in (1, 2, 5)]
        return [(q - kernel.lookahead(mdp, best), loss(mdp, best, q)) for q in qs]

    for difference, short in both(random_mdps()):
        assert np.abs(difference).max() < 1e-11 and short.max() < 1e-10


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("dt-plan")
def test_what_wrong_leaves_cost_shrinks_with_depth():
    """Leaves wrong by at most 1: Q_H is the first step of backward induction, and the loss of acting on it, replanning
    in every state, stays below 2 gamma^H / (1 - gamma); at depth 40 little is lost."""
    mdps = random_mdps()
    wrong = jax.random.uniform(jax.random.key(1), (NUM_MDPS, 5), minval=-1.0, maxval=1.0)
    depths = (1, 5, 40)

    @jax.jit
    @jax.vmap
    def short(mdp, wrong):
        best = value_iteration(mdp, tolerance=1e-12).value
        qs = [lookahead.exhaustive(mdp, every_state(mdp), depth, best + wrong) for depth in depths]
        plans = [backward_induction(mdp, depth, final=best + wrong) for depth in depths]
        differences = [q.max(-1) - plan.value[0] for q, plan in zip(qs, plans, strict=True)]
        return [loss(mdp, best, q) for q in qs], differences

    losses, differences = short(mdps, wrong)
    assert np.abs(differences).max() < 1e-12
    for depth, lost in zip(depths, losses, strict=True):
        assert np.all(lost <= 2 * 0.9**depth / (1 - 0.9))
    first, second, last = (lost.mean() for lost in losses)
    assert first > second >= last and last < 0.01 * first


# --- shooting ---------------------------------------------------------------------------------------------


def test_all_sequences_are_all():
    """The digits of 0 .. A^H - 1 in base A."""
    expected = list(itertools.product(range(3), repeat=4))
    np.testing.assert_array_equal(lookahead.all_sequences(3, 4), expected)
    drawn = lookahead.random_sequences(KEY, 500, 3, 2)
    assert drawn.shape == (500, 2) and len(np.unique(drawn, axis=0)) == 9


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("dt-plan")
def test_shooting_with_all_sequences_is_exhaustive_without_chance():
    """A maze, five steps, leaves from V*/2: from every cell the best of all 4^5 plans with each first action is worth
    what exhaustive lookahead says, and 3000 random plans of five find the same best value."""
    mdp = maze(SMALL)
    env, depth = environment(mdp), 5
    leaf = 0.5 * value_iteration(mdp).value
    cells = jnp.flatnonzero(~mdp.terminal)

    def scores(sequences):
        @jax.jit
        @jax.vmap
        def at(state):
            return lookahead.score(env, state, sequences, KEY, gamma=mdp.gamma, leaf=lambda obs: leaf[obs])

        return at(cells)

    plans = lookahead.all_sequences(4, depth)
    by_first = scores(plans).reshape(-1, 4, 4 ** (depth - 1)).max(-1)
    q = lookahead.exhaustive(mdp, cells, depth, leaf)
    np.testing.assert_allclose(by_first, q, atol=1e-12)
    shots = scores(lookahead.random_sequences(KEY, 3000, 4, depth))
    np.testing.assert_allclose(shots.max(-1), q.max(-1), atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("dt-plan")
def test_scores_are_expected_returns_with_chance():
    """A process with chance, plans of two steps, 4000 samples: within four standard errors of r + gamma P r + gamma^2
    P P leaf by matrices. The best plan is no better than looking and reacting."""
    mdp = jax.tree.map(lambda x: x[0], random_mdps())
    reward, leaf = kernel.expected_reward(mdp), jnp.arange(5.0) / 5
    plans = lookahead.all_sequences(3, 2)

    def exact(plan):
        first, second = (mdp.transition[:, a] for a in plan)
        return reward[:, plan[0]] + 0.9 * first @ (reward[:, plan[1]] + 0.9 * second @ leaf)

    expected = jnp.stack([exact(plan)[1] for plan in plans])
    num_samples = 4000
    found = lookahead.score(
        environment(mdp), jnp.int32(1), plans, KEY, gamma=0.9, leaf=lambda obs: leaf[obs], num_samples=num_samples
    )
    spread = 2 * (np.abs(mdp.reward).max() + 1)
    assert np.abs(found - expected).max() < 4 * spread / np.sqrt(num_samples)
    assert expected.max() <= lookahead.exhaustive(mdp, 1, 2, leaf).max() + 1e-12


@pytest.mark.covers("dt-plan")
def test_an_agent_that_replans_walks_the_shortest_way():
    """All plans of four steps, V* at the leaves, anew in every cell: the way of four steps, without learning."""
    mdp = maze(SMALL)
    env, best = environment(mdp), value_iteration(mdp).value
    plans = lookahead.all_sequences(4, 4)

    def act(memory, obs, key):
        def one(seen, key):
            returns = lookahead.score(env, seen.env_state, plans, key, gamma=mdp.gamma, leaf=lambda obs: best[obs])
            return plans[jnp.argmax(returns), 0]

        return memory, jax.vmap(one)(obs, jax.random.split(key, 2))

    episodes = rollout.episodes(expose_state(env), act, KEY, 2, max_steps=20)
    np.testing.assert_array_equal(episodes.lengths, [4, 4])
    np.testing.assert_array_equal(episodes.returns, [1, 1])


# --- rollouts ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("dt-plan")
def test_rollouts_improve_the_base_policy():
    """Uniform actions in a process with chance: means of 2000 rollouts of 60 steps are Q_pi within 0.2, and the policy
    that is greedy on them is at least as good in every state and better by a tenth of the best gain."""
    mdp = jax.tree.map(lambda x: x[0], random_mdps())
    uniform = jnp.full((5, 3), 1 / 3)
    base = kernel.state_value(mdp, uniform)

    def values(state, key):
        return lookahead.rollouts(
            environment(mdp),
            state,
            lambda obs, key: jax.random.randint(key, (), 0, 3),
            key,
            num_actions=3,
            gamma=mdp.gamma,
            depth=60,
            num_samples=2000,
        )

    q = jax.jit(jax.vmap(values))(every_state(mdp).astype(jnp.int32), jax.random.split(KEY, 5))
    np.testing.assert_allclose(q, kernel.lookahead(mdp, base), atol=0.2)
    improved = kernel.state_value(mdp, kernel.greedy(q))
    gain = value_iteration(mdp).value - base
    assert np.all(improved >= base)
    assert np.all(improved - base >= 0.1 * gain.max())


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("dt-plan")
def test_one_step_of_a_rollout_with_the_policys_value_is_exact_improvement():
    """Depth 1, leaf V_pi, no chance: Q_pi itself, whose greedy policy is policy improvement, in every cell."""
    mdp = maze(SMALL)
    policy = jnp.full((9, 4), 0.25)
    value = kernel.state_value(mdp, policy)

    def values(state):
        return lookahead.rollouts(
            environment(mdp),
            state,
            lambda obs, key: obs,
            KEY,
            num_actions=4,
            gamma=mdp.gamma,
            depth=1,
            num_samples=1,
            leaf=lambda obs: value[obs],
        )

    cells = jnp.flatnonzero(~mdp.terminal)
    q = jax.vmap(values)(cells)
    np.testing.assert_allclose(q, kernel.lookahead(mdp, value)[cells], atol=1e-12)


def test_nothing_counts_after_the_end():
    """A world that ends with its first step, 1, and then says NaN: every plan is worth 1, leaves or not."""

    def step(key, state, action):
        reward = jnp.where(state == 0, 1.0, jnp.nan)
        return reward, state + 1, reward, jnp.array(True), jnp.array(False), {}

    env = Environment("once", lambda key: (jnp.zeros(()), jnp.int32(0)), step, Discrete(1), Discrete(2))
    plans = lookahead.all_sequences(2, 3)
    for leaf in (None, lambda obs: obs):
        np.testing.assert_array_equal(lookahead.score(env, jnp.int32(0), plans, KEY, gamma=0.9, leaf=leaf), np.ones(8))


def test_bad_sizes_are_refused():
    """No depth, no samples: each named."""
    mdp = maze(SMALL)
    with pytest.raises(ValueError, match="exhaustive: depth = 0 must be at least 1"):
        lookahead.exhaustive(mdp, 0, 0)
    with pytest.raises(ValueError, match="score: num_samples = 0"):
        lookahead.score(environment(mdp), 0, jnp.zeros((1, 1), int), KEY, gamma=0.9, num_samples=0)
    with pytest.raises(ValueError, match="rollouts: depth = 0"):
        lookahead.rollouts(environment(mdp), 0, lambda o, k: o, KEY, num_actions=4, gamma=0.9, depth=0, num_samples=1)
