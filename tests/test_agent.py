"""Agents: one observation at a time, a carry from step to step, and agents without one."""

import jax
import jax.numpy as jnp
import numpy as np

from purerl.agent import Agent, no_carry, reactive

KEY = jax.random.key(0)


def summing() -> Agent:
    """Adds up what it sees; its action is the sum and the environment's state."""

    def policy(carry, seen, key):
        carry = carry + seen.obs["x"]
        return carry, carry + seen.env_state

    return Agent(lambda: jnp.zeros(2), policy)


def test_act_carries_over_the_steps_of_an_episode():
    """A batch of one inside, none outside: observations, carries, states and actions have no axis of environments."""
    agent = summing()
    carry = agent.start()
    for t in range(3):
        carry, action = agent.act(carry, {"x": np.array([1.0, t])}, KEY, env_state=jnp.float32(10.0))
    np.testing.assert_array_equal(carry, [3.0, 3.0])
    np.testing.assert_array_equal(action, [13.0, 13.0])


def test_reactive_agent_has_no_carry():
    """It starts with nothing, hands nothing on, and gets the key as it is."""
    agent = reactive(lambda seen, key: seen.obs[:, 0] + jax.random.uniform(key))
    carry, action = agent.act(agent.start(), jnp.array([2.0, 3.0]), KEY)
    assert agent.start() == carry == no_carry() == ()
    assert float(action) == float(2 + jax.random.uniform(KEY))
