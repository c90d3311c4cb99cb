"""UCB1: its index by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.bandits.arm_values import ArmValues
from purerl.algorithms.bandits.ucb1 import UCB1Hypers, ucb1
from purerl.kernels import exploration
from tests.support.bandit_games import policy_of


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("ucb")
def test_ucb1_index_by_hand():
    """Q = (.5, .25), N = (8, 2), n = 10, c = 2: .5 + 2 sqrt(ln 10 / 8), .25 + 2 sqrt(ln 10 / 2); untried come first."""
    values = ArmValues(value=jnp.array([0.5, 0.25]), count=jnp.array([8.0, 2.0]))
    np.testing.assert_allclose(
        exploration.upper_confidence(values.value, values.count, 2.0), [1.572983, 2.395966], atol=1e-6
    )
    values = ArmValues(value=jnp.array([9.0, 0.0, 0.0]), count=jnp.array([1.0, 0.0, 0.0]))
    np.testing.assert_array_equal(policy_of(ucb1, UCB1Hypers(), values), [0, 0.5, 0.5])
