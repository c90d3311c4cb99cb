"""Monte Carlo control: learn from the return of each episode when it is over, on or off policy.

    algorithm = monte_carlo(purerl.envs.make("Blackjack"))
    state = algorithm.init(ControlHypers(step_size=1.0, step_decay=1.0), key)

An episode of any length is summed up as it goes, in three numbers a pair, so that no step is stored.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

from purerl.algorithm import Algorithm
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers, control
from purerl.algorithms.tabular.update_rule import ControlTransition, UpdateRule, initial_table, values_of_table
from purerl.envs.base import Environment
from purerl.kernels.exploration import power_decay
from purerl.kernels.numerics import safe_divide
from purerl.mdp import average
from purerl.recipes import recorded
from purerl.types import Mean


class ReturnTables(struct.PyTreeNode):
    """The action values and the sums of this episode's returns.

    ``w_t`` is the ratio, target over behaviour, of the actions after t.
    """

    q: jax.Array  # [S, A]
    total: jax.Array  # [S, A] sum of all weights of all episodes that are over
    weight: jax.Array  # [S, A] sum of w_t over the visits in this episode
    weighted_return: jax.Array  # [S, A] sum of w_t G_t, of the rewards so far
    discount: jax.Array  # [S, A] sum of w_t gamma^(steps since t): what one unit of reward now adds to it


def returns(first_visit: bool = True, on_policy: bool = True, name: str = "monte-carlo") -> UpdateRule:
    """Monte Carlo update rule: towards the mean return of the episode's visits, weighed by importance ratios.

    ``Q += min(1, alpha W / C^e) (sum_t w_t G_t / W - Q)``, ``W = sum_t w_t`` over the visits t of the episode, C the
    sum of all W so far, alpha and e hypers.step_size and hypers.step_decay

    On policy ``w_t = 1``. Step size 1 and decay 1 give the mean of all returns, off policy weighted importance
    sampling. The policy learned is fixed during an episode. Where an episode is truncated, the target policy's mean
    value takes the place of the rewards that would have followed.

    Args:
        first_visit: of a pair's visits in one episode the first alone counts; else every one.
        on_policy: learn the policy that acts, or else the epsilon-greedy one with hypers.target_epsilon.
        name: of the algorithm.

    Raises:
        ValueError: for first visits off policy.

    Source: Sutton & Barto 2018, sections 5.3, 5.4 and 5.7.
    """
    if first_visit and not on_policy:
        raise ValueError(
            "returns(first_visit=True, on_policy=False): off policy every visit counts; first_visit=False."
        )
    return UpdateRule(
        name=name,
        init=init_returns,
        values=values_of_table,
        learn=partial(monte_carlo_update, first_visit, on_policy),
        on_policy=on_policy,
        learns_first=True,
        settings={"first_visit": first_visit, "on_policy": on_policy},
    )


def init_returns(hypers: ControlHypers, num_states: int, num_actions: int) -> ReturnTables:
    """Initial values, and no return yet."""
    q = initial_table(hypers.initial_value, num_states, num_actions)
    nothing = jnp.zeros_like(q)
    return ReturnTables(q=q, total=nothing, weight=nothing, weighted_return=nothing, discount=nothing)


def monte_carlo_update(
    first_visit: bool,
    on_policy: bool,
    hypers: ControlHypers,
    tables: ReturnTables,
    transition: ControlTransition,
    target: Callable,
) -> tuple[ReturnTables, Mean]:
    """``UpdateRule.learn`` of :func:`returns`."""
    pair, q = (transition.obs, transition.action), tables.q
    ratio = 1.0
    if not on_policy:
        ratio = target(q[transition.obs], transition.obs)[transition.action] / transition.probability
    counts = jnp.where(first_visit & (tables.weight[pair] > 0), 0.0, 1.0)
    weight = (tables.weight * ratio).at[pair].add(counts)
    discount = (tables.discount * (hypers.gamma * ratio)).at[pair].add(counts)
    bootstraps = transition.truncated & ~transition.terminated
    next_q = q[transition.next_obs]
    next_value = average(target(next_q, transition.next_obs), next_q)
    reward = transition.reward + jnp.where(bootstraps, hypers.gamma * next_value, 0.0)
    weighted_return = tables.weighted_return * ratio + discount * reward

    ended = transition.terminated | transition.truncated
    learns = ended & (weight > 0)
    total = tables.total + jnp.where(learns, weight, 0.0)
    share = hypers.step_size * weight * power_decay(1.0, jnp.where(learns, total, 1.0), hypers.step_decay)
    error = jnp.where(learns, safe_divide(weighted_return, weight) - q, 0.0)
    errors = Mean(jnp.sum(jnp.abs(error)), jnp.sum(learns, dtype=q.dtype))
    weight, weighted_return, discount = (jnp.where(ended, 0.0, x) for x in (weight, weighted_return, discount))
    q = q + jnp.minimum(share, 1.0) * error
    return ReturnTables(q=q, total=total, weight=weight, weighted_return=weighted_return, discount=discount), errors


@recorded
def monte_carlo(env: Environment, config: ControlConfig | None = None, first_visit: bool = True) -> Algorithm:
    """On-policy Monte Carlo control; with exploring starts where the config asks for them.

    Source: Sutton & Barto 2018, sections 5.3 and 5.4.
    """
    return control(env, returns(first_visit), config)


@recorded
def off_policy_monte_carlo(env: Environment, config: ControlConfig | None = None) -> Algorithm:
    """Off-policy Monte Carlo control by weighted importance sampling.

    Source: Sutton & Barto 2018, section 5.7.
    """
    return control(env, returns(first_visit=False, on_policy=False, name="off-policy-monte-carlo"), config)
