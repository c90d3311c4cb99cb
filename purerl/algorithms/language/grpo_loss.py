"""What GRPO learns from answers: their advantages within groups, and the surrogate that a gradient step ascends.

Answers are rows, ``[B, T]``, the G of one prompt next to each other; what is computed of tokens is time-major,
``[T, B]``, as in the kernels. A group with a reward that is no number takes no part.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from purerl.algorithms.language.answers import Answers, score_answers
from purerl.algorithms.language.grpo_sampling import Judged, weights
from purerl.kernels.language import aggregation, groups, kl, mismatch, rewards, sequences, surrogates
from purerl.kernels.surrogates import approximate_kl, policy_gradient
from purerl.language.score import Score
from purerl.nets.language_model import LanguageModel
from purerl.types import Mean, Metrics, PyTree

if TYPE_CHECKING:
    from purerl.algorithms.language.grpo import GRPOConfig, GRPOHypers


class Batch(NamedTuple):
    """What a gradient step reads, one answer a row."""

    answers: Answers  # those that count nowhere have an empty mask
    advantage: jax.Array  # [B, T]
    reference: jax.Array | None  # [B, T] log-probabilities of the reference, where there is a KL penalty


# --- from rewards to advantages ---------------------------------------------------------------------------


def advantages(
    config: "GRPOConfig", hypers: "GRPOHypers", judged: Judged, log_ratio: jax.Array | None = None
) -> jax.Array:
    """Advantages of tokens, ``[T, B]``: each answer's return compared with those of its group.

    A KL penalty in the reward has its rewards to go, ``G_t = R - beta sum_{k >= t} log(pi_k / ref_k)``. Compared are
    the ``G_0``, and a token's advantage has no part of what was paid before it::

        A_t = A(G_0) + (beta sum_{k < t} log(pi_k / ref_k)) / scale,

    scale being 1, or the deviation that standardised advantages are divided by.

    Args:
        config: how to compare.
        hypers: coefficients.
        judged: B answers, group by group.
        log_ratio: ``[T, B]``, ``log pi - log ref`` of tokens, for a KL penalty in the reward; None for none.

    Returns:
        0 for a group with a reward that is no number.
    """
    mask, weight = judged.answers.mask.T, weights(config, hypers, judged.rewards.shape[1])
    valid = is_valid(config, judged)
    each = jnp.where(valid[:, None], judged.rewards, 0)
    if config.advantage == "standardized_each":
        grouped = each.reshape(-1, config.group_size, each.shape[1])
        advantage = groups.standardized_each(grouped, weight, config.ddof, hypers.advantage_epsilon).reshape(-1)
        return jnp.where(mask, advantage, 0)
    paid = jnp.zeros(mask.shape) if log_ratio is None else jnp.where(mask, kl.reward(log_ratio, hypers.beta), 0)
    returns = rewards.weighted_sum(each, weight) + jnp.where(valid, jnp.sum(paid, axis=0), 0)
    returns = returns.reshape(-1, config.group_size)
    advantage = _compare(config, hypers, returns).reshape(-1)
    if log_ratio is None:
        return jnp.where(mask, advantage, 0)
    scale = jnp.ones(len(returns))
    if config.advantage == "standardized":
        scale = groups.deviation(returns, config.ddof) + hypers.advantage_epsilon
    before = jnp.cumsum(paid, axis=0) - paid
    return jnp.where(mask & valid, advantage - before / scale.repeat(config.group_size), 0)


def _compare(config: "GRPOConfig", hypers: "GRPOHypers", returns: jax.Array) -> jax.Array:
    """``[N, G]``, of returns within a group."""
    if config.advantage == "centered":
        return groups.centered(returns)
    if config.advantage == "leave_one_out":
        return groups.leave_one_out(returns)
    return groups.standardized(returns, config.ddof, hypers.advantage_epsilon)


def is_valid(config: "GRPOConfig", judged: Judged) -> jax.Array:
    """Whether all rewards of an answer's group are numbers, ``[B]`` bool."""
    finite = jnp.all(jnp.isfinite(judged.rewards), axis=1).reshape(-1, config.group_size)
    return jnp.all(finite, axis=1).repeat(config.group_size)


def make_batch(
    config: "GRPOConfig", hypers: "GRPOHypers", judged: Judged, reference: jax.Array | None, sampler_log_prob: jax.Array
) -> Batch:
    """What a gradient step reads of judged answers.

    Args:
        config: choices.
        hypers: coefficients.
        judged: B answers, group by group.
        reference: ``[B, T]``, log-probabilities of the reference; None where there is no KL penalty.
        sampler_log_prob: ``[B, T]``.
    """
    in_reward = config.kl == "reward"
    log_ratio = (sampler_log_prob - reference).T if in_reward and reference is not None else None
    advantage = advantages(config, hypers, judged, log_ratio).T
    counts = is_valid(config, judged)
    if config.drop_cut:
        counts &= judged.answers.stopped
    prompts = judged.answers.prompts._replace(info=())
    answers = judged.answers._replace(prompts=prompts, mask=judged.answers.mask & counts[:, None])
    return Batch(answers, advantage, None if in_reward else reference)


# --- the loss ---------------------------------------------------------------------------------------------


def loss_of(
    model: LanguageModel, config: "GRPOConfig", hypers: "GRPOHypers", old_params: PyTree, max_tokens: int
) -> Callable:
    """GRPO's loss, ``(params, batch [B]) -> (Mean, metrics)``: minus the surrogate, plus the KL penalty, aggregated.

    ``-w (surrogate(pi / old, A) 1[keep] - beta KL_t)`` a token, w being the weight old / mu of what mu sampled

    Args:
        model: what learns.
        config: choices.
        hypers: coefficients.
        old_params: of the policy at the start of the update. Where an update is one gradient step, they are those that
            are differentiated, and nothing is scored twice.
        max_tokens: L, the token limit, what ``aggregate="constant"`` divides by.
    """

    def scored(params: PyTree, answers: Answers) -> Score:
        return score_answers(model.policy(params), answers, hypers.temperature)

    def loss(params: PyTree, batch: Batch) -> tuple[Mean, Metrics]:
        answers, mask = batch.answers, batch.answers.mask.T
        log_prob, entropy = scored(params, answers)
        one_step = config.num_gradient_steps == 1
        old = jax.lax.stop_gradient(log_prob if one_step else scored(old_params, answers).log_prob)
        log_ratio, gap = log_prob - old, jnp.where(mask, old - answers.log_prob.T, 0)
        advantage = batch.advantage.T
        objective = surrogate(config, hypers, log_prob, log_ratio, mask, advantage)
        kept = keep(config, hypers, log_ratio + gap, mask, advantage)
        objective = jnp.where(kept, objective, 0)
        terms = diagnose(hypers, log_ratio, gap, mask, advantage, kept) | {
            "entropy": aggregation.token_mean(entropy, mask)
        }
        if batch.reference is not None:
            to_reference = log_prob - batch.reference.T
            objective = objective - hypers.beta * penalty(config, to_reference, log_ratio)
            terms["reference_kl"] = aggregation.sequence_sum(to_reference, mask)
        objective = objective * mismatch_weight(config, hypers, gap, mask)
        return aggregate(config, -objective, mask, max_tokens), terms

    return loss


def surrogate(
    config: "GRPOConfig",
    hypers: "GRPOHypers",
    log_prob: jax.Array,
    log_ratio: jax.Array,
    mask: jax.Array,
    advantage: jax.Array,
) -> jax.Array:
    """What to maximise, ``[T, B]`` each; one element a sequence stands at each of its tokens."""
    low, high = hypers.clip_low, hypers.clip_high
    if config.surrogate == "gspo":
        return jnp.where(mask, surrogates.gspo(log_ratio, mask, advantage[0], low, high), 0)
    if config.surrogate == "gspo_token":
        return surrogates.gspo_token(log_prob, log_ratio, mask, advantage, low, high)
    if config.surrogate == "cispo":
        return surrogates.cispo(log_prob, log_ratio, advantage, high)
    if config.surrogate == "policy_gradient":
        return policy_gradient(log_prob, advantage)
    return surrogates.clip_higher(log_ratio, advantage, low, high, hypers.dual_clip)


def penalty(config: "GRPOConfig", to_reference: jax.Array, log_ratio: jax.Array) -> jax.Array:
    """KL penalty of tokens as a loss, ``[T, B]``, of ``log pi - log ref`` and ``log pi - log old``."""
    if config.kl == "k2":
        return kl.k2(to_reference)
    return kl.k3(to_reference) if config.kl == "k3" else kl.importance_weighted(kl.k3(to_reference), log_ratio)


def keep(
    config: "GRPOConfig", hypers: "GRPOHypers", log_ratio: jax.Array, mask: jax.Array, advantage: jax.Array
) -> jax.Array:
    """The off-policy mask of sequences, ``[B]`` bool, of ``log pi - log mu`` of tokens; all True where it is off."""
    if not config.off_policy_mask:
        return jnp.ones(mask.shape[1], bool)
    return mismatch.on_policy_enough(log_ratio, mask, advantage[0], hypers.off_policy_delta)


def mismatch_weight(config: "GRPOConfig", hypers: "GRPOHypers", gap: jax.Array, mask: jax.Array) -> jax.Array:
    """Weight of tokens, or of their sequences, ``[T, B]`` or ``[B]``, of ``log old - log mu``; 1 where it is off."""
    if config.mismatch == "none":
        return jnp.ones(mask.shape[1])
    gap = gap if config.mismatch_level == "token" else sequences.total(gap, mask)
    if config.mismatch == "truncate":
        return mismatch.truncated_weight(gap, hypers.mismatch_high)
    return mismatch.masked_weight(gap, hypers.mismatch_low, hypers.mismatch_high)


def aggregate(config: "GRPOConfig", x: jax.Array, mask: jax.Array, max_tokens: int) -> Mean:
    """Losses of tokens ``[T, B]`` as one number, not yet divided."""
    if config.aggregate == "constant":
        return aggregation.constant(x, mask, max_tokens)
    by = {
        "token": aggregation.token_mean,
        "sequence": aggregation.sequence_mean,
        "sum": aggregation.sequence_sum,
    }
    return by[config.aggregate](x, mask)


def diagnose(
    hypers: "GRPOHypers", log_ratio: jax.Array, gap: jax.Array, mask: jax.Array, advantage: jax.Array, kept: jax.Array
) -> Metrics:
    """What a gradient step says of ratios: their mean, how far the policy has moved from the one that sampled, the gap
    between sampler and learner, and the share of tokens whose own ratio left the range in the direction of its
    advantage."""
    beyond = jnp.where(advantage > 0, log_ratio > jnp.log1p(hypers.clip_high), log_ratio < jnp.log1p(-hypers.clip_low))
    return {
        "ratio": aggregation.token_mean(jnp.exp(log_ratio), mask),
        "approximate_kl": aggregation.token_mean(approximate_kl(log_ratio), mask),
        "mismatch_kl": aggregation.token_mean(approximate_kl(gap), mask),
        "clipped": aggregation.token_mean((beyond & (advantage != 0)).astype(log_ratio.dtype), mask),
        "kept": aggregation.batch_mean(kept.astype(log_ratio.dtype), mask),
    }
