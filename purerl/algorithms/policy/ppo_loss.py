"""PPO's loss of a minibatch."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from purerl.algorithms.policy import memory
from purerl.algorithms.policy.collect import Batch
from purerl.algorithms.policy.memory import Network
from purerl.kernels import numerics, surrogates
from purerl.types import Metrics, PyTree

if TYPE_CHECKING:
    from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers


def loss(
    net: Network,
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
    new_policy, values = memory.read(net, params, batch)
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
