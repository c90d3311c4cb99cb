"""Networks of learners off policy: actors, and critics that look at an action too."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from purerl.nets.torsos import MLP, dense, make_torso
from purerl.spaces import Space


class DroppedDense(nn.Module):
    """A linear layer whose outputs are 0 with a probability, and else larger, wherever a key ``dropout`` is given.

    Source: Srivastava et al. 2014; in critics, Hiraoka et al. 2022 (arXiv 2110.02034), figure 2.
    """

    features: int
    rate: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dropout(self.rate, deterministic=not self.has_rng("dropout"))(dense(self.features)(x))


class Actor(nn.Module):
    """Parameters of a policy, ``[..., *obs_shape] -> [..., num_outputs]``, close to 0 at first."""

    observation: Space
    num_outputs: int
    torso: str = "mlp"
    hidden_sizes: tuple[int, ...] = (256, 256)
    activation: str = "relu"

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        features = make_torso(self.torso, self.observation, self.hidden_sizes, self.activation)(obs)
        return dense(self.num_outputs, scale=0.01)(features)


class ActionCritic(nn.Module):
    """Value of an action, or numbers of its distribution: ``[..., *obs_shape], [..., A] -> [..., num_atoms]``.

    The action enters beside the observation, or beside what a convolution made of it. ``layer_norm`` normalises what
    enters each activation, ``dropout`` drops a share of it.
    """

    observation: Space
    num_atoms: int = 1
    torso: str = "mlp"
    hidden_sizes: tuple[int, ...] = (256, 256)
    activation: str = "relu"
    layer_norm: bool = False
    dropout: float = 0.0

    @nn.compact
    def __call__(self, obs: jax.Array, action: jax.Array) -> jax.Array:
        seen = make_torso(self.torso, self.observation, (), self.activation)(obs)
        layer = functools.partial(DroppedDense, rate=self.dropout) if self.dropout else dense
        body = MLP(1, self.hidden_sizes, self.activation, self.layer_norm, layer)
        return dense(self.num_atoms, scale=1.0)(body(jnp.concatenate([seen, action], axis=-1)))
