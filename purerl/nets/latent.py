"""MuZero's model in a latent space: representation, dynamics and prediction."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from purerl.nets.torsos import MLP, dense


def unit_range(latent: jax.Array) -> jax.Array:
    """Min-max normalisation of latent states to [0, 1], as one-hot actions have: ``(s - min s) / (max s - min s)``.

    Args:
        latent: ``[..., D]``, of each of which the smallest entry becomes 0 and the largest 1.

    Returns:
        ``[..., D]``; zeros where all entries are alike.

    Source: Schrittwieser et al. 2020 (arXiv 1911.08265), appendix G.
    """
    lowest, highest = (extreme(latent, axis=-1, keepdims=True) for extreme in (jnp.min, jnp.max))
    return (latent - lowest) / jnp.maximum(highest - lowest, 1e-5)


class LatentModel(nn.Module):
    """MuZero's three functions: representation h, dynamics g, prediction f, on latent states ``[..., D]`` in [0, 1].

    Rewards and values are distributions, logits of N atoms. Their layers and the policy's are initialised with zeros,
    so that all are uniform at first. The dynamics learn the change by an action: ``s' = unit_range(s + g(s, a))``.

    Source: Schrittwieser et al. 2020 (arXiv 1911.08265), section 3 and appendices F, G; the zeros at the start are
    those of Ye et al. 2021 (arXiv 2111.00210).
    """

    torso: nn.Module
    num_actions: int
    num_atoms: int
    latent_size: int
    hidden_sizes: tuple[int, ...]
    activation: str
    layer_norm: bool = False

    def setup(self) -> None:
        def hidden() -> nn.Module:
            return MLP(1, self.hidden_sizes, self.activation, self.layer_norm)

        def head(size: int) -> nn.Module:
            return nn.Dense(size, kernel_init=nn.initializers.zeros)

        self.meaning = dense(self.latent_size, scale=1.0)
        self.dynamics, self.change, self.reward = hidden(), dense(self.latent_size, scale=1.0), head(self.num_atoms)
        self.prediction, self.policy, self.value = hidden(), head(self.num_actions), head(self.num_atoms)

    def represent(self, obs: jax.Array) -> jax.Array:
        """h: ``[..., *obs_shape]`` to latent states ``[..., D]``."""
        return unit_range(self.meaning(self.torso(obs)))

    def follow(self, latent: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
        """g: latent states and actions ``[...]`` int to ``(reward [..., N], latent [..., D])``."""
        one_hot = jax.nn.one_hot(action, self.num_actions, dtype=latent.dtype)
        features = self.dynamics(jnp.concatenate([latent, one_hot], axis=-1))
        return self.reward(features), unit_range(latent + self.change(features))

    def predict(self, latent: jax.Array) -> tuple[jax.Array, jax.Array]:
        """f: latent states to ``(policy [..., A], value [..., N])``."""
        features = self.prediction(latent)
        return self.policy(features), self.value(features)

    def __call__(self, obs: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """All three, one step: the reward of an action, and policy and value after it."""
        reward, latent = self.follow(self.represent(obs), action)
        return reward, *self.predict(latent)
