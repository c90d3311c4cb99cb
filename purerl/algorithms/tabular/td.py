"""TD(0) and n-step TD prediction."""

import jax
import jax.numpy as jnp
import numpy as np

from purerl.algorithms.tabular.episodes import Episode
from purerl.algorithms.tabular.prediction import StateValues, check_range, check_steps, n_step_target, visit_in_order
from purerl.types import Scalar


def td(
    values: StateValues, episode: Episode, gamma: Scalar, *, step_size: Scalar = 0.1, decay: Scalar = 0.0
) -> StateValues:
    """TD(0): towards the reward and the estimated value of the next state.

    ``V(S_t) += alpha (r_t + gamma V(S_{t+1}) - V(S_t))``

    Args:
        values: so far.
        episode: of the policy.
        gamma: discount in [0, 1].
        step_size: of a state's first target, in [0, 1].
        decay: exponent by which it falls, in [0, 1]; in (1/2, 1] the estimates converge with probability 1.

    Source: Sutton & Barto 2018, (6.2).
    """
    return n_step_td(values, episode, gamma, 1, step_size=step_size, decay=decay)


def n_step_td(
    values: StateValues,
    episode: Episode,
    gamma: Scalar,
    n: int | jax.Array,
    *,
    step_size: Scalar = 0.1,
    decay: Scalar = 0.0,
) -> StateValues:
    """n-step TD: towards n rewards and the estimated value of the state after them.

    ``V(S_t) += alpha (sum_{k<n} gamma^k r_{t+k} + gamma^n V(S_{t+n}) - V(S_t))``, with fewer steps where the episode
    ends sooner

    On line, as soon as the n steps are known, so each target is made of the newest values. n = 1 is TD(0), and n of at
    least the episode's length is Monte Carlo.

    Args:
        values: so far.
        episode: of the policy.
        gamma: discount in [0, 1].
        n: number of rewards, at least 1; it may be traced.
        step_size: of a state's first target, in [0, 1].
        decay: exponent by which it falls, in [0, 1].

    Source: Sutton & Barto 2018, (7.1) and (7.2).
    """
    check_steps("n_step_td", gamma, step_size, decay)
    check_range("n_step_td", n=(n, 1, np.inf))
    target = n_step_target(episode, gamma, n)
    return visit_in_order(values, episode, target, jnp.ones(episode.reward.shape), step_size, decay)
