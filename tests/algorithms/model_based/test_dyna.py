"""Dyna: against the textbook's loops fed with the same random numbers, and against exact values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.model_based.dyna import dyna
from purerl.algorithms.model_based.dyna_config import DynaConfig, DynaHypers
from purerl.envs.base import Environment
from purerl.envs.mdp import environment
from purerl.envs.textbook import maze
from purerl.envs.wrappers import scale_reward
from purerl.spaces import Box, Discrete
from tests.oracles import dyna as oracle
from tests.support.dyna_runs import KEY, NUM_STEPS, SMALL, maze_arrays, optimal_q, run


@pytest.mark.covers("dyna")
def test_dyna_without_planning_is_q_learning(x64):
    """n = 0 and numbers that binary fractions hold: the float64 loop of Q-learning on the same choices, bit for bit."""
    hypers = DynaHypers(step_size=0.5, gamma=0.5, epsilon=0.25)
    state, metrics, draws = run(DynaConfig(num_steps=NUM_STEPS, num_planning_steps=0), hypers)
    expected = oracle.q_learning(*maze_arrays(SMALL), np.asarray(draws.action), 0.5, 0.5, 0.25)
    np.testing.assert_array_equal(state.tables.q, expected)
    assert expected.max() > 0.9 and metrics["backups"] == 1


@pytest.mark.covers("dyna")
@pytest.mark.parametrize("model", ["last", "counts"])
@pytest.mark.parametrize("kappa, plan_untried", [(0.0, False), (0.01, True)], ids=["dyna-q", "dyna-q+"])
def test_dyna_q_matches_the_textbook_loop(model, kappa, plan_untried, x64):
    """Dyna-Q and Dyna-Q+ after 150 steps of 7 backups: Q of a loop with a dictionary for a model, fed with the same
    uniform numbers. Without chance, counts say what was seen last."""
    config = DynaConfig(num_steps=NUM_STEPS, num_planning_steps=7, model=model, plan_untried=plan_untried)
    state, metrics, draws = run(config, DynaHypers(step_size=0.3, gamma=0.9, epsilon=0.2, kappa=kappa))
    uniforms = np.asarray(draws.action), np.asarray(draws.plan)
    expected = oracle.dyna_q(*maze_arrays(SMALL), *uniforms, 0.3, 0.9, 0.2, kappa, plan_untried)
    np.testing.assert_allclose(state.tables.q, expected, atol=1e-12)
    assert metrics["backups"] == 8
    assert plan_untried == bool(np.all(np.asarray(state.tables.known).sum(-1) % 4 == 0))


@pytest.mark.covers("dyna")
@pytest.mark.parametrize("planning", ["uniform", "prioritized"])
def test_fixed_point_is_the_optimum_of_a_deterministic_process(planning, x64):
    """Uniform behaviour in a maze, step 1: Q is Q* in every state that can be reached."""
    mdp = maze(SMALL)
    config = DynaConfig(num_steps=400, num_planning_steps=20, planning=planning)
    state, _, _ = run(config, DynaHypers(step_size=1.0, epsilon=1.0, theta=1e-9))
    reached = ~np.asarray(mdp.terminal)
    assert np.all(state.tables.known == reached[:, None])
    np.testing.assert_allclose(state.tables.q[reached], optimal_q(mdp)[reached], atol=1e-8)


def endless(truncated: bool) -> Environment:
    """Every step earns 1 and ends the episode, one way or the other, in state 1."""

    def step(key, state, action):
        return jnp.int32(1), state, jnp.ones(()), jnp.array(not truncated), jnp.array(truncated), {}

    return Environment("endless", lambda key: (jnp.int32(0), ()), step, Discrete(2), Discrete(1))


@pytest.mark.parametrize("n", [0, 3])
def test_truncation_bootstraps_and_termination_does_not(n):
    """State 1, of value 10 as it is never left, follows a truncated step, and in the model, too; nothing follows an
    end. Either way the episode starts anew."""
    hypers = DynaHypers(step_size=1.0, gamma=0.5, initial_value=10.0, epsilon=0.0)
    for truncated, value in ((True, 1 + 0.5 * 10), (False, 1.0)):
        algorithm = dyna(endless(truncated), DynaConfig(num_steps=4, num_planning_steps=n))
        state, metrics = jax.jit(algorithm.update)(hypers, algorithm.init(hypers, KEY), KEY)
        np.testing.assert_allclose(state.tables.q, [[value], [10.0]])
        assert metrics["episode_length"] == (4, 4) and metrics["episode_return"] == (4, 4)
        assert state.obs == 0


def test_greedy_policy_is_evaluated():
    """Three seeds of the Dyna maze: after 3000 steps every greedy episode takes about 14 steps to the goal, the policy
    that learns some more; ``act`` agrees with them."""
    algorithm = dyna(envs.make("DynaMaze"), DynaConfig(num_steps=3000, num_planning_steps=20))
    hypers = DynaHypers(step_size=0.5)

    @jax.jit
    @jax.vmap
    def life(key):
        init_key, run_key, act_key, *keys = jax.random.split(key, 5)
        state, metrics = algorithm.update(hypers, algorithm.init(hypers, init_key), run_key)
        played = [
            algorithm.spec.evaluate(hypers, state, key, 20, sample)
            for key, sample in zip(keys, (False, True), strict=True)
        ]
        return state, metrics, played, algorithm.agent(hypers, state).act((), state.obs, act_key)[1]

    states, metrics, (greedy, sampled), actions = life(jax.random.split(KEY, 3))
    np.testing.assert_array_equal(metrics["backups"], 21)
    np.testing.assert_array_equal(greedy.returns, 1)
    assert np.all((greedy.lengths >= 14) & (greedy.lengths <= 20))
    assert sampled.lengths.mean() > greedy.lengths.mean()
    for q, obs, action in zip(states.tables.q, states.obs, actions, strict=True):
        assert q[obs, action] == q[obs].max()


def test_evaluation_of_a_circling_policy_ends():
    """A greedy policy that goes round in circles is stopped, and counted as it stands."""
    algorithm = dyna(envs.make("DynaMaze"), DynaConfig(max_evaluation_steps=7))
    state = algorithm.init(DynaHypers(), KEY)
    episodes = jax.jit(algorithm.spec.evaluate, static_argnums=3)(DynaHypers(), state, KEY, 3)
    np.testing.assert_array_equal(episodes.lengths, [7, 7, 7])


def test_dyna_refuses_spaces_that_are_no_table():
    """Continuous observations or actions are named."""
    env = environment(maze(SMALL))
    with pytest.raises(ValueError, match="observations must be Discrete"):
        dyna(env._replace(observation_space=Box(0.0, 1.0, (2,))))
    with pytest.raises(ValueError, match="actions must be Discrete"):
        dyna(env._replace(action_space=Box(0.0, 1.0, (2,))))


def test_true_returns_are_reported_under_a_reward_wrapper():
    """Learning from a reward of 0 in the place of -1 a step: returns are minus the lengths, which is what they are."""
    env = scale_reward(envs.make("Gridworld4x4"), 0.0)
    algorithm = dyna(env, DynaConfig(num_steps=200, num_planning_steps=0))
    state = algorithm.init(DynaHypers(), jax.random.key(0))
    _, metrics = jax.jit(algorithm.update)(DynaHypers(), state, jax.random.key(1))
    assert metrics["episode_return"].number > 0
    assert metrics["episode_return"].total == -metrics["episode_length"].total
