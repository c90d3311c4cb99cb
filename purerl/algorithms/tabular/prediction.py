"""Prediction of a policy's state values from episodes of it or of another policy: what all methods share.

    episodes = sample_episodes(mdp, policy, key, num_episodes=100, max_steps=1000)
    update = lambda values, episode: n_step_td(values, episode, gamma=1.0, n=4, step_size=0.4)
    values, history = learn(update, begin(jnp.zeros(num_states)), episodes)

The policy is fixed, so the episodes do not depend on what is learnt: they are sampled first (:mod:`.episodes`), and a
method is a pure function ``(values, episode, ...) -> values``: :mod:`.monte_carlo_prediction`, :mod:`.td`,
:mod:`.td_lambda`, :mod:`.off_policy_prediction`. ``vmap`` it over runs, step sizes, n and lambda; all its numbers may
be arrays.

Every method moves the value of each state it meets towards a target, by a step ``step_size / N^decay`` for the N-th
visit: decay 0 is a constant step, step size 1 and decay 1 the sample mean. They differ in the target alone. Monte Carlo
waits for the return; TD takes the next state's value for it; n-step returns and the lambda-return lie between.
A truncated episode ends in a state that still has a value, and every target counts it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl.algorithms.tabular.episodes import Episode, endings, time_steps
from purerl.kernels import exploration, returns
from purerl.types import Scalar


class StateValues(struct.PyTreeNode):
    """Estimated state values of a policy."""

    value: jax.Array  # [S] estimate; of no effect in states where episodes terminate
    count: jax.Array  # [S] sum of the weights of all targets so far: the number of visits, unless a method weighs them


def begin(value: Any) -> StateValues:
    """Initial estimates: ``value [S]`` is a guess, which sample means forget at once."""
    value = jnp.asarray(value, float)
    return StateValues(value, jnp.zeros_like(value))


def learn(
    update: Callable[[StateValues, Episode], StateValues], values: StateValues, episodes: Episode
) -> tuple[StateValues, jax.Array]:
    """Learn from one episode after another.

    Args:
        update: a prediction method with its numbers filled in.
        values: the estimates before.
        episodes: leaves ``[E, ...]``.

    Returns:
        ``(values, history [E, S])``, the second being the estimates after each episode.
    """

    def one(values: StateValues, episode: Episode) -> tuple[StateValues, jax.Array]:
        values = update(values, episode)
        return values, values.value

    return jax.lax.scan(one, values, episodes)


def move_towards(
    values: StateValues, state: jax.Array, target: jax.Array, weight: Scalar, step_size: Scalar, decay: Scalar
) -> StateValues:
    """Incremental weighted mean or constant step: ``N_s += w``, then ``V_s += step_size N_s^-decay w (target - V_s)``.

    Step size 1 and decay 1 make ``V_s`` the weighted mean of all targets so far; decay 0 weighs them exponentially.

    Source: Sutton & Barto 2018, (5.7) and (5.8), and (6.1).
    """
    count = values.count.at[state].add(weight)
    size = weight * visit_step_size(step_size, count[state], decay)
    return StateValues(values.value.at[state].add(size * (target - values.value[state])), count)


def visit_in_order(
    values: StateValues, episode: Episode, target: Callable, weight: jax.Array, step_size: Scalar, decay: Scalar
) -> StateValues:
    """Move each state on the way towards its target, ``(value [S], t) -> []``, the first one first."""

    def visit(t: jax.Array, values: StateValues) -> StateValues:
        return move_towards(values, episode.state[t], target(values.value, t), weight[t], step_size, decay)

    return jax.lax.fori_loop(0, episode.length, visit, values)


def n_step_target(episode: Episode, gamma: Scalar, n: int | jax.Array) -> Callable:
    """n-step return ``G^(n)_t`` as ``(value [S], t) -> []``.

    The rewards until ``t + n`` are the whole return less its tail, so that one sum serves every n:
    ``G^(n)_t = G_t + gamma^n (V(S_{t+n}) - G_{t+n})``.
    """
    return_ = jnp.append(monte_carlo_returns(episode, None, gamma), 0.0)

    def target(value: jax.Array, t: jax.Array) -> jax.Array:
        end = jnp.minimum(t + n, episode.length)
        tail = jnp.where(end < episode.length, return_[end], 0.0)
        return return_[t] + gamma ** (end - t) * (value_at(episode, value, end) - tail)

    return target


def monte_carlo_returns(episode: Episode, value: jax.Array | None, gamma: Scalar) -> jax.Array:
    """Monte Carlo returns ``G_t [T]``.

    A truncated episode's last state counts with its value, or with 0 where ``value`` is None.
    """
    after = jnp.zeros_like(episode.reward) if value is None else next_values(episode, value)
    return returns.discounted_returns(episode.reward, after, *endings(episode), gamma)


def value_at(episode: Episode, value: jax.Array, t: jax.Array) -> jax.Array:
    """Value at a step, ``V(S_t)``; 0 where the episode has terminated."""
    return jnp.where(episode.terminated & (t >= episode.length), 0.0, value[episode.state[t]])


def next_values(episode: Episode, value: jax.Array) -> jax.Array:
    """Values of the next states, ``V(S_{t+1})``, ``[T]``."""
    return value_at(episode, value, time_steps(episode) + 1)


def visit_weights(episode: Episode, num_states: int, first_visit: bool) -> jax.Array:
    """Weights of first or every visit: ``[T]``, 1 for the visits that count."""
    if not first_visit:
        return jnp.ones(episode.reward.shape)
    steps = time_steps(episode)
    first = jnp.full(num_states, len(steps)).at[episode.state[:-1]].min(steps)
    return (first[episode.state[:-1]] == steps).astype(float)


def visit_step_size(step_size: Scalar, count: jax.Array, decay: Scalar) -> jax.Array:
    """Step size at a visit, ``step_size / N^decay``; where no weight has come yet it does not matter, and is finite."""
    return exploration.power_decay(step_size, jnp.where(count > 0, count, 1.0), decay)


def check_steps(where: str, gamma: Scalar, step_size: Scalar, decay: Scalar) -> None:
    """Discount, step size and its decay lie in [0, 1], unless they are traced."""
    check_range(where, gamma=(gamma, 0, 1), step_size=(step_size, 0, 1), decay=(decay, 0, 1))


def check_range(where: str, **numbers: tuple[Any, float, float]) -> None:
    """Each number, unless it is traced, lies between its bounds."""
    for name, (number, low, high) in numbers.items():
        if not isinstance(number, jax.core.Tracer) and not np.all((np.asarray(number) >= low) & (number <= high)):
            bounds = f"at least {low}" if high == np.inf else f"in [{low}, {high}]"
            raise ValueError(f"{where}: {name}={number} must be {bounds}.")
