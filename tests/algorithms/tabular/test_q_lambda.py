"""Watkins' Q(lambda) finds the shortest way."""

import jax
import numpy as np
import pytest

import purerl
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers
from purerl.algorithms.tabular.q_lambda import q_lambda

KEY = jax.random.key(0)


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
