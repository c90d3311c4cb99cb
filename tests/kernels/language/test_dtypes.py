"""What all kernels of text have in common, found by tracing alone."""

import jax
import jax.numpy as jnp
import pytest

from purerl.kernels.language import (
    aggregation,
    best_of_n,
    distillation,
    groups,
    kl,
    mismatch,
    preferences,
    process_rewards,
    rewards,
    sequences,
    surrogates,
    truncation,
)
from purerl.kernels.shaping import potential_shaping

# Each with arguments of the sizes T = 3, B = 4, V = 5, of which numbers are hyperparameters.
FLOAT = {"tokens": (3, 4), "batch": (4,), "vocabulary": (3, 4, 5)}
CALLS = [
    (sequences.total, "tokens", "mask"),
    (sequences.average, "tokens", "mask"),
    (sequences.to_go, "tokens", "mask"),
    (sequences.at_last, "batch", "mask"),
    (sequences.last, "tokens", "mask"),
    (kl.k2, "tokens"),
    (kl.k3, "tokens"),
    (kl.importance_weighted, "tokens", "tokens"),
    (kl.reward, "tokens", 0.1),
    (kl.loss, "tokens", "tokens", "mask"),
    (kl.reverse, "vocabulary", "vocabulary"),
    (kl.forward, "vocabulary", "vocabulary"),
    (kl.adapt_coefficient, "batch", "batch", 0.1, 0.1),
    (kl.optimum, "batch", "batch", 0.1),
    (kl.optimal_value, "batch", "batch", 0.1),
    (groups.centered, "batch"),
    (groups.leave_one_out, "batch"),
    (lambda x, epsilon: groups.standardized(x, 1, epsilon), "batch", 1e-6),
    (lambda x, w, epsilon: groups.standardized_each(x, w, 0, epsilon), "tokens", "batch", 1e-6),
    (aggregation.token_mean, "tokens", "mask"),
    (aggregation.sequence_mean, "tokens", "mask"),
    (aggregation.constant, "tokens", "mask", 100.0),
    (aggregation.sequence_sum, "tokens", "mask"),
    (surrogates.clip_higher, "tokens", "tokens", 0.2, 0.28),
    (surrogates.clip_higher, "tokens", "tokens", 0.2, 0.28, 3.0),
    (surrogates.gspo, "tokens", "mask", "batch", 3e-4, 4e-4),
    (surrogates.gspo_token, "tokens", "tokens", "mask", "tokens", 3e-4, 4e-4),
    (surrogates.cispo, "tokens", "tokens", "tokens", 4.0),
    (surrogates.log_partition, "batch", 0.5),
    (surrogates.mirror_descent, "batch", "batch", "batch", 0.5),
    (mismatch.truncated_weight, "tokens", 2.0),
    (mismatch.masked_weight, "tokens", 0.5, 2.0),
    (preferences.bradley_terry, "batch", "batch"),
    (preferences.pair_loss, "batch", "batch"),
    (preferences.k_wise_loss, "tokens"),
    (preferences.plackett_luce_loss, "tokens"),
    (preferences.implicit_reward, "batch", 0.1),
    (preferences.dpo_loss, "batch", "batch", 0.1),
    (preferences.plackett_luce_dpo_loss, "tokens", 0.1),
    (preferences.ipo_loss, "batch", "batch", 0.1),
    (truncation.log_probs, "vocabulary", 0.7),
    (rewards.weighted_sum, "tokens", "batch"),
    (rewards.ensemble_mean, "tokens"),
    (rewards.ensemble_min, "tokens"),
    (distillation.token_advantage, "tokens"),
    (distillation.advantage_to_go, "tokens", "mask"),
    (distillation.full_vocabulary_loss, "vocabulary", "vocabulary", "tokens", "mask"),
    (distillation.kdrl, "tokens", "tokens", "mask", 0.1),
    (process_rewards.outcome_labels, "batch", "mask"),
    (process_rewards.hard_labels, "tokens", 0.5),
    (process_rewards.label_loss, "tokens", "tokens"),
    (process_rewards.difference_rewards, "tokens", "batch", "mask"),
    (best_of_n.distribution, "batch", "batch", 4.0),
    (potential_shaping, "tokens", "tokens", "mask", 0.9),
]


def traced(call, dtype, hyper):
    """dtypes of what a kernel returns, of floats of one dtype, with its numbers as they are or traced."""
    kernel, *parts = call
    arguments = [
        jax.ShapeDtypeStruct((3, 4), bool)
        if part == "mask"
        else jax.ShapeDtypeStruct(FLOAT[part], dtype)
        if isinstance(part, str)
        else hyper(part)
        for part in parts
    ]
    shapes = [a for a in arguments if isinstance(a, jax.ShapeDtypeStruct)]

    def run(*given):
        given = iter(given)
        return kernel(*(next(given) if isinstance(a, jax.ShapeDtypeStruct) else a for a in arguments))

    return {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(run, *shapes))}


def single(number):
    """A hyperparameter that is traced."""
    return jax.ShapeDtypeStruct((), jnp.float32)


@pytest.mark.parametrize("double", [False, True])
def test_kernels_keep_the_precision_of_their_arguments(double):
    """In single precision whether or not double is on, in double, and of half to at most single; hyperparameters may be
    Python numbers, or traced in single precision."""
    with jax.enable_x64(double):
        for call in CALLS:
            assert traced(call, jnp.float32, float) == {jnp.dtype(jnp.float32)}, call
            assert traced(call, jnp.float32, single) == {jnp.dtype(jnp.float32)}, call
            assert traced(call, jnp.bfloat16, float) <= {jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float32)}, call
            if double:
                assert traced(call, jnp.float64, float) == {jnp.dtype(jnp.float64)}, call
