"""KL-UCB: its index exhausts its budget; untried arms come first."""

import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.bandits.arm_values import ArmValues
from purerl.algorithms.bandits.kl_ucb import KLUCBHypers, bernoulli_kl, kl_ucb, kl_ucb_index
from purerl.kernels import exploration
from tests.support.bandit_games import policy_of


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("ucb")
def test_kl_ucb_index_exhausts_its_budget():
    """N KL(Q ; q) = ln n + c ln ln n at the index; 1 - n^(-1/N) for Q = 0 and 1 for Q = 1; below UCB1's (Pinsker)."""
    values = ArmValues(value=jnp.array([0.3, 0.7, 0.0, 1.0]), count=jnp.array([20.0, 50.0, 10.0, 20.0]))
    for log_log in (0.0, 3.0):
        index = kl_ucb_index(values, log_log)
        budget = np.log(100) + log_log * np.log(np.log(100))
        spent = values.count * bernoulli_kl(values.value, index)
        np.testing.assert_allclose(spent[:3], budget, rtol=1e-4)
        assert index[3] == 1
    index = kl_ucb_index(values, 0.0)
    assert index[2] == pytest.approx(1 - 100**-0.1, abs=2e-6)
    assert np.all(index <= np.minimum(exploration.upper_confidence(values.value, values.count, np.sqrt(0.5)), 1) + 1e-6)


@pytest.mark.covers("ucb")
def test_kl_ucb_tries_every_arm_first():
    """Arms that were never pulled share the policy, whatever the others' rewards were."""
    values = ArmValues(value=jnp.array([9.0, 0.0, 0.0]), count=jnp.array([1.0, 0.0, 0.0]))
    np.testing.assert_array_equal(policy_of(kl_ucb, KLUCBHypers(), values), [0, 0.5, 0.5])
