"""Sweeps of dynamic programming: when they stop, in place or all at once, and bounds on the error of their values."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from purerl.mdp import MDP, SparseMDP, optimality_backup
from purerl.ranges import Range, check_hyper
from purerl.types import Scalar

_ROUNDING = 4  # units of the last digit of the largest value: changes no larger than this are noise


class Solution(struct.PyTreeNode):
    """Values that a solver found, and a bound on their error."""

    value: jax.Array  # [S]
    iterations: jax.Array  # [] int: sweeps, improvements or backups of one state; each solver says which
    residual: jax.Array  # [] largest change of a value by the last iteration, or by one more
    bound: jax.Array  # [] on the largest error of `value`; infinite where gamma = 1


def sweep_until_settled(
    sweep: Callable, mdp: MDP | SparseMDP, value: jax.Array | None, tolerance: Scalar, max_sweeps: int | jax.Array
) -> Solution:
    """Solve by sweeps: repeat ``sweep`` until no value changes by more than the tolerance."""

    def body(carry: tuple) -> tuple:
        value, sweeps, _ = carry
        swept = sweep(value)
        return swept, sweeps + 1, jnp.abs(swept - value).max()

    def unfinished(carry: tuple) -> jax.Array:
        value, sweeps, residual = carry
        return unsettled(residual, value, tolerance) & (sweeps < max_sweeps)

    value = jnp.zeros_like(mdp.start) if value is None else value
    first = (value, jnp.int32(0), jnp.full((), jnp.inf, value.dtype))
    value, sweeps, residual = jax.lax.while_loop(unfinished, body, first)
    return Solution(value, sweeps, residual, amplified(mdp.gamma, mdp.gamma * residual))


def unsettled(residual: jax.Array, value: jax.Array, tolerance: Scalar) -> jax.Array:
    """Whether values change by more than the tolerance, and by more than rounding does.

    Raises:
        ValueError: for a tolerance that is negative or not finite (by NaN every value would be settled), unless it is
            traced.
    """
    check_hyper("tolerance", tolerance, Range(low=0))
    rounding = _ROUNDING * jnp.finfo(value.dtype).eps * jnp.abs(value).max()
    return residual > jnp.maximum(tolerance, rounding)


def in_place_sweep(back_up_state: Callable[[jax.Array, jax.Array], jax.Array], order: jax.Array) -> Callable:
    """Gauss-Seidel sweep, which backs up one state after the other, each from the newest values."""

    def sweep(value: jax.Array) -> jax.Array:
        def one(value: jax.Array, state: jax.Array) -> tuple[jax.Array, None]:
            return value.at[state].set(back_up_state(value, state)), None

        return jax.lax.scan(one, value, order)[0]

    return sweep


def one_state(process: Any, state: jax.Array) -> Any:
    """Restrict an MDP or MRP to the steps out of one state, so that a sweep of it backs up that state alone."""
    names = ("transition", "next_state", "reward", "terminal")
    return process.replace(**{name: getattr(process, name)[state][None] for name in names if hasattr(process, name)})


def with_bellman_bound(mdp: MDP, value: jax.Array, iterations: jax.Array) -> Solution:
    """Solution with the bound of its Bellman error: ``max |V - V*| <= max |T V - V| / (1 - gamma)``."""
    residual = jnp.abs(optimality_backup(mdp, value) - value).max()
    return Solution(value, iterations, residual, amplified(mdp.gamma, residual))


def amplified(gamma: jax.Array, change: jax.Array) -> jax.Array:
    """``change / (1 - gamma)``, infinite where ``gamma = 1``."""
    return jnp.where(gamma < 1, change / jnp.where(gamma < 1, 1 - gamma, 1.0), jnp.inf)
