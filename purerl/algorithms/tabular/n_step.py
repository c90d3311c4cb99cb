"""n-step update rule of tabular control: SARSA, Expected SARSA, Q-learning, tree backup and Q(sigma) over n steps.

The algorithms that are made of it are in :mod:`.sarsa`, :mod:`.expected_sarsa`, :mod:`.q_learning`,
:mod:`.tree_backup` and :mod:`.q_sigma`.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import struct

from purerl.algorithms.tabular.control import ControlHypers
from purerl.algorithms.tabular.update_rule import (
    ControlTransition,
    UpdateRule,
    initial_table,
    no_transition,
    values_of_table,
)
from purerl.kernels import backups
from purerl.mdp import average
from purerl.types import Mean, PyTree

Backup = Literal["sampled", "expected", "mixed"]


class NStepTables(struct.PyTreeNode):
    """The action values and the last n steps of this episode."""

    q: jax.Array  # [S, A]
    steps: ControlTransition  # leaves [n], the oldest first
    filled: jax.Array  # [n] bool, from the newest back to the episode's first


def n_step(n: int = 1, backup: Backup = "sampled", on_policy: bool = True, name: str = "n-step") -> UpdateRule:
    """n-step update rule: a pair is updated n steps after it was visited, or as soon as the episode ends.

    ``Q(s_t, a_t) += alpha w_t (G_t - Q(s_t, a_t))``

    ``G_t`` is :func:`purerl.kernels.backups.q_sigma_returns` of the n steps, with sigma 1 where every action that was
    taken counts, 0 where all are averaged over, hypers.sigma where they are mixed. ``w_t = 1``, but where actions are
    sampled off policy their ratios, :func:`purerl.kernels.backups.sampling_ratios`. When an episode ends, all the pairs
    that wait get their update, the oldest first, their targets from the table as it was at the end.

    Args:
        n: steps, at least 1.
        backup: sigma: "sampled" for 1, "expected" for 0, "mixed" for hypers.sigma.
        on_policy: learn the policy that acts, or else the epsilon-greedy one with hypers.target_epsilon.
        name: of the algorithm.

    Raises:
        ValueError: if there is no step, no such backup, or it is mixed off policy: the ratios that a sampled action
            needs would weigh the averages, too, and what is learned would depend on who acts.

    Source: Sutton & Barto 2018, sections 6.4 to 6.6 and 7.2 to 7.6; De Asis et al. 2018 (arXiv 1703.01327).
    """
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"n_step(n={n}): it must be at least 1; n=1 learns from every step at once.")
    if backup not in get_args(Backup):
        raise ValueError(f"n_step(backup={backup!r}): choose one of {', '.join(get_args(Backup))}.")
    if backup == "mixed" and not on_policy:
        raise ValueError('n_step(backup="mixed", on_policy=False) has a bias: use "sampled" or "expected" off policy.')
    return UpdateRule(
        name=name,
        init=partial(init_n_step, n),
        values=values_of_table,
        learn=partial(n_step_update, backup, on_policy),
        on_policy=on_policy,
        learns_first=n == 1 and backup == "expected",  # nothing depends on which action comes next
        settings={"n": n, "backup": backup, "on_policy": on_policy},
    )


def init_n_step(n: int, hypers: ControlHypers, num_states: int, num_actions: int) -> NStepTables:
    """Initial values, and no step yet."""
    return NStepTables(
        q=initial_table(hypers.initial_value, num_states, num_actions),
        steps=jax.tree.map(lambda x: jnp.broadcast_to(x, (n, *x.shape)), no_transition()),
        filled=jnp.zeros(n, bool),
    )


def n_step_update(
    backup: Backup,
    on_policy: bool,
    hypers: ControlHypers,
    tables: NStepTables,
    transition: ControlTransition,
    target: Callable,
) -> tuple[NStepTables, Mean]:
    """``UpdateRule.learn`` of :func:`n_step`."""
    q, n = tables.q, len(tables.filled)
    steps, filled = _push(tables.steps, transition), _push(tables.filled, jnp.array(True))
    ended = transition.terminated | transition.truncated

    policy = target(q[steps.next_obs], steps.next_obs)  # [n, A]
    goal, probability = n_step_targets(backup, hypers, q, policy, steps)
    error = goal - q[steps.obs, steps.action]
    size = steps.step_size
    if not on_policy and backup == "sampled":
        ratio = probability / steps.next_probability
        size = size * backups.sampling_ratios(ratio, steps.terminated | steps.truncated)
    due = filled & (ended | (jnp.arange(n) == 0))
    size = jnp.where(due, size, 0.0)
    q = q.at[steps.obs, steps.action].add(sequential_step_sizes(steps, size) * error)
    errors = Mean(jnp.sum(jnp.where(due, jnp.abs(error), 0.0)), jnp.sum(due, dtype=q.dtype))
    return NStepTables(q=q, steps=steps, filled=filled & ~ended), errors


def n_step_targets(
    backup: Backup, hypers: ControlHypers, q: jax.Array, policy: jax.Array, steps: ControlTransition
) -> tuple[jax.Array, jax.Array]:
    """Targets ``G_t`` of n successive steps, ``[n]``, and the target policy's probability of each next action, ``[n]``.

    Args:
        backup: sigma.
        hypers: gamma, and sigma where backups are mixed.
        q: ``[S, A]``.
        policy: ``[n, A]``, the target policy in the states that the steps led to.
        steps: leaves ``[n]``.
    """
    sigma = {"sampled": 1.0, "expected": 0.0, "mixed": hypers.sigma}[backup]
    next_q = q[steps.next_obs]  # [n, A]
    probability, next_taken = (_at(table, steps.next_action) for table in (policy, next_q))
    goal = backups.q_sigma_returns(
        steps.reward,
        next_taken,
        average(policy, next_q),
        probability,
        steps.terminated,
        steps.truncated,
        hypers.gamma,
        sigma,
    )
    return goal, probability


def sequential_step_sizes(steps: ControlTransition, size: jax.Array) -> jax.Array:
    """Step sizes ``[n]`` that, all added at once, move a pair that occurs twice as one step after the other would.

    ``size_i prod_{j > i, same pair} (1 - size_j)``: the later steps shrink what the earlier ones have done.
    """
    if len(size) == 1:
        return size
    same = (steps.obs[:, None] == steps.obs) & (steps.action[:, None] == steps.action)
    return size * jnp.prod(jnp.where(jnp.triu(same, 1), 1 - size, 1.0), axis=1)


def _push(steps: PyTree, newest: PyTree) -> PyTree:
    """The last n steps with the newest and without the oldest, ``[n]``."""
    return jax.tree.map(lambda old, new: jnp.append(old[1:], new), steps, newest)


def _at(table: jax.Array, action: jax.Array) -> jax.Array:
    """``table[i, action_i]``, ``[n]``."""
    return jnp.take_along_axis(table, action[:, None], axis=1)[:, 0]
