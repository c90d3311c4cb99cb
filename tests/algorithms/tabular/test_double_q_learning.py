"""Double Q-learning against the textbook's loop, and without the bias of Q-learning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.tabular.control import ControlConfig, ControlHypers
from purerl.algorithms.tabular.double_q_learning import double, double_q_learning
from purerl.algorithms.tabular.n_step import n_step
from purerl.algorithms.tabular.q_learning import q_learning
from purerl.algorithms.tabular.update_rule import no_transition
from purerl.envs.base import Environment
from purerl.kernels import exploration
from purerl.spaces import Discrete
from tests.oracles import control as oracle
from tests.support.tabular_history import (
    HYPERS,
    assert_learns_as,
)

KEY = jax.random.key(0)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("q-learning")
def test_double_learning_is_the_loop():
    """Two tables, one of which learns by each step's coin; the agent's values are their mean."""
    rule = double()
    assert_learns_as(rule, oracle.two_tables)
    tables = rule.init(HYPERS, 2, 3).replace(q=jnp.arange(12.0).reshape(2, 2, 3))
    np.testing.assert_array_equal(rule.values(tables, 1), [6, 7, 8])


def lottery(num_tickets: int = 10) -> Environment:
    """From A (0), right ends with nothing; left leads to B (1), where each ticket ends with N(-0.1, 1)."""

    def reset(key):
        return jnp.int32(0), jnp.int32(0)

    def step(key, state, action):
        at_b, left = state == 1, action == 0
        reward = jnp.where(at_b, -0.1 + jax.random.normal(key), 0.0)
        return jnp.int32(1), jnp.int32(1), reward, at_b | ~left, jnp.array(False), {}

    return Environment("lottery", reset, step, Discrete(2), Discrete(num_tickets))


@pytest.mark.covers("q-learning")
def test_double_learning_has_no_maximisation_bias():
    """Tables of independent noise around the true value -0.1 of ten actions: on average the target of Q-learning is
    the expected maximum, that of double learning is the true value, within four standard errors."""
    hypers, num_tables = ControlHypers(gamma=1.0), 20_000
    q = -0.1 + jax.random.normal(KEY, (num_tables, 2, 2, 10))
    step = no_transition().replace(next_obs=jnp.int32(1), step_size=jnp.ones(()))

    def target(rule, q):
        tables = rule.init(hypers, 2, 10).replace(q=q)
        learned, _ = rule.learn(hypers, tables, step, lambda value, _: exploration.greedy(value))
        return learned.q

    doubled = jax.jit(jax.vmap(lambda q: target(double(), q)[0, 0, 0]))(q)  # the first table learns
    single = jax.jit(jax.vmap(lambda q: target(n_step(1, "expected", on_policy=False), q)[0, 0]))(q[:, 0])
    assert abs(np.mean(doubled) + 0.1) < 4 * np.std(doubled) / np.sqrt(num_tables)
    assert abs(np.mean(single) + 0.1 - 1.5388) < 4 * np.std(single) / np.sqrt(num_tables)  # E max of ten normals


@pytest.mark.deep
@pytest.mark.covers("q-learning")
def test_double_q_learning_is_not_misled_by_luck():
    """400 runs of the textbook's example by the uniform policy: left is worth -0.1, but the luckiest ticket's estimate
    makes Q-learning's value exceed 0.1; Double Q-learning's is the true one, but for the share of the initial 0 that is
    left. By more than four standard errors. Sutton & Barto 2018, example 6.7."""
    config = ControlConfig(num_steps=3000)
    hypers = ControlHypers(step_size=0.1, epsilon=1.0)

    def left(factory, key):
        algorithm = factory(lottery(), config)
        init_key, key = jax.random.split(key)
        state, _ = algorithm.update(hypers, algorithm.init(hypers, init_key), key)
        return jnp.mean(jnp.reshape(state.tables.q, (-1, 2, 10))[:, 0, 0])

    keys = jax.random.split(KEY, 400)
    for factory, low, high in ((q_learning, 0.1, 0.4), (double_q_learning, -0.15, -0.03)):
        values = np.asarray(jax.jit(jax.vmap(lambda key, f=factory: left(f, key)))(keys))
        error = 4 * values.std() / np.sqrt(400)
        assert low + error < values.mean() < high - error
