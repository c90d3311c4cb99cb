"""Q-learning against the textbook's loop, and its convergence to Q* off policy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers
from purerl.algorithms.tabular.n_step import n_step
from purerl.algorithms.tabular.q_learning import q_learning
from purerl.algorithms.tabular.value_iteration import value_iteration
from purerl.envs.mdp import environment
from purerl.kernels import exploration
from tests.oracles import control as oracle
from tests.support.tabular_history import (
    all_transitions,
    assert_learns_as,
)

KEY = jax.random.key(0)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("q-learning", "offline-tax")
def test_q_learning_is_the_loop():
    """SARSA's history: the table after each step, with the mean over another policy than the one that acts."""
    assert_learns_as(n_step(1, "expected", on_policy=False), oracle.one_step, kind="mean")


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("q-learning", "offline-tax")
def test_q_star_is_the_fixed_point_whoever_acts():
    """Over all steps with their probabilities the mean update of every pair is 0 at Q*, to 1e-12, and the Bellman
    error elsewhere: the behaviour policy plays no part."""
    process, rule = mdp.random_mdp(jax.random.key(3), 5, 3, gamma=0.8), n_step(1, "expected", on_policy=False)
    best = mdp.lookahead(process, value_iteration(process, tolerance=1e-14).value)
    probability, steps = all_transitions(process)

    def mean_update(q: jax.Array) -> jax.Array:
        def change(step):
            tables = rule.init(ControlHypers(), 5, 3).replace(q=q)
            learned, _ = rule.learn(ControlHypers(gamma=0.8), tables, step, lambda value, _: exploration.greedy(value))
            return learned.q - q

        return jnp.tensordot(probability, jax.vmap(change)(steps), 1)

    np.testing.assert_allclose(mean_update(best), 0.0, atol=1e-12)
    other = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)))
    np.testing.assert_allclose(mean_update(other), mdp.optimality_backup_q(process, other) - other, atol=1e-12)


@pytest.mark.deep
@pytest.mark.covers("q-learning", "offline-tax")
def test_q_learning_finds_q_star_whoever_acts():
    """32 runs on a random process by the uniform policy, alpha = 1 / N^0.7: the largest error of any pair falls below
    15 % of the values' spread, that of the mean of the runs' tables below 5 %."""
    process = mdp.random_mdp(jax.random.key(3), 5, 3, gamma=0.8)
    best = np.asarray(mdp.lookahead(process, value_iteration(process).value))
    algorithm = q_learning(environment(process), ControlConfig(num_steps=2000))
    hypers = ControlHypers(step_size=1.0, step_decay=0.7, epsilon=1.0, gamma=0.8)

    def run(key: jax.Array) -> jax.Array:
        init_key, *keys = jax.random.split(key, 6)
        state = algorithm.init(hypers, init_key)

        def update(state, key):
            state, _ = algorithm.update(hypers, state, key)
            return state, state.tables.q

        return jax.lax.scan(update, state, jnp.stack(keys))[1]

    tables = np.asarray(jax.jit(jax.vmap(run))(jax.random.split(KEY, 32)))  # [32, 5, S, A]
    error = np.abs(tables - best).max((2, 3)).mean(0)
    assert error[-1] < 0.15 * np.ptp(best) < error[0]
    assert np.abs(tables.mean(0)[-1] - best).max() < 0.05 * np.ptp(best)
