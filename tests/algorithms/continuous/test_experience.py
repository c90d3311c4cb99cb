"""The first steps of a run, and the noise that an episode begins with."""

import jax
import numpy as np
import pytest

from purerl import rollout
from purerl.algorithms.continuous import experience
from purerl.algorithms.continuous.sac_config import SACConfig
from purerl.envs import make, scale_actions

CONFIG = SACConfig(num_envs=4, num_warmup_steps=400)


@pytest.mark.covers("sac", "td3")
@pytest.mark.parametrize("name", ["lqr", "CartPole-v1"])
def test_warm_up_is_uniform(name):
    """As many steps as the config says, of actions all over [-1, 1], or of all numbers as often; the noise stays 0."""
    env = make(name)
    envs = rollout.reset(env, jax.random.key(0), 4, experience.quiet(env))
    envs, played, _ = experience.warm_up(scale_actions(env), CONFIG, envs, jax.random.key(1))
    assert played.reward.shape == (100, 4)
    if name == "lqr":
        action = np.asarray(played.action)
        assert action.shape == (100, 4, 1) and np.abs(action).max() <= 1
        counts = np.histogram(action, 4, (-1, 1))[0]
        assert envs.carry.shape == (4, 1) and np.all(np.asarray(envs.carry) == 0)
    else:
        counts = np.bincount(np.asarray(played.action).ravel())
        assert envs.carry == ()
    assert np.all(np.abs(counts - 400 / len(counts)) < 4 * np.sqrt(400 / len(counts)))
