"""Monte Carlo control: wait for the end of the episode, then learn from what was earned.

    algorithm = monte_carlo(purerl.envs.make("Blackjack"))
    state = algorithm.init(ControlHypers(step_size=1.0, step_decay=1.0), key)

An episode of any length is summed up as it goes, in three numbers a pair, so that nothing is stored and nothing is cut.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from purerl.algorithm import Algorithm
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers, Learner, Step, control, initial_table
from purerl.envs.base import Environment
from purerl.kernels.exploration import power_decay
from purerl.kernels.numerics import safe_divide
from purerl.mdp import average
from purerl.types import Mean


class Sums(struct.PyTreeNode):
    """What a Monte Carlo learner remembers. ``w_t`` is the ratio, target over behaviour, of the actions after t."""

    q: jax.Array  # [S, A]
    total: jax.Array  # [S, A] sum of all weights of all episodes that are over
    weight: jax.Array  # [S, A] sum of w_t over the visits in this episode
    earned: jax.Array  # [S, A] sum of w_t G_t, of what was earned so far
    discount: jax.Array  # [S, A] sum of w_t gamma^(steps since t): what one unit of reward now adds to it


def returns(first_visit: bool = True, on_policy: bool = True, name: str = "monte-carlo") -> Learner:
    """Towards the mean return of the episode's visits, weighed by how the target policy would have gone on.

    ``Q += min(1, alpha W / C^e) (sum_t w_t G_t / W - Q)``, ``W = sum_t w_t`` over the visits t of the episode, C the
    sum of all W so far, alpha and e hypers.step_size and hypers.step_decay

    On policy ``w_t = 1``. Step size 1 and decay 1 give the mean of all returns, off policy weighted importance
    sampling. The policy learned is fixed during an episode. Where the recording is cut, the target policy's mean value
    takes the place of what would have been earned.

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

    def init(hypers: ControlHypers, num_states: int, num_actions: int) -> Sums:
        q = initial_table(hypers, num_states, num_actions)
        nothing = jnp.zeros_like(q)
        return Sums(q=q, total=nothing, weight=nothing, earned=nothing, discount=nothing)

    def learn(hypers: ControlHypers, memory: Sums, step: Step, target: Callable) -> tuple[Sums, Mean]:
        pair, q = (step.obs, step.action), memory.q
        ratio = 1.0 if on_policy else target(q[step.obs], step.obs)[step.action] / step.probability
        counts = jnp.where(first_visit & (memory.weight[pair] > 0), 0.0, 1.0)
        weight = (memory.weight * ratio).at[pair].add(counts)
        discount = (memory.discount * (hypers.gamma * ratio)).at[pair].add(counts)
        cut = step.truncated & ~step.terminated
        after = average(target(q[step.next_obs], step.next_obs), q[step.next_obs])
        reward = step.reward + jnp.where(cut, hypers.gamma * after, 0.0)
        earned = memory.earned * ratio + discount * reward

        ended = step.terminated | step.truncated
        learns = ended & (weight > 0)
        total = memory.total + jnp.where(learns, weight, 0.0)
        share = hypers.step_size * weight * power_decay(1.0, jnp.where(learns, total, 1.0), hypers.step_decay)
        error = jnp.where(learns, safe_divide(earned, weight) - q, 0.0)
        errors = Mean(jnp.sum(jnp.abs(error)), jnp.sum(learns, dtype=q.dtype))
        weight, earned, discount = (jnp.where(ended, 0.0, x) for x in (weight, earned, discount))
        q = q + jnp.minimum(share, 1.0) * error
        return Sums(q=q, total=total, weight=weight, earned=earned, discount=discount), errors

    return Learner(
        name=name,
        init=init,
        values=lambda memory, state: memory.q[state],
        learn=learn,
        on_policy=on_policy,
        learns_first=True,
        settings={"first_visit": first_visit, "on_policy": on_policy},
    )


def monte_carlo(env: Environment, config: ControlConfig | None = None, first_visit: bool = True) -> Algorithm:
    """On-policy Monte Carlo control; with exploring starts where the config asks for them.

    Source: Sutton & Barto 2018, sections 5.3 and 5.4.
    """
    return control(env, returns(first_visit), config)


def off_policy_monte_carlo(env: Environment, config: ControlConfig | None = None) -> Algorithm:
    """Off-policy Monte Carlo control by weighted importance sampling.

    Source: Sutton & Barto 2018, section 5.7.
    """
    return control(env, returns(first_visit=False, on_policy=False, name="off-policy-monte-carlo"), config)
