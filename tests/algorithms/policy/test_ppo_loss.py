"""PPO's minibatches: the policy that acted is kept with them, or worked out again where actions are too many."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.policy.collect import collect
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, learn, ppo
from purerl.envs import Environment
from purerl.nets import actor_critic
from purerl.spaces import Box, Discrete
from tests.support.ppo_setup import jit, learner

KEY = jax.random.key(0)


@pytest.mark.covers("ppo")
def test_a_policy_worked_out_again_is_the_one_that_was_kept(monkeypatch):
    """The same rollout learnt from in both ways, with a penalty on the divergence: the same parameters and metrics, the
    ratio of the first minibatch being exactly 1."""
    agent, hypers = learner(num_epochs=2, objective="both"), PPOHypers(learning_rate=1e-2)
    state = agent.init(hypers, KEY)
    state, transitions, _ = jit(functools.partial(collect, agent.env, agent.net, agent.config))(hypers, state, KEY)

    def learnt(most):
        monkeypatch.setattr(actor_critic, "MANY_ACTIONS", most)
        state_after, metrics = jit(functools.partial(learn, agent.net, agent.config))(hypers, state, transitions, KEY)
        return state_after.params, metrics

    (kept, kept_metrics), (again, metrics) = learnt(3), learnt(2)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), kept, again)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-6), kept_metrics, metrics)
    assert metrics["ratio"] == kept_metrics["ratio"] == 1.0


def test_memory_does_not_grow_with_actions_times_steps():
    """20,000 actions, compiled, not run: an update of 512 steps needs little more memory than one of 64, and both that
    of a few minibatches of logits, not of a rollout's."""
    num_actions, num_envs, minibatch = 20_000, 2, 16

    def reset(key):
        return jnp.zeros(2), jnp.int32(0)

    def step(key, state, action):
        return jnp.zeros(2), state, jnp.float32(action), jnp.array(False), jnp.array(False), {}

    env = Environment("many", reset, step, Box(-1.0, 1.0, (2,)), Discrete(num_actions))

    def scratch(num_steps):
        config = PPOConfig(
            num_envs=num_envs,
            num_steps=num_steps,
            num_epochs=1,
            num_minibatches=num_envs * num_steps // minibatch,
            hidden_sizes=(4,),
        )
        algorithm = ppo(env, config)
        state = jax.eval_shape(algorithm.init, PPOHypers(), KEY)
        compiled = jit(algorithm.update).lower(PPOHypers(), state, KEY).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    logits = num_actions * 4  # bytes of one state's
    short, long = scratch(64), scratch(512)
    assert long - short < 4 * minibatch * logits < num_envs * 448 * logits / 10
    assert short < 12 * minibatch * logits
