"""Agents: one observation at a time, a carry from step to step, and agents without one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs, recipes
from purerl.agent import Agent, no_carry, reactive
from purerl.algorithm import Algorithm, Spec
from purerl.spaces import Box, Discrete

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


def doubling(space) -> Agent:
    """Twice what it sees, and how often it has seen something."""

    def act(hypers, state, carry, seen, key, sample=False):
        return carry + 1, jax.tree.map(lambda x: 2 * x, seen.obs)

    env = envs.probes.truncation()._replace(observation_space=space)
    made = Algorithm(lambda *_: (), lambda *_: (), lambda: jnp.zeros((), jnp.int32), act, Spec("doubling", 1))
    return recipes.attach(made, doubling, {"env": env}).agent((), ())


@pytest.mark.parametrize("to", [np.asarray, jnp.asarray, lambda x: x.tolist()])
def test_one_observation_or_a_batch_by_the_shape_of_the_space(to):
    """An axis more is a batch; numbers of another type become the space's; the carry of a fresh episode will do for all
    environments, and comes back with an axis of them."""
    agent = doubling(Box(-1.0, 1.0, (2,)))
    obs = np.arange(6.0).reshape(3, 2)
    carry, action = agent.act(agent.start(), to(obs[1]))
    np.testing.assert_array_equal(action, 2 * obs[1])
    assert (action.dtype, carry.shape, int(carry)) == (jnp.float32, (), 1)
    carry, action = agent.act(agent.start(), to(obs))
    np.testing.assert_array_equal(action, 2 * obs)
    carry, _ = agent.act(carry, to(obs))
    np.testing.assert_array_equal(carry, [2, 2, 2])
    carry, action = doubling(Discrete(5)).act(agent.start(), np.array([3, 4]))
    assert action.tolist() == [6, 8] and carry.tolist() == [1, 1]


def test_other_shapes_are_refused():
    """Both are named, and the remedy."""
    agent = doubling(Box(-1.0, 1.0, (2,)))
    for shape in ((3,), (), (4, 5, 2)):
        with pytest.raises(ValueError, match=r"the agent takes \(2,\), or a batch with one axis more"):
            agent.act(agent.start(), np.zeros(shape))


def test_a_key_is_needed_where_actions_are_sampled():
    """Else it may be left out; an agent of unknown origin needs one."""
    agent = doubling(Discrete(5))
    assert int(agent.act(agent.start(), 2)[1]) == 4
    source = agent.source
    for other in (source.algorithm.agent((), (), sample=True), agent._replace(needs_key=True)):
        with pytest.raises(ValueError, match="needs a key"):
            other.act(agent.start(), 2)


def test_agents_of_an_algorithm_share_a_compiled_program():
    """Other numbers, no other program; with samples another one."""
    traced = []

    def act(hypers, state, carry, seen, key, sample=False):
        traced.append(sample)
        return carry, seen.obs + state + hypers

    algorithm = Algorithm(lambda *_: (), lambda *_: (), no_carry, act, Spec("toy", 1))
    for sample in (False, True):
        for state in (1.0, 2.0):
            agent = algorithm.agent(jnp.float32(0.5), jnp.float32(state), sample)
            assert agent.act((), jnp.float32(1.0), KEY)[1] == state + 1.5
    assert traced == [False, True]
