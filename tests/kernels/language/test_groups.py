import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.language import groups
from tests.support import tiny_language as tiny
from tests.support.tiny_language import NUM_SEQUENCES, SEQUENCES, cosine, sequence_of, setting

pytestmark = pytest.mark.usefixtures("x64")
ADVANTAGES = [
    groups.centered,
    groups.leave_one_out,
    lambda reward: groups.standardized(reward, ddof=0),
    lambda reward: groups.standardized(reward, ddof=1),
]


def mean_gradient(s, advantage, size, weight=1.0):
    """Expected gradient of ``1/G sum_i A_i w_i log pi(y_i)`` over all groups of G texts, ``[N, V]``."""
    members = np.array(list(itertools.product(range(NUM_SEQUENCES), repeat=size)))  # [Y^G, G]
    law = jnp.exp(jnp.sum(sequence_of(s.policy)[members], axis=1))
    coefficient = law[:, None] * advantage(s.reward[members]) / size
    by_text = jnp.zeros(NUM_SEQUENCES).at[members].add(coefficient)
    return jax.jit(jax.grad(lambda logits: jnp.dot(by_text * weight, sequence_of(logits))))(s.policy)


@pytest.mark.covers("grpo")
@pytest.mark.parametrize("size", [2, 3])
def test_centred_groups_shrink_the_policy_gradient_and_leave_one_out_is_exact(size):
    """Over all groups: (1 - 1/G) grad J, and grad J. Both are without bias in direction."""
    s = setting()
    truth = tiny.exact_gradient(s.policy, s.reward)
    np.testing.assert_allclose(mean_gradient(s, groups.centered, size), (1 - 1 / size) * truth, atol=1e-13)
    np.testing.assert_allclose(mean_gradient(s, groups.leave_one_out, size), truth, atol=1e-13)


@pytest.mark.covers("grpo", "grpo-agg")
def test_dividing_by_the_deviation_or_by_the_length_turns_the_gradient(size=2):
    """Over all groups their cosines to grad J are below .99, where that of the difference alone is 1."""
    s = setting()
    truth = tiny.exact_gradient(s.policy, s.reward)
    by_deviation = mean_gradient(s, lambda reward: groups.standardized(reward, ddof=0), size)
    by_length = mean_gradient(s, groups.centered, size, weight=1 / np.sum(SEQUENCES.mask, axis=0))
    assert 0.7 < cosine(by_deviation, truth) < 0.99
    assert 0.7 < cosine(by_length, truth) < 0.99
    assert cosine(mean_gradient(s, groups.centered, size), truth) > 1 - 1e-12


@pytest.mark.covers("grpo")
def test_advantages_of_one_right_answer_in_four():
    """(1, 0, 0, 0): the deviation of the group gives 1.7321 and -.5774, the estimate of the distribution's 1.5, -.5."""
    reward = jnp.array([1.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(groups.standardized(reward, 0, 0.0), [3**0.5] + [-(3**-0.5)] * 3, rtol=1e-12)
    np.testing.assert_allclose(groups.standardized(reward, 1, 0.0), [1.5] + [-0.5] * 3, rtol=1e-12)
    np.testing.assert_allclose(groups.centered(reward), [0.75] + [-0.25] * 3, rtol=1e-12)
    np.testing.assert_allclose(groups.leave_one_out(reward), [1] + [-1 / 3] * 3, rtol=1e-12)


@pytest.mark.covers("grpo")
def test_advantages_of_k_right_answers_in_g():
    """sqrt((G - k) / k) and -sqrt(k / (G - k)), with sum 0 and variance 1."""
    G = 7
    for k in range(1, G):
        advantage = groups.standardized((jnp.arange(G) < k).astype(float), 0, 0.0)
        expected = [((G - k) / k) ** 0.5] * k + [-((k / (G - k)) ** 0.5)] * (G - k)
        np.testing.assert_allclose(advantage, expected, rtol=1e-12)
        np.testing.assert_allclose([np.sum(advantage), np.var(advantage)], [0, 1], atol=1e-12)


@pytest.mark.covers("grpo")
@pytest.mark.parametrize("advantage", ADVANTAGES)
def test_groups_are_compared_within_themselves(advantage):
    """Any leading axes, each group alone; a shift of rewards changes nothing, and the sum is 0."""
    reward = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 5)))
    together = advantage(reward)
    for index in np.ndindex(2, 3):
        np.testing.assert_allclose(together[index], advantage(reward[index]), atol=1e-14)
    np.testing.assert_allclose(advantage(reward + 100.0), together, atol=1e-11)
    np.testing.assert_allclose(jnp.sum(together, axis=-1), 0, atol=1e-14)


@pytest.mark.covers("grpo", "dyn-sampling")
@pytest.mark.parametrize("advantage", ADVANTAGES)
def test_equal_rewards_and_groups_of_one_have_no_advantage(advantage):
    """Exactly 0, in single precision as well, where rounding of a mean divided by epsilon would be of order 1."""
    for dtype in (jnp.float32, jnp.float64):
        np.testing.assert_array_equal(advantage(jnp.full((3, 7), 0.1, dtype)), 0)
        np.testing.assert_array_equal(advantage(jnp.full((3, 1), 5.7, dtype)), 0)
        assert advantage(jnp.full((3, 7), 0.1, dtype)).dtype == dtype


@pytest.mark.covers("grpo")
@pytest.mark.parametrize("advantage", ADVANTAGES)
def test_integers_are_refused_and_nan_stays_in_its_group(advantage):
    """Integer and bool rewards are a type error; one NaN poisons its own group, visibly, and no other."""
    for dtype in (jnp.int32, bool):
        with pytest.raises(AssertionError, match="type"):
            advantage(jnp.ones((2, 4), dtype))
    result = advantage(jnp.array([[1.0, jnp.nan, 0.0], [1.0, 0.0, 0.0]]))
    assert np.all(np.isnan(result[0])) and np.all(np.isfinite(result[1]))


def test_ddof_is_named():
    """There is no default, and only two deviations are meant."""
    with pytest.raises(TypeError):
        groups.standardized(jnp.ones(3))
    with pytest.raises(ValueError, match="ddof=2"):
        groups.standardized(jnp.ones(3), ddof=2)


@pytest.mark.covers("multi-reward")
def test_each_reward_is_standardised_before_they_are_added():
    """Scale and offset of a reward change nothing; of their sum they do, and equal sums of unlike rewards differ."""
    rng = np.random.default_rng(0)
    reward, weight = jnp.asarray(rng.normal(size=(2, 6, 3))), jnp.array([1.0, 0.5, 2.0])
    expected = sum(weight[k] * groups.standardized(reward[..., k], 1, 0.0) for k in range(3))
    actual = groups.standardized_each(reward, weight, 1, 0.0)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    rescaled = reward * jnp.array([3.0, 100.0, 0.1]) + jnp.array([7.0, -1.0, 2.0])
    np.testing.assert_allclose(groups.standardized_each(rescaled, weight, 1, 0.0), actual, rtol=1e-9)
    unlike = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    summed = groups.standardized(jnp.sum(unlike, axis=-1), 0)
    assert summed[0] == summed[1]
    assert abs(np.diff(groups.standardized_each(unlike, jnp.ones(2), 0)[:2])[0]) > 0.4
    with pytest.raises(AssertionError):
        groups.standardized_each(reward, jnp.ones(1), 0)


@pytest.mark.covers("dyn-sampling")
def test_groups_without_spread_are_dropped():
    """All right and all wrong have no gradient; shaping by length makes the same groups look informative."""
    correct = jnp.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0], [0.1, 0.1, 0.1]])
    np.testing.assert_array_equal(groups.informative(correct), [False, False, True, False])
    np.testing.assert_array_equal(jnp.any(groups.centered(correct) != 0, axis=-1), groups.informative(correct))
    assert np.all(groups.informative(correct - 0.01 * jnp.array([3.0, 5.0, 4.0])))
