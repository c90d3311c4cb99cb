"""What a policy gradient weighs actions with: the choices of psi and of a baseline, over a rollout ``[T, B]``."""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from purerl.kernels import returns
from purerl.kernels.numerics import safe_divide
from purerl.kernels.recurrence import forward_linear_recurrence
from purerl.types import Transition

Psi = Literal["return", "reward_to_go", "q", "td", "n_step", "gae", "vtrace"]
Baseline = Literal["none", "mean", "value", "optimal"]
ADVANTAGES: tuple[Psi, ...] = ("td", "n_step", "gae", "vtrace")
"""Those in which the critic's value is subtracted already."""


class Rollout(NamedTuple):
    """What weights are made of. Every field is ``[T, B]``."""

    reward: jax.Array  # to learn from
    step: jax.Array  # number in its episode, from 0
    terminated: jax.Array  # bool
    truncated: jax.Array  # bool
    value: jax.Array  # of the observation acted upon
    next_value: jax.Array  # of the observation that the step led to, before any reset
    taken: jax.Array  # action value of the action, or the value where there is none
    ratio: jax.Array  # pi(a) / mu(a), of what learns and what acted


def check(psi: Psi, baseline: Baseline, num_envs: int) -> None:
    """A weight and a baseline that fit each other and the number of environments.

    Raises:
        ValueError: with what would do.
    """
    if psi in ADVANTAGES and baseline != "value":
        rest = ", ".join(name for name in get_args(Psi) if name not in ADVANTAGES)
        raise ValueError(
            f'psi = {psi} has the value in it: baseline = {baseline} must be "value", or psi one of {rest}.'
        )
    if baseline in ("mean", "optimal") and num_envs < 2:
        raise ValueError(
            f"baseline = {baseline} is made of the other environments: num_envs = {num_envs} must be 2 or more."
        )


def steps(transitions: Transition, begun: jax.Array) -> jax.Array:
    """The number of each step in its episode, from 0, ``[T, B]``.

    Args:
        transitions: ``[T, B]``.
        begun: steps of the episodes before, ``[B]``.
    """
    goes_on = _goes_on(transitions.terminated | transitions.truncated, begun.dtype)
    return forward_linear_recurrence(goes_on, goes_on, begun - 1)


def psi(
    name: Psi, n_step: int, hypers: Any, rollout: Rollout, past: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Weights of actions and targets of the critic, ``[T, B]``, and what is earned so far by running episodes, ``[B]``.

    ``psi_t`` is one of

    * ``return``: ``sum_{k<t} gamma^k r_k + gamma^t G_t``, of the whole episode, and the target is ``G_t``;
    * ``reward_to_go``: ``G_t = sum_{k>=t} gamma^{k-t} r_k``, and so is the target;
    * ``q``: ``Q(s_t, a_t)``, the target ``r_t + gamma E_pi Q(s_{t+1}, a)``;
    * ``td``: ``delta_t = r_t + gamma V(s_{t+1}) - V(s_t)``, the target ``delta_t + V(s_t)``;
    * ``n_step``: ``G^(n)_t - V(s_t)``, the target ``G^(n)_t``;
    * ``gae``: ``sum_l (gamma lambda)^l delta_{t+l}``, the target ``psi_t + V(s_t)``;
    * ``vtrace``: ``rho_t (r_t + gamma v_{t+1} - V(s_t))`` where lambda is 1, the target ``v_t``.

    An episode that goes on after the last step that is known is worth what the critic says of there.

    Args:
        name: of the weight.
        n_step: n.
        hypers: with ``gamma``, ``gae_lambda``, ``clip_rho`` and ``clip_c``.
        rollout: ``[T, B]``.
        past: ``sum_{k<t} gamma^k r_k`` of episodes that run as the rollout begins, ``[B]``.

    Source: Schulman et al. 2016 (arXiv 1506.02438), (1); Espeholt et al. 2018 (arXiv 1802.01561), section 4.
    """
    reward, step, terminated, truncated, value, next_value, taken, ratio = rollout
    ends, discount = (terminated, truncated), jnp.asarray(hypers.gamma, reward.dtype) ** step
    ended = terminated | truncated
    sums = forward_linear_recurrence(_goes_on(ended, reward.dtype), discount * reward, past)
    past = jnp.where(ended[-1], 0, sums[-1]).astype(past.dtype)
    if name == "q":
        return taken, returns.td_errors(reward, jnp.zeros_like(value), next_value, terminated, hypers.gamma), past
    if name == "vtrace":
        target, advantage = returns.vtrace(
            *(reward, value, next_value, ratio, *ends),
            *(hypers.gamma, hypers.gae_lambda, hypers.clip_rho, hypers.clip_c, hypers.clip_rho),
        )
        return advantage, target, past
    if name == "gae":
        advantage = returns.gae(reward, value, next_value, *ends, hypers.gamma, hypers.gae_lambda)
        return advantage, advantage + value, past
    if name == "td":
        advantage = returns.td_errors(reward, value, next_value, terminated, hypers.gamma)
        return advantage, advantage + value, past
    if name == "n_step":
        target = returns.n_step_returns(reward, next_value, *ends, hypers.gamma, n_step)
        return target - value, target, past
    target = returns.discounted_returns(reward, next_value, *ends, hypers.gamma)
    return sums + discount * (target - reward) if name == "return" else target, target, past


def baseline(psi: Psi, name: Baseline, weight: jax.Array, value: jax.Array, square: jax.Array) -> jax.Array | float:
    """What is subtracted from the weights, ``[T, B]`` or what broadcasts to it: it never depends on the action itself.

    ``none`` is 0, ``value`` is ``V(s_t)``, ``mean`` the mean of the weights of all other environments, and ``optimal``
    ``sum w |score|^2 / sum |score|^2`` over them, the number of least variance. With its own weights in it a mean
    would shrink the gradient, by ``(B - 1) / B``.

    Args:
        psi: of the weights.
        name: of the baseline.
        weight: ``[T, B]``.
        value: ``[T, B]``.
        square: ``|score|^2``, or ``|gamma^t score|^2`` where weights get that factor, ``[T, B]``.

    Source: Weaver & Tao 2001 (arXiv 1301.2315); Greensmith, Bartlett & Baxter 2004, section 4.
    """
    if psi in ADVANTAGES or name == "none":
        return 0.0
    if name == "value":
        return value
    square = square if name == "optimal" else jnp.ones_like(weight)
    total, mass = jnp.sum(weight * square, axis=0), jnp.sum(square, axis=0)
    return safe_divide(jnp.sum(total) - total, jnp.sum(mass) - mass)


def _goes_on(ended: jax.Array, dtype: Any) -> jax.Array:
    """1 where a step is of the episode of the step before, or of that which runs as the rollout begins; else 0."""
    return jnp.concatenate([jnp.ones_like(ended[:1]), ~ended[:-1]]).astype(dtype)
