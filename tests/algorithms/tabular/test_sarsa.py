"""SARSA against the textbook's loop, and on the cliff, where it learns another path than Q-learning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purerl
from purerl import mdp
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers
from purerl.algorithms.tabular.n_step import n_step
from purerl.algorithms.tabular.q_learning import q_learning
from purerl.algorithms.tabular.sarsa import sarsa
from purerl.envs import textbook
from tests.oracles import control as oracle
from tests.support.tabular_history import (
    assert_learns_as,
)

KEY = jax.random.key(0)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("sarsa")
def test_sarsa_is_the_loop():
    """160 steps of episodes that terminate and that are truncated: SARSA's table after each, against a NumPy loop."""
    assert_learns_as(n_step(1, "sampled"), oracle.one_step, kind="taken")


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("cliff")
def test_the_edge_of_the_cliff_is_best_only_without_exploration():
    """By linear solves: the path along the edge has return -13, one row away -15; with epsilon 0.1 the edge is worse,
    by more than 10. So Q-learning's path and SARSA's differ."""
    cliff, (rows, columns) = textbook.cliff_walking(), np.divmod(np.arange(48), 12)
    up, right, down = 0, 1, 2
    returns = []
    for row in (2, 1):
        action = np.select([columns == 11, rows > row, rows < row], [down, up, down], right)
        greedy = mdp.deterministic(jnp.asarray(action), 4)
        policies = (greedy, 0.9 * greedy + 0.1 / 4)
        returns.append([float(mdp.start_value(cliff, mdp.state_value(cliff, policy))) for policy in policies])
    (edge, stumbling), (away, safe) = returns
    assert (edge, away) == pytest.approx((-13, -15), abs=1e-4)
    assert stumbling < safe - 10


@pytest.mark.deep
@pytest.mark.covers("cliff", "sarsa", "q-learning")
def test_cliff_walking():
    """24 runs of 9,000 steps, alpha 0.5, epsilon 0.1: Q-learning's greedy path is the edge, -13, in every run, SARSA's
    is longer in most; while they learn, SARSA's return is higher by at least 15."""
    env = purerl.envs.make("CliffWalking")
    greedy, online = {}, {}
    for factory in (q_learning, sarsa):
        algorithm = factory(env, ControlConfig(num_steps=4500, max_episode_steps=50))
        hypers = ControlHypers(step_size=0.5, epsilon=0.1)

        def run(key, algorithm=algorithm, hypers=hypers):
            init_key, first, second, evaluate_key = jax.random.split(key, 4)
            state, _ = algorithm.update(hypers, algorithm.init(hypers, init_key), first)
            state, metrics = algorithm.update(hypers, state, second)
            return metrics["episode_return"], algorithm.spec.evaluate(hypers, state, evaluate_key, 1).returns[0]

        metric, returns = jax.jit(jax.vmap(run))(jax.random.split(KEY, 24))
        greedy[factory], online[factory] = np.asarray(returns), float(metric.total.sum() / metric.number.sum())
    np.testing.assert_array_equal(greedy[q_learning], -13)
    assert np.mean(greedy[sarsa] <= -15) > 0.8
    assert -60 < online[q_learning] < -40 < -30 < online[sarsa] < -20
