"""Rewards of texts: lengths, repetition, and many small rewards made into one.

Lengths are counted in tokens, by the mask of the completion. All are rewards: a penalty is negative, and is added.
"""

import chex
import jax
import jax.numpy as jnp

from purerl.kernels.language import sequences
from purerl.kernels.numerics import safe_divide
from purerl.types import Scalar


def length_penalty(length: jax.Array, coefficient: Scalar) -> jax.Array:
    """Length penalty: ``r = -lambda l``.

    Args:
        length: ``[...]`` int, tokens.
        coefficient: lambda, at least 0, reward a token.

    Returns:
        ``[...]`` float, at most 0.
    """
    return -coefficient * _float(length)


def overlong_penalty(length: jax.Array, max_tokens: int, buffer: int) -> jax.Array:
    """Soft penalty of answers that come near the token limit: ``clip((L - c - l) / c, -1, 0)``.

    Nothing up to ``L - c`` tokens, then linearly down to -1 at L, and never below.

    Args:
        length: ``[...]`` int, tokens.
        max_tokens: L, the limit.
        buffer: c, in 1..L.

    Returns:
        ``[...]`` float in [-1, 0].

    Raises:
        ValueError: if buffer is out of its range.

    Source: Yu et al. 2025, (13).
    """
    if not 1 <= buffer <= max_tokens:
        raise ValueError(f"overlong_penalty: buffer={buffer} must be from 1 to max_tokens={max_tokens}.")
    return jnp.clip((max_tokens - buffer - _float(length)) / buffer, -1, 0)


def relative_length(length: jax.Array, correct: jax.Array) -> jax.Array:
    """Length reward within a group (Kimi k1.5): ``lam = 1/2 - (l - min l) / (max l - min l)``, at most 0 if wrong.

    Short answers gain, long ones lose; a wrong answer gains nothing by being short. 0 where all are equally long.

    Args:
        length: ``[..., G]`` int, tokens.
        correct: ``[..., G]`` bool.

    Returns:
        ``[..., G]`` float in [-1/2, 1/2].

    Source: Kimi Team 2025, section 2.3.3.
    """
    chex.assert_equal_shape((length, correct))
    chex.assert_type(correct, bool)
    length = _float(length)
    shortest, longest = (f(length, axis=-1, keepdims=True) for f in (jnp.min, jnp.max))
    score = jnp.where(longest > shortest, 0.5 - safe_divide(length - shortest, longest - shortest), 0)
    return jnp.where(correct, score, jnp.minimum(score, 0))


def repetition(tokens: jax.Array, mask: jax.Array, n: int) -> jax.Array:
    """Share of n-grams that were in the text before: ``1 - (number of different n-grams) / (number of n-grams)``.

    Its negative, times a coefficient, is a penalty. Compares all pairs, ``T^2 B`` of them.

    Args:
        tokens: ``[T, B]`` int.
        mask: ``[T, B]`` bool, True from the first token to the last of each text, without holes.
        n: length of what is compared, at least 1, static.

    Returns:
        ``[B]`` float in [0, 1); 0 for a text shorter than n.

    Raises:
        ValueError: if ``n < 1``.

    Source: Yeo et al. 2025, as a share.
    """
    if n < 1:
        raise ValueError(f"repetition: n={n} must be at least 1.")
    chex.assert_equal_shape((tokens, mask))
    number = max(len(tokens) - n + 1, 0)  # of places at which an n-gram can start
    inside = mask[n - 1 :]  # [number, B] whether the one that starts here is part of the text
    same = jnp.tri(number, k=-1, dtype=bool)[:, :, None]  # [number, number, 1] whether the second is the earlier one
    for i in range(n):
        token = tokens[i : i + number]
        same &= token[:, None] == token[None]
    repeated = jnp.any(same, axis=1) & inside
    return safe_divide(_float(sequences.length(repeated)), _float(sequences.length(inside)))


def ends_in_loop(tokens: jax.Array, mask: jax.Array, period: int, times: int) -> jax.Array:
    """Whether a text ends in one phrase over and over, where generation may stop: ``y_t = y_{t - period}`` at its end.

    Args:
        tokens: ``[T, B]`` int, what has been written so far.
        mask: ``[T, B]`` bool, True from the first token to the last of each text, without holes.
        period: length of the phrase in tokens, at least 1, static. One of several periods: call it for each.
        times: how often it stands in a row, at least 2, static.

    Returns:
        ``[B]`` bool; False for a text shorter than that.

    Raises:
        ValueError: if an argument is out of its range.
    """
    _check_loop(period, times)
    chex.assert_equal_shape((tokens, mask))
    ordinal = jnp.cumsum(mask, axis=0, dtype=jnp.int32)  # the token's number in its text, from 1
    length = sequences.length(mask)
    compared = mask & (ordinal > length - period * (times - 1))
    equal = tokens == jnp.roll(tokens, period, axis=0)
    return (length >= period * times) & jnp.all(equal | ~compared, axis=0)


def first_loop(tokens: jax.Array, mask: jax.Array, period: int, times: int) -> jax.Array:
    """The first token at which a text ends in a loop, as :func:`ends_in_loop` has it: what comes after was not wanted.

    Args:
        tokens: ``[T, B]`` int.
        mask: ``[T, B]`` bool, True from the first row to the last token of each text.
        period: length of the phrase in tokens, at least 1, static.
        times: how often it stands in a row, at least 2, static.

    Returns:
        ``[B]`` int32, its row; T where there is no loop.

    Raises:
        ValueError: as :func:`ends_in_loop`.
    """
    _check_loop(period, times)
    chex.assert_equal_shape((tokens, mask))
    t = jnp.arange(len(tokens), dtype=jnp.int32)[:, None]
    equal = mask & (t >= period) & (tokens == jnp.roll(tokens, period, axis=0))
    row = t - jax.lax.cummax(jnp.where(equal, -1, t), axis=0)  # how many in a row are what stands a period before
    looped = equal & (row >= period * (times - 1))
    return jnp.min(jnp.where(looped, t, len(tokens)), axis=0)


def weighted_sum(reward: jax.Array, weight: jax.Array) -> jax.Array:
    """Weighted sum of several rewards: ``sum_k w_k R_k``.

    With a KL penalty the optimum is ``ref exp(w . R / beta) / Z``, and Pareto-efficient for positive weights. Rewards
    of different scale should be standardised first (:func:`~purerl.kernels.language.groups.standardized_each`).

    Args:
        reward: ``[..., K]`` float.
        weight: ``[K]``.

    Returns:
        ``[...]``.
    """
    chex.assert_equal_shape_suffix((reward, weight), 1)
    chex.assert_type(reward, float)
    return reward @ weight


def rubric(passed: jax.Array, weight: jax.Array) -> jax.Array:
    """Rubric of checks that each pass or fail, as one reward: ``sum_k w_k 1[k passed] / sum_k w_k``.

    Args:
        passed: ``[..., K]`` bool.
        weight: ``[K]`` float, at least 0 and not all 0.

    Returns:
        ``[...]`` in [0, 1].
    """
    chex.assert_type(passed, bool)
    return weighted_sum(passed.astype(weight.dtype), weight / jnp.sum(weight))


def ensemble_mean(reward: jax.Array) -> jax.Array:
    """Reward by the mean of an ensemble of reward models: ``1/K sum_k R_k``; an error of one weighs 1/K.

    Args:
        reward: ``[..., K]`` float, of the same answer by K models.

    Returns:
        ``[...]``.

    Source: Coste et al. 2024, section 3.
    """
    chex.assert_type(reward, float)
    return jnp.mean(reward, axis=-1)


def ensemble_min(reward: jax.Array) -> jax.Array:
    """Reward by the least of an ensemble of reward models: ``min_k R_k``; nobody is won over by fooling one of them.

    Args:
        reward: ``[..., K]`` float, of the same answer by K models.

    Returns:
        ``[...]``, at most the mean.

    Source: Coste et al. 2024, section 3, worst-case optimisation.
    """
    chex.assert_type(reward, float)
    return jnp.min(reward, axis=-1)


def _check_loop(period: int, times: int) -> None:
    if period < 1 or times < 2:
        raise ValueError(f"A loop's period={period} must be at least 1 and its times={times} at least 2.")


def _float(x: jax.Array) -> jax.Array:
    """Integers as floats, in the precision that is on."""
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))
