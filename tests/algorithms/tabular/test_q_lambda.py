"""Watkins' Q(lambda): traces last as long as the greedy policy is followed; it finds the shortest way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purerl
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers
from purerl.algorithms.tabular.eligibility_traces import traces
from purerl.algorithms.tabular.q_lambda import q_lambda
from purerl.algorithms.tabular.update_rule import no_transition
from purerl.kernels import exploration

KEY = jax.random.key(0)


@pytest.mark.covers("td-lambda", "q-learning")
def test_traces_are_cut_where_the_next_action_is_not_greedy():
    """After a step from pair (0, 0) with step size 0.5 the trace is gamma lambda 0.5 there if the next action is
    greedy, and 0 everywhere if it is not, or if the episode has ended."""
    rule, hypers = traces("accumulating", on_policy=False), ControlHypers(gamma=0.8, lambda_=0.5)
    tables = rule.init(hypers, 2, 2).replace(q=jnp.array([[0.0, 0.0], [3.0, 1.0]]))
    step = no_transition().replace(next_obs=jnp.int32(1), step_size=jnp.asarray(0.5))
    for action, terminated, expected in ((0, False, 0.8 * 0.5 * 0.5), (1, False, 0.0), (0, True, 0.0)):
        now = step.replace(next_action=jnp.int32(action), terminated=jnp.array(terminated))
        learned, _ = rule.learn(hypers, tables, now, lambda value, _: exploration.greedy(value))
        np.testing.assert_allclose(learned.trace, [[expected, 0.0], [0.0, 0.0]], atol=1e-7)


@pytest.mark.deep
@pytest.mark.covers("td-lambda", "q-learning")
def test_watkins_q_lambda_finds_the_shortest_way():
    """8 runs of 4000 steps in the windy gridworld: Watkins' Q(lambda) finds the shortest way, 15 steps, in most."""
    config = ControlConfig(num_steps=4000, max_episode_steps=50)
    algorithm = q_lambda(purerl.envs.make("WindyGridworld"), config)
    hypers = ControlHypers(step_size=0.3, epsilon=0.1, lambda_=0.8)

    def run(key: jax.Array) -> jax.Array:
        init_key, key, evaluate_key = jax.random.split(key, 3)
        state, _ = algorithm.update(hypers, algorithm.init(hypers, init_key), key)
        return algorithm.spec.evaluate(hypers, state, evaluate_key, 1).lengths[0]

    lengths = np.asarray(jax.jit(jax.vmap(run))(jax.random.split(KEY, 8)))
    assert lengths.min() == np.median(lengths) == 15
