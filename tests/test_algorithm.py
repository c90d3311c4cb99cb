"""The record of an algorithm: its agent has hypers, state and the way to act filled in."""

import jax
import jax.numpy as jnp
import pytest

from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec

KEY = jax.random.key(0)


def act(hypers, state, carry, seen, key, sample=False):
    return carry + 1, hypers * state * seen.obs + (100 if sample else 0)


def record(act) -> Algorithm:
    return Algorithm(lambda *_: 0, lambda *_: 0, lambda: jnp.int32(0), act, Spec("toy", 1))


def test_agent_acts_with_hypers_and_state():
    """Greedily or with samples, and the carry goes on."""
    for sample, expected in ((False, 30.0), (True, 130.0)):
        agent = record(act).agent(hypers=2.0, state=3.0, sample=sample)
        carry, action = agent.act(agent.start(), jnp.float32(5.0), KEY)
        assert (float(action), int(carry)) == (expected, 1)


def test_act_without_sample_is_called_without_it():
    """An algorithm that is deployed in one way alone takes no such argument."""
    algorithm = record(lambda hypers, state, carry, seen, key: (carry, seen.obs))._replace(start=no_carry)
    assert algorithm.agent(None, None).act((), jnp.float32(4.0), KEY) == ((), 4.0)


def test_algorithm_that_does_not_act_has_no_agent():
    """The error names it."""
    with pytest.raises(ValueError, match="toy does not act: it has no agent"):
        record(None).agent(None, None)
