"""PPO with a memory: what is learnt from is what acted, step by step, also across ends and from rollout to rollout."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.policy import collect, memory
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, make_network, ppo
from purerl.algorithms.policy.ppo_loss import loss
from purerl.types import Seen
from tests.support.ppo_setup import busy_env, jit, small_config

KEY = jax.random.key(0)
HYPERS = PPOHypers(learning_rate=1e-2)
SIZES: dict[str, Any] = {"num_envs": 4, "hidden_sizes": (6, 8), "memory_size": 4, "memory_window": 3}
# The memory with most to go wrong; `tests/nets/test_recurrent.py` knows that the others are alike.
KIND = "attention"
HALVES = np.array([[2, 0], [3, 1]])


@functools.cache
def outcome():
    """The second of two rollouts, looked at, walked through and learnt from, in one program."""
    config = small_config(**SIZES, memory=KIND, num_epochs=1)
    env = busy_env()
    net, algorithm = make_network(env, config), ppo(env, config)
    of_loss = functools.partial(loss, net, config)

    def run(keys):
        state = algorithm.init(HYPERS, keys[0])
        noise = jax.random.normal(keys[0], (1000,))  # so that numbers which are 0 at first count
        params = jax.tree.map(lambda p: p + 0.3 * jnp.resize(noise, p.shape), state.params)

        def play(state, key):
            after, played, _ = collect.collect(env, net, config, HYPERS, state, key)
            return after, (state, played)

        after, rollouts = jax.lax.scan(play, state.replace(params=params), keys)
        before, played = jax.tree.map(lambda x: x[1], rollouts)
        batch = collect.make_batch(net, config, HYPERS, before, played, played.reward)

        def walk(carry, now):
            obs, next_obs, ended = now
            start = jnp.zeros((1, 4), bool)
            after, policy = net.apply(params, carry, obs[None], start, method="policy")
            _, value = net.apply(params, carry, obs[None], start)
            _, next_value = net.apply(params, after, next_obs[None], start)
            fresh = jax.tree.map(lambda x: jnp.stack([x] * 4), algorithm.start())
            reset = jax.tree.map(lambda f, a: jnp.where(ended.reshape(-1, *[1] * (a.ndim - 1)), f, a), fresh, after)
            return reset, (policy[0], value[0], next_value[0])

        ended = played.terminated | played.truncated
        last, walked = jax.lax.scan(walk, before.envs.carry, (played.obs, played.next_obs, ended))

        def half(envs):
            part = jax.tree.map(lambda x: x[0][envs], memory.as_samples(net, batch))
            part = memory.from_samples(net, part)
            return part.obs, of_loss(params, HYPERS, jnp.float32(0.2), jnp.float32(1.0), part)[1]

        return {
            "looked": collect.look(net, config, before, played)[1:],
            "walked": walked,
            "carry": (after.envs.carry, last),
            "ended": ended,
            "batch": batch,
            "halves": jax.vmap(half)(HALVES),
            "act": algorithm.act(HYPERS, before, before.envs.carry, Seen(played.obs[0]), keys[0])[1],
        }

    return jax.device_get(jit(run)(jax.random.split(KEY)))


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.covers("rnnstate", "ppo")
def test_what_is_learnt_from_is_what_acted():
    """A rollout looked at all at once against a walk through it, with the memory reset by hand where episodes end.

    Policies, values, and values of what each step led to, before any reset, with the memory of its own episode; the
    memory that goes on to the next rollout; the mode that acts.
    """
    run = outcome()
    assert run["ended"][:-1].any() and not run["ended"].all()
    jax.tree.map(close, run["looked"], run["walked"])
    carry, last = run["carry"]
    np.testing.assert_array_equal(carry.held, last.held)
    held = np.arange(3) >= 3 - carry.held[:, None]  # what is not may be anything
    close(carry.keys[held], last.keys[held])
    close(carry.values[held], last.values[held])
    np.testing.assert_array_equal(run["act"], run["walked"][0][0].argmax(-1))


@pytest.mark.covers("rnnstate", "ppo", "ppo-clip")
def test_first_ratio_is_one():
    """Before any step the ratios of each minibatch are 1 up to rounding."""
    run = outcome()
    np.testing.assert_allclose(run["halves"][1]["ratio"], 1, atol=1e-5)
    np.testing.assert_allclose(run["halves"][1]["approximate_kl"], 0, atol=1e-9)


@pytest.mark.covers("rnnstate", "ppo")
def test_minibatches_are_whole_environments():
    """Sequences in the order drawn, each with the memory before it: value losses of halves average to the whole."""
    run = outcome()
    obs, terms = run["halves"]
    np.testing.assert_array_equal(obs, np.moveaxis(run["batch"].obs[:, HALVES], 1, 0))
    whole = np.mean((run["batch"].value - run["batch"].target) ** 2) / 2
    assert np.mean(terms["value_loss"]) == pytest.approx(whole, rel=1e-4)


def test_refused_memories():
    """Minibatches that would cut environments apart, and heads that do not divide a size."""
    with pytest.raises(ValueError, match=r"num_minibatches = 4 does not divide num_envs = 6, .* memory.* is 3\."):
        PPOConfig(num_envs=6, num_steps=10, num_minibatches=4, memory="gru")
    with pytest.raises(ValueError, match=r"4 heads, which do not divide memory_size = 6"):
        PPOConfig(memory="attention", memory_size=6)
