"""PPO's loss of a minibatch, and the minibatch that a rollout becomes: values, log-probabilities, advantages."""

import math
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from purerl.kernels import moments, numerics, returns, surrogates
from purerl.kernels.distributions import categorical_by_inversion
from purerl.nets.actor_critic import ActorCritic
from purerl.types import Metrics, PyTree, Transition

if TYPE_CHECKING:
    from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, PPOState


class Batch(NamedTuple):
    """What a gradient step learns from. Leading axis: sample."""

    obs: PyTree  # [M, ...] normalised
    action: jax.Array  # [M, ...]
    old_policy: PyTree  # [M, ...] parameters of the distribution that acted; () until :func:`with_old_policy`
    log_prob: PyTree  # [M] of the action under it, likewise
    value: jax.Array  # [M]
    advantage: jax.Array  # [M]
    target: jax.Array  # [M] of the value


def keeps_policies(net: ActorCritic) -> bool:
    """Whether a rollout keeps the distributions that acted: not those of many actions, whose logits are too large."""
    return net.distribution is not categorical_by_inversion


def normalize(config: "PPOConfig", obs_moments: moments.Moments, obs: PyTree) -> PyTree:
    """Observations as the network gets them: standardised by running statistics, where the config asks for it."""
    return moments.normalize(obs_moments, obs) if config.normalize_obs else obs


def make_batch(
    net: ActorCritic,
    config: "PPOConfig",
    hypers: "PPOHypers",
    state: "PPOState",
    transitions: Transition,
    reward: jax.Array,
) -> Batch:
    """Values, log-probabilities, GAE advantages and value targets of a rollout ``[T, B]``.

    The network sees it in parts, as large as a minibatch where the steps can be so divided: then its activations take
    no more memory than a gradient step's.
    """
    obs = normalize(config, state.obs_moments, transitions.obs)

    def look(obs_and_next: tuple[PyTree, PyTree]) -> tuple[PyTree, jax.Array, jax.Array]:
        obs, next_obs = obs_and_next
        next_values = net.apply(state.params, normalize(config, state.obs_moments, next_obs), method="value")
        if keeps_policies(net):
            return *net.apply(state.params, obs), next_values
        return (), net.apply(state.params, obs, method="value"), next_values

    num_steps = transitions.reward.shape[0]
    size = num_steps // math.gcd(num_steps, config.num_minibatches)
    old_policy, values, next_values = jax.lax.map(look, (obs, transitions.next_obs), batch_size=size)
    log_prob = net.distribution.log_prob(old_policy, transitions.action) if keeps_policies(net) else ()
    advantage = returns.gae(
        reward,
        values,
        next_values,
        transitions.terminated,
        transitions.truncated,
        hypers.gamma,
        hypers.gae_lambda,
    )
    return Batch(
        obs=obs,
        action=transitions.action,
        old_policy=old_policy,
        log_prob=log_prob,
        value=values,
        advantage=advantage,
        target=advantage + values,
    )


def with_old_policy(net: ActorCritic, params: PyTree, batch: Batch) -> Batch:
    """The minibatch with the distributions that acted, worked out again where the rollout did not keep them.

    Args:
        net: the network.
        params: that acted.
        batch: ``[M, ...]``.
    """
    if keeps_policies(net):
        return batch
    old_policy = net.apply(params, batch.obs, method="policy")
    return batch._replace(old_policy=old_policy, log_prob=net.distribution.log_prob(old_policy, batch.action))


def loss(
    net: ActorCritic,
    config: "PPOConfig",
    params: PyTree,
    hypers: "PPOHypers",
    clip_epsilon: jax.Array,
    kl_coef: jax.Array,
    batch: Batch,
) -> tuple[jax.Array, Metrics]:
    """PPO's loss of a minibatch: ``value_coef * value_loss - surrogate - entropy_coef * H(pi)``, and its terms.

    Source: Schulman et al. 2017, (7) to (9).
    """
    new_policy, values = net.apply(params, batch.obs)
    advantage = numerics.standardize(batch.advantage) if config.normalize_advantage else batch.advantage
    log_ratio = net.distribution.log_prob(new_policy, batch.action) - batch.log_prob
    kl = net.distribution.kl(batch.old_policy, new_policy)
    if config.objective == "kl":
        surrogate = surrogates.ppo_kl(log_ratio, advantage, kl, kl_coef)
    else:
        surrogate = surrogates.ppo_clip(log_ratio, advantage, clip_epsilon)
        if config.objective == "both":
            surrogate = surrogate - kl_coef * kl
    if config.clip_value:
        value_loss = surrogates.clipped_value_loss(values, batch.value, batch.target, hypers.value_clip_epsilon)
    else:
        value_loss = surrogates.value_loss(values, batch.target)
    terms = {
        "surrogate": jnp.mean(surrogate),
        "value_loss": jnp.mean(value_loss),
        "entropy": jnp.mean(net.distribution.entropy(new_policy)),
        "kl": jnp.mean(kl),
        "approximate_kl": jnp.mean(surrogates.approximate_kl(log_ratio)),
        "clip_fraction": jnp.mean(surrogates.clipped(log_ratio, clip_epsilon)),
        "ratio": jnp.mean(surrogates.ratio(log_ratio)),
    }
    total = hypers.value_coef * terms["value_loss"] - terms["surrogate"] - hypers.entropy_coef * terms["entropy"]
    return total, terms
