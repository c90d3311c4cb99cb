"""MuZero's training targets from sequences of steps, and its losses (Schrittwieser et al. 2020)."""

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl.algorithms.planning.muzero_model import Unrolled, is_clipped, to_distribution
from purerl.kernels import returns
from purerl.kernels.numerics import masked_mean
from purerl.types import Metrics, Scalar


class SearchedStep(struct.PyTreeNode):
    """A step with the result of its search, an item of the replay; sampled, a batch of sequences ``[L, M]``."""

    obs: jax.Array  # [..., *obs_shape]
    action: jax.Array  # [...] int
    reward: jax.Array  # [...]
    terminated: jax.Array  # [...] bool
    truncated: jax.Array  # [...] bool
    policy: jax.Array  # [..., A] made by the search
    value: jax.Array  # [...] found by the search
    next_value: jax.Array  # [...] the network's, of the observation after the step, before any reset
    legal: jax.Array | None = None  # [..., A] bool, the moves that were legal; None where all actions always are


class TrainingTarget(struct.PyTreeNode):
    """What the model is to predict when it is unrolled from the first observation of each sequence."""

    obs: jax.Array  # [M, *obs_shape]
    action: jax.Array  # [K, M] int
    reward: jax.Array  # [K, M] of those actions
    policy: jax.Array  # [K + 1, M, A]
    value: jax.Array  # [K + 1, M]
    alive: jax.Array  # [K + 1, M] bool, whether the episode goes on, so that there is a decision to make
    known: jax.Array  # [K + 1, M] bool, whether it goes on or has terminated, so that its value is known


def training_targets(steps: SearchedStep, any_action: jax.Array, gamma: Scalar, n: int) -> TrainingTarget:
    """Training targets of K unrolled actions: n-step returns that bootstrap from the values of the searches.

    ``z_t = sum_{k<m} gamma^k r_{t+k} + gamma^m V_{t+m}``, where ``m`` is n or the number of steps to the end of the
    episode, and ``V`` the value that the search found; 0 after termination, and after truncation the network's value.
    After termination rewards and values are 0, whatever the action.

    Args:
        steps: sequences ``[L, M]``, with ``L = K + n + 1``.
        any_action: ``[K, M]``, for steps after the end of the episode.
        gamma: discount in [-1, 1], negative where players take turns.
        n: static.

    Returns:
        Targets of M sequences.

    Source: Schrittwieser et al. 2020, section 3 and appendices F, G.
    """
    num_unrolled = any_action.shape[0]
    ahead = jax.tree.map(lambda x: x[:-1], steps)
    ends = ahead.terminated | ahead.truncated
    next_value = jnp.where(ends, ahead.next_value, steps.value[1:])
    value = returns.n_step_returns(ahead.reward, next_value, ahead.terminated, ahead.truncated, gamma, n)

    def ever(flag: jax.Array) -> jax.Array:
        """Whether it was set at any of the steps before, ``[K, M] -> [K + 1, M]``."""
        return jnp.concatenate([jnp.zeros_like(flag[:1]), jax.lax.cummax(flag.astype(jnp.int32)).astype(bool)])

    alive = ~ever(ends[:num_unrolled])
    over = ever(alive[:-1] & ahead.terminated[:num_unrolled])
    before, states = slice(num_unrolled), slice(num_unrolled + 1)
    return TrainingTarget(
        obs=steps.obs[0],
        action=jnp.where(alive[:-1], steps.action[before], any_action),
        reward=jnp.where(alive[:-1], steps.reward[before], 0),
        policy=steps.policy[states],
        value=jnp.where(alive, value[states], 0),
        alive=alive,
        known=alive | over,
    )


def losses(unrolled: Unrolled, target: TrainingTarget, weight: jax.Array, atoms: jax.Array, epsilon: Scalar) -> Metrics:
    """Cross-entropies of policy, value and reward: those of the first state in full, those of K steps as their mean.

    And ``clipped_targets``, the share of known values and rewards that lie beyond the support.

    Args:
        unrolled: ``[K + 1, M]``.
        target: ``[K + 1, M]``.
        weight: ``[M]``, of each sequence.
        atoms: ``[N]``, on the scale of h.
        epsilon: of :func:`purerl.kernels.targets.rescale`.

    Returns:
        Scalars, means over the batch.

    Source: Schrittwieser et al. 2020, (1) and appendix G.
    """
    num_unrolled = target.action.shape[0]

    def total(logits: jax.Array, target: jax.Array, mask: jax.Array, share: jax.Array) -> jax.Array:
        terms = jnp.where(mask, optax.softmax_cross_entropy(logits, target), 0)
        return jnp.mean(weight * (share @ terms))

    steps = jnp.full(num_unrolled, 1 / num_unrolled)
    states = jnp.concatenate([jnp.ones(1), steps])
    value, reward = to_distribution(target.value, atoms, epsilon), to_distribution(target.reward, atoms, epsilon)
    numbers = jnp.concatenate([target.value, target.reward])
    known = jnp.concatenate([target.known, target.known[:-1]])
    return {
        "policy_loss": total(unrolled.policy, target.policy, target.alive, states),
        "value_loss": total(unrolled.value, value, target.known, states),
        "reward_loss": total(unrolled.reward, reward, target.known[:-1], steps),
        "clipped_targets": masked_mean(is_clipped(numbers, atoms, epsilon), known),
    }
