"""TD(lambda) prediction: the off-line lambda-return, eligibility traces, true online TD(lambda)."""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from purerl.algorithms.tabular.episodes import Episode, endings
from purerl.algorithms.tabular.prediction import (
    StateValues,
    check_range,
    check_steps,
    next_values,
    value_at,
    visit_in_order,
    visit_step_size,
)
from purerl.kernels import returns
from purerl.types import Scalar

Trace = Literal["accumulating", "replacing", "dutch"]


def lambda_return(
    values: StateValues,
    episode: Episode,
    gamma: Scalar,
    lambda_: Scalar,
    *,
    step_size: Scalar = 0.1,
    decay: Scalar = 0.0,
    frozen: bool = False,
) -> StateValues:
    """The off-line lambda-return algorithm, TD(lambda)'s forward view: after the episode, towards all n-step returns.

    ``V(S_t) += alpha (G^lambda_t - V(S_t))``, ``G^lambda_t = (1 - lambda) sum_{n>=1} lambda^{n-1} G^(n)_t``, where the
    longest return, to the end, has all the weight that is left. It is made of the values before the episode.

    Args:
        values: so far.
        episode: of the policy.
        gamma: discount in [0, 1].
        lambda_: in [0, 1]; 0 is one step (off line), 1 Monte Carlo.
        step_size: of a state's first target, in [0, 1].
        decay: exponent by which it falls, in [0, 1].
        frozen: take the error, too, from the values before the episode. What a state's visits add is then a plain sum,
            the one that :func:`td_lambda` makes, and which large steps let grow without limit.

    Source: Sutton & Barto 2018, (12.3) and (12.4).
    """
    check_steps("lambda_return", gamma, step_size, decay)
    check_range("lambda_return", lambda_=(lambda_, 0, 1))
    before = values.value
    targets = returns.lambda_returns(episode.reward, next_values(episode, before), *endings(episode), gamma, lambda_)

    def target(value: jax.Array, t: jax.Array) -> jax.Array:
        state = episode.state[t]
        return targets[t] + (value[state] - before[state] if frozen else 0.0)

    return visit_in_order(values, episode, target, jnp.ones(targets.shape), step_size, decay)


def td_lambda(
    values: StateValues,
    episode: Episode,
    gamma: Scalar,
    lambda_: Scalar,
    *,
    trace: Trace = "accumulating",
    step_size: Scalar = 0.1,
    decay: Scalar = 0.0,
    frozen: bool = False,
) -> StateValues:
    """TD(lambda), the backward view: every error also corrects the states that led there.

    ``e_t = gamma lambda e_{t-1} + alpha 1[S_t]``, ``V += delta_t e_t``, with ``e_{-1} = 0`` and the step size inside
    the trace, where each visit keeps its own

    The traces differ where a state is met again. Accumulating ones add up, as above; replacing ones start afresh,
    ``e(S_t) = alpha``; dutch ones lie between, ``e(S_t) = gamma lambda e + alpha (1 - gamma lambda e)``, and with
    ``V += (V(S_t) - V_before(S_t)) (e_t - alpha 1[S_t])``, the value's change since the step before, make this the true
    online TD(lambda): exactly the on-line lambda-return algorithm, whose targets end at each step that is reached.

    Args:
        values: so far.
        episode: of the policy.
        gamma: discount in [0, 1].
        lambda_: in [0, 1]; 0 is TD(0).
        trace: which of them.
        step_size: of a state's first visit, in [0, 1].
        decay: exponent by which it falls, in [0, 1].
        frozen: take all errors from the values before the episode: with accumulating traces the sum is then exactly
            :func:`lambda_return`'s. On line the two differ by terms of second order in the step size.

    Raises:
        ValueError: if there is no such trace, or a dutch one is to be frozen.

    Source: Sutton & Barto 2018, (12.5) to (12.7) and section 12.5; van Seijen et al. 2016; Singh & Sutton 1996 for
    replacing traces.
    """
    check_steps("td_lambda", gamma, step_size, decay)
    check_range("td_lambda", lambda_=(lambda_, 0, 1))
    if trace not in get_args(Trace):
        raise ValueError(f"td_lambda: trace={trace!r}; choose one of {', '.join(get_args(Trace))}.")
    if frozen and trace == "dutch":
        raise ValueError("td_lambda: dutch traces exist to follow changes on line; use frozen=False or another trace.")
    before = values.value

    def step(t: jax.Array, carry: tuple) -> tuple:
        values, eligibility, previous_value = carry
        state, value = episode.state[t], before if frozen else values.value
        here, there = value[state], value_at(episode, value, t + 1)
        count = values.count.at[state].add(1)
        size = visit_step_size(step_size, count[state], decay)
        eligibility = _TRACES[trace](gamma * lambda_ * eligibility, state, size)
        change = (episode.reward[t] + gamma * there - here) * eligibility
        if trace == "dutch":
            # At the first step the trace is this state's step alone, and the previous value does not matter.
            change += (here - previous_value) * eligibility.at[state].add(-size)
        return StateValues(values.value + change, count), eligibility, there

    first = (values, jnp.zeros_like(before), jnp.zeros((), before.dtype))
    return jax.lax.fori_loop(0, episode.length, step, first)[0]


_TRACES: dict[str, Callable] = {
    "accumulating": lambda e, state, size: e.at[state].add(size),
    "replacing": lambda e, state, size: e.at[state].set(size),
    "dutch": lambda e, state, size: e.at[state].add(size * (1 - e[state])),
}
