"""Off-policy prediction by importance sampling: Monte Carlo, n-step TD, weighted per-decision estimates."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl.algorithms.tabular.episodes import Episode, endings, time_steps
from purerl.algorithms.tabular.prediction import (
    StateValues,
    check_range,
    check_steps,
    monte_carlo_returns,
    n_step_target,
    next_values,
    visit_in_order,
    visit_weights,
)
from purerl.kernels.numerics import safe_divide
from purerl.kernels.recurrence import reverse_linear_recurrence
from purerl.types import Scalar

Weighting = Literal["ordinary", "per-decision", "weighted"]


def off_policy_monte_carlo(
    values: StateValues,
    episode: Episode,
    ratio: jax.Array,
    gamma: Scalar,
    *,
    weighting: Weighting = "weighted",
    first_visit: bool = False,
    step_size: Scalar = 1.0,
    decay: Scalar = 1.0,
) -> StateValues:
    """Off-policy Monte Carlo prediction by importance sampling, from episodes of another policy.

    ``W_t G_t``, ``X_t = rho_t (r_t + gamma X_{t+1})`` or ``sum W_t G_t / sum W_t``, with ``W_t = prod_{k>=t} rho_k``

    "ordinary" takes means of ``W_t G_t``, unbiased, and of a variance that may be
    infinite; "per-decision" means of ``X_t``, unbiased too, where an action does not
    answer for rewards before it; "weighted" the weighted mean, biased, consistent, and never
    outside the range of the returns.

    Args:
        values: so far.
        episode: of the behaviour policy.
        ratio: ``[T]``, from :func:`~.episodes.importance_ratios`.
        gamma: discount in [0, 1].
        weighting: which of them.
        first_visit: leave out all but an episode's first visit of a state.
        step_size: of a state's first target, in [0, 1]; 1 for means.
        decay: exponent by which it falls, in [0, 1]; 1 for means.

    Raises:
        ValueError: if there is no such weighting.

    Source: Sutton & Barto 2018, (5.5) to (5.8) and (5.14); Precup et al. 2000, theorem 2.
    """
    check_steps("off_policy_monte_carlo", gamma, step_size, decay)
    if weighting not in get_args(Weighting):
        raise ValueError(
            f"off_policy_monte_carlo: weighting={weighting!r}; choose of {', '.join(get_args(Weighting))}."
        )
    weight = visit_weights(episode, len(values.value), first_visit)
    if weighting == "per-decision":
        targets = _per_decision(episode, values.value, ratio, gamma)
    else:
        targets, likelier = monte_carlo_returns(episode, values.value, gamma), jax.lax.cumprod(ratio, reverse=True)
        targets, weight = (targets, weight * likelier) if weighting == "weighted" else (likelier * targets, weight)
    return visit_in_order(values, episode, lambda _, t: targets[t], weight, step_size, decay)


def _per_decision(episode: Episode, value: jax.Array, ratio: jax.Array, gamma: Scalar) -> jax.Array:
    """Per-decision returns ``X_t = rho_t (r_t + gamma X_{t+1})``, ``[T]``.

    A truncated episode's last state counts with its value.
    """
    terminated, truncated = endings(episode)
    last = terminated | truncated
    bootstrap = jnp.where(last, next_values(episode, value), 0.0)
    return reverse_linear_recurrence(jnp.where(last, 0.0, gamma * ratio), ratio * (episode.reward + gamma * bootstrap))


def off_policy_n_step_td(
    values: StateValues,
    episode: Episode,
    ratio: jax.Array,
    gamma: Scalar,
    n: int | jax.Array,
    *,
    step_size: Scalar = 0.1,
    decay: Scalar = 0.0,
) -> StateValues:
    """Off-policy n-step TD by importance sampling, from episodes of another policy.

    ``V(S_t) += alpha rho_t ... rho_{t+n-1} (G^(n)_t - V(S_t))``, with fewer steps where the episode ends sooner

    Args:
        values: so far.
        episode: of the behaviour policy.
        ratio: ``[T]``, from :func:`~.episodes.importance_ratios`.
        gamma: discount in [0, 1].
        n: number of rewards, at least 1; it may be traced.
        step_size: of a state's first target, in [0, 1].
        decay: exponent by which it falls with the sum of a state's weights, in [0, 1]; 1 with step size 1 is weighted
            importance sampling.

    Source: Sutton & Barto 2018, (7.9).
    """
    check_steps("off_policy_n_step_td", gamma, step_size, decay)
    check_range("off_policy_n_step_td", n=(n, 1, np.inf))

    def one_more(_: jax.Array, weight: jax.Array) -> jax.Array:
        return ratio * jnp.append(weight[1:], 1.0)

    weight = jax.lax.fori_loop(0, jnp.minimum(n, len(ratio)), one_more, jnp.ones_like(ratio))
    return visit_in_order(values, episode, n_step_target(episode, gamma, n), weight, step_size, decay)


class RewardsAhead(struct.PyTreeNode):
    """Mean rewards of a policy k steps after a visit of each state."""

    reward: jax.Array  # [S, T] weighted mean
    weight: jax.Array  # [S, T] sum of weights


def begin_ahead(num_states: int, max_steps: int) -> RewardsAhead:
    """Initial estimates for ``num_states`` states and rewards up to ``max_steps`` ahead, the T of all episodes."""
    nothing = jnp.zeros((num_states, max_steps))
    return RewardsAhead(nothing, nothing)


def weighted_per_decision(ahead: RewardsAhead, episode: Episode, ratio: jax.Array) -> RewardsAhead:
    """Weighted per-decision importance sampling: each reward is weighed by the actions before it alone. Consistent.

    ``R[s, k] = sum w_tk r_{t+k} / sum w_tk`` over all visits ``S_t = s``, with ``w_tk = rho_t ... rho_{t+k}``

    After termination rewards are 0; after truncation they are unknown and do not count.

    Args:
        ahead: so far.
        episode: of the behaviour policy.
        ratio: ``[T]``, from :func:`~.episodes.importance_ratios`.

    Returns:
        The new means; :func:`ahead_value` makes values of them.

    Source: Thomas 2015, Safe reinforcement learning, on consistent weighted per-decision importance sampling.
    """
    steps = time_steps(episode)
    reward = jnp.where(steps < episode.length, episode.reward, 0.0)

    def visit(t: jax.Array, ahead: RewardsAhead) -> RewardsAhead:
        state, known = episode.state[t], episode.terminated | (steps + t < episode.length)
        weight = jnp.where(known, jnp.cumprod(_from(ratio, t, 1.0)), 0.0)
        total = ahead.weight[state] + weight
        change = safe_divide(weight, total) * (_from(reward, t, 0.0) - ahead.reward[state])
        return RewardsAhead(ahead.reward.at[state].add(change), ahead.weight.at[state].set(total))

    return jax.lax.fori_loop(0, episode.length, visit, ahead)


def ahead_value(ahead: RewardsAhead, gamma: Scalar) -> jax.Array:
    """State values from mean rewards: ``V[s] = sum_k gamma^k R[s, k]``, ``[S]``."""
    return ahead.reward @ gamma ** jnp.arange(ahead.reward.shape[1], dtype=ahead.reward.dtype)


def _from(x: jax.Array, t: jax.Array, after: float) -> jax.Array:
    """``x[t:]``, filled up to its old length."""
    steps = jnp.arange(len(x)) + t
    return jnp.where(steps < len(x), x[jnp.minimum(steps, len(x) - 1)], after)
