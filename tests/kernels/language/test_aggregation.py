import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.language import aggregation
from purerl.language import enumeration
from purerl.types import Mean
from tests.support.tiny_language import SEQUENCES, setting, tokens_of

LENGTHS = np.array([3, 1, 5, 2, 4, 4, 3, 2])
MASK = np.arange(5)[:, None] < LENGTHS  # [T, B]
X = np.random.default_rng(0).normal(size=MASK.shape)
constant = functools.partial(aggregation.constant, max_tokens=10)
AGGREGATORS = [aggregation.token_mean, aggregation.sequence_mean, constant, aggregation.sequence_sum]
pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.covers("grpo-agg", "grpo")
def test_aggregators_differ_exactly_by_the_weights_of_their_tokens():
    """Lengths 2 and 4: a token weighs (1/4, 1/8), 1/6, 1/8 at L = 4, and 1/2; padding weighs nothing."""
    mask = np.arange(6)[:, None] < np.array([2, 4])
    weights = {
        aggregation.sequence_mean: (1 / 4, 1 / 8),
        aggregation.token_mean: (1 / 6, 1 / 6),
        functools.partial(aggregation.constant, max_tokens=4): (1 / 8, 1 / 8),
        aggregation.sequence_sum: (1 / 2, 1 / 2),
    }
    for aggregate, weight in weights.items():
        gradient = jax.grad(lambda x, f=aggregate: aggregation.value(f(x, mask)))(jnp.ones(mask.shape))
        np.testing.assert_allclose(gradient, np.where(mask, weight, 0), rtol=1e-14)


@pytest.mark.covers("grpo-agg")
def test_aggregators_against_loops():
    """Token by token over sequences of five lengths."""
    columns = [X[:n, i] for i, n in enumerate(LENGTHS)]
    expected = [
        sum(c.sum() for c in columns) / LENGTHS.sum(),
        np.mean([c.mean() for c in columns]),
        np.mean([c.sum() for c in columns]) / 10,
        np.mean([c.sum() for c in columns]),
    ]
    for aggregate, value in zip(AGGREGATORS, expected, strict=True):
        np.testing.assert_allclose(aggregation.value(aggregate(jnp.asarray(X), MASK)), value, rtol=1e-12)
    np.testing.assert_allclose(aggregation.value(aggregation.batch_mean(jnp.asarray(X[0]), MASK)), X[0].mean())


@pytest.mark.covers("grpo-agg")
@pytest.mark.parametrize("aggregate", AGGREGATORS)
def test_any_split_into_micro_batches_padding_and_devices_gives_one_gradient(aggregate):
    """2x4 and 8x1, numerators' gradients and numbers added up and divided once; empty rows, longer padding and
    eight devices change nothing."""
    parameter = jnp.asarray(0.7)

    def total(p, x, mask):
        mean = aggregate(jnp.sin(p * x), mask)
        return mean.total, mean.number

    descent = jax.jit(jax.grad(total, has_aux=True))

    def gradient(parts):
        found = [descent(parameter, x, mask) for x, mask in parts]
        return aggregation.value(functools.reduce(aggregation.merge, [Mean(*part) for part in found]))

    def split(x, mask, number):
        return list(zip(jnp.split(x, number, axis=1), jnp.split(mask, number, axis=1), strict=True))

    x, mask = jnp.asarray(X), jnp.asarray(MASK)
    whole = jax.jit(jax.grad(lambda p: aggregation.value(Mean(*total(p, x, mask)))))(parameter)
    for number in (2, 8):
        np.testing.assert_allclose(gradient(split(x, mask, number)), whole, rtol=1e-13)
    padding = ((0, 3), (0, 4))
    wide = jnp.pad(x, padding, constant_values=jnp.nan), jnp.pad(mask, padding)
    np.testing.assert_allclose(aggregation.value(aggregate(*wide)), aggregation.value(aggregate(x, mask)), rtol=1e-13)
    finite = jnp.nan_to_num(wide[0]), wide[1]
    np.testing.assert_allclose(gradient(split(*finite, 4)), whole, rtol=1e-13)

    def on_a_device(x, mask):
        return jax.lax.psum(Mean(*jax.grad(total, has_aux=True)(parameter, x, mask)), "devices")

    eight = [jnp.stack(jnp.split(a, 8, axis=1)) for a in (x, mask)]
    pooled = jax.jit(jax.vmap(on_a_device, axis_name="devices"))(*eight)
    np.testing.assert_allclose(aggregation.value(pooled), whole, rtol=1e-13)


@pytest.mark.covers("grpo-agg")
def test_averages_of_micro_batches_are_not_the_average():
    """What numerator and denominator are kept apart for: the mean of two halves' token means is another number."""
    halves = [
        aggregation.value(aggregation.token_mean(jnp.asarray(X[:, i]), MASK[:, i])) for i in (slice(4), slice(4, 8))
    ]
    assert abs(np.mean(halves) - aggregation.value(aggregation.token_mean(jnp.asarray(X), MASK))) > 1e-3


@pytest.mark.covers("grpo-agg")
@pytest.mark.parametrize("aggregate", AGGREGATORS)
def test_an_empty_batch_is_0_and_half_precision_does_not_lose_count(aggregate):
    """No tokens: value and gradient 0. 4096 ones in bfloat16, where 256 + 1 = 256, are counted and summed in single."""
    nothing = jnp.zeros((4, 3), bool)
    value, gradient = jax.value_and_grad(lambda x: aggregation.value(aggregate(x, nothing)))(jnp.full((4, 3), jnp.nan))
    assert value == 0 and not np.any(gradient)
    half = aggregate(jnp.ones((4, 1024), jnp.bfloat16), jnp.ones((4, 1024), bool))
    wide = aggregate(jnp.ones((4, 1024)), jnp.ones((4, 1024), bool))
    assert half.total == wide.total and half.number == wide.number and half.total.dtype == jnp.float32


@pytest.mark.covers("sft", "grpo-agg")
def test_fine_tuning_by_tokens_ends_at_the_law_of_the_data_and_by_sequences_does_not():
    """Minus log-likelihood: at the data's law its mean gradient is 0 with all aggregators but the mean of sequences'
    means, which believes short ones more; its value there, summed, is the data's entropy."""
    data = setting().policy
    law = enumeration.log_probs(SEQUENCES, data)

    def loss(logits, aggregate):
        def of_one(x, mask):
            return aggregate(x[:, None], mask[:, None])

        means = jax.vmap(of_one, in_axes=1)(-tokens_of(logits), jnp.asarray(SEQUENCES.mask))
        return aggregation.value(Mean(jnp.exp(law) @ means.total, jnp.exp(law) @ means.number))

    for aggregate in AGGREGATORS:
        gradient = jax.jit(jax.grad(loss), static_argnums=1)(data, aggregate)
        assert (np.max(np.abs(gradient)) > 0.01) == (aggregate is aggregation.sequence_mean)
        if aggregate is not aggregation.sequence_mean:
            np.testing.assert_allclose(gradient, 0, atol=1e-15)
    np.testing.assert_allclose(loss(data, aggregation.sequence_sum), -jnp.exp(law) @ law, rtol=1e-13)


def test_rejects_shapes_that_would_broadcast():
    """A mask of one column, or an element a token where one a sequence is wanted."""
    for call in (
        lambda: aggregation.token_mean(jnp.ones((3, 2)), jnp.ones((3, 1), bool)),
        lambda: aggregation.sequence_mean(jnp.ones((3, 2)), jnp.ones((3, 1), bool)),
        lambda: aggregation.batch_mean(jnp.ones((3, 2)), jnp.ones((3, 2), bool)),
    ):
        with pytest.raises(AssertionError):
            call()
