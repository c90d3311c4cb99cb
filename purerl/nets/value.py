"""Action-value networks. One convention for all: the output is ``[..., A, N]``, N numbers for each action.

N = 1 is a plain action value; otherwise the numbers are the logits of atoms or are quantiles, and
:func:`purerl.kernels.distributional.q_values` reduces them all to ``[..., A]``.
"""

import functools
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn

from purerl.nets.noisy import NoisyDense
from purerl.nets.torsos import MLP, dense, make_torso
from purerl.spaces import Space
from purerl.types import PyTree

Dueling = Literal["none", "mean", "max"]
"""Whether value and advantages are apart, and what of the advantages is 0."""


def combine_streams(value: jax.Array, advantage: jax.Array, form: str) -> jax.Array:
    """Dueling aggregation of value and advantage streams, with the advantages' constant removed.

    ``"mean"``: ``Q_a = V + A_a - mean_b A_b``, so that ``V = mean_a Q_a``, in general the value of no policy.

    ``"max"``: ``Q_a = V + A_a - max_b A_b``, so that ``V = max_a Q_a``, the value of the greedy action.

    Args:
        value: ``[..., 1, N]``.
        advantage: ``[..., A, N]``; each of the N numbers by itself.
        form: ``"mean"`` or ``"max"``, static.

    Returns:
        ``[..., A, N]``.

    Source: Wang et al. 2016, (9) and (8).
    """
    origin = jnp.mean if form == "mean" else jnp.max
    return value + (advantage - origin(advantage, axis=-2, keepdims=True))


class QHead(nn.Module):
    """Action-value head, ``[..., F] -> [..., A, N]``: hidden layers and a linear one, or two such streams (dueling)."""

    num_actions: int
    num_atoms: int = 1
    hidden_sizes: tuple[int, ...] = ()
    activation: str = "relu"
    layer_norm: bool = False
    dueling: str = "none"
    noisy: bool = False
    noise_scale: float = 0.5

    def setup(self) -> None:
        layer = functools.partial(NoisyDense, noise_scale=self.noise_scale) if self.noisy else dense
        last = layer if self.noisy else functools.partial(dense, scale=1.0)

        def hidden() -> nn.Module:
            return MLP(1, self.hidden_sizes, self.activation, self.layer_norm, layer)

        self.action_hidden, self.action = hidden(), last(self.num_actions * self.num_atoms)
        if self.dueling != "none":
            self.value_hidden, self.value = hidden(), last(self.num_atoms)

    def __call__(self, features: jax.Array) -> jax.Array:
        action = self._atoms(self.action(self.action_hidden(features)))
        if self.dueling == "none":
            return action
        return combine_streams(self._atoms(self.value(self.value_hidden(features))), action, self.dueling)

    def _atoms(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-1], -1, self.num_atoms)


class CosineEmbedding(nn.Module):
    """Cosine embedding of quantile levels tau in [0, 1], ``[..., N] -> [..., N, features]``.

    ``phi_j(tau) = relu(sum_i cos(pi i tau) w_ij + b_j)``, with i from 0 to ``num_cosines - 1``

    Source: Dabney et al. 2018b (arXiv 1806.06923), (4).
    """

    features: int
    num_cosines: int = 64

    @nn.compact
    def __call__(self, level: jax.Array) -> jax.Array:
        cosines = jnp.cos(jnp.pi * jnp.arange(self.num_cosines) * level[..., None])
        return nn.relu(dense(self.features)(cosines))


class QNetwork(nn.Module):
    """Action-value network, ``[..., *obs_shape] -> [..., A, N]``; of implicit quantiles (IQN), at levels ``[..., N]``.

    ``head(torso(obs))``, and ``head(torso(obs) * phi(tau))`` where ``num_cosines`` is not 0: the N levels share the
    torso, and the head gives one number for each.

    Raises:
        ValueError: when called without the levels it needs, or with levels it has no use for.
    """

    torso: nn.Module
    head: nn.Module
    num_cosines: int = 0

    @nn.compact
    def __call__(self, obs: jax.Array, level: jax.Array | None = None) -> jax.Array:
        if (level is not None) != (self.num_cosines > 0):
            given = "without" if level is None else "with"
            raise ValueError(
                f"QNetwork(num_cosines={self.num_cosines}) was called {given} quantile levels; pass levels [..., N] "
                "exactly where num_cosines is above 0."
            )
        features = self.torso(obs)
        if level is None:
            return self.head(features)
        embedding = CosineEmbedding(features.shape[-1], self.num_cosines)(level)
        return jnp.moveaxis(self.head(features[..., None, :] * embedding)[..., 0], -2, -1)


class RecurrentQNetwork(nn.Module):
    """Recurrent action-value network: ``carry, obs [T, B, *obs_shape], start [T, B] -> carry, [T, B, A, N]``.

    A memory (:mod:`purerl.nets.recurrent`) between torso and head. Where ``start[t]``, ``obs[t]`` is the first of an
    episode, and the memory is reset.

    Source: Kapturowski et al. 2019, section 2.3.
    """

    torso: nn.Module
    memory: nn.Module
    head: nn.Module

    def __call__(self, carry: PyTree, obs: jax.Array, start: jax.Array) -> tuple[PyTree, jax.Array]:
        carry, features = self.memory(carry, (self.torso(obs), start))
        return carry, self.head(features)

    def with_next(
        self, carry: PyTree, obs: jax.Array, start: jax.Array, next_obs: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Outputs for the observations and for their next observations, ``[T, B, A, N]`` each.

        Inside an episode the second is the first one step later. Where an episode ends, or the sequence does, its input
        is ``next_obs[t]``, which is before any reset, with the memory of that episode.
        """
        _, now, following = self.memory.with_next(carry, (self.torso(obs), start), self.torso(next_obs))
        return self.head(now), self.head(following)


def make_q_network(
    observation: Space | tuple[int, ...],
    num_actions: int,
    *,
    torso: str = "mlp",
    hidden_sizes: tuple[int, ...] = (120, 84),
    activation: str = "relu",
    layer_norm: bool = False,
    num_atoms: int = 1,
    num_cosines: int = 0,
    dueling: str = "none",
    noisy: bool = False,
    noise_scale: float = 0.5,
    memory: nn.Module | None = None,
) -> QNetwork | RecurrentQNetwork:
    """Action-value network by its parts: torso, memory, dueling, noise, atoms or quantile levels.

    The last hidden layer belongs to the head: it is what dueling has twice, noise makes noisy, and quantile levels and
    a memory come before; all earlier layers are the torso.

    Args:
        observation: space of observations, or the shape of numbers that enter as they are.
        num_actions: A.
        torso: ``"mlp"`` or ``"cnn"``.
        hidden_sizes: dense layers, after the convolution if there is one; empty for a linear network.
        activation: a name in :data:`purerl.nets.torsos.ACTIVATIONS`.
        layer_norm: whether to normalise before every activation, as learning without a target network needs.
        num_atoms: N, 1 for plain action values. A network of implicit quantiles has as many as it is given levels.
        num_cosines: size of the embedding of quantile levels, 64 in the paper; 0 for none.
        dueling: ``"none"``, ``"mean"`` or ``"max"``.
        noisy: whether the head's layers are :class:`NoisyDense`.
        noise_scale: their deviation at first, times ``sqrt(inputs)``.
        memory: one of :mod:`purerl.nets.recurrent`, or none.

    Returns:
        The network; a :class:`RecurrentQNetwork` where there is a memory.

    Raises:
        ValueError: for an unknown form of dueling, or choices that exclude each other.
    """
    if dueling not in get_args(Dueling):
        raise ValueError(f"dueling={dueling!r} must be one of {', '.join(map(repr, get_args(Dueling)))}.")
    if num_cosines and num_atoms != 1:
        raise ValueError(
            f"num_atoms={num_atoms} fixes the number of quantiles, num_cosines={num_cosines} leaves it to the caller; "
            "set num_atoms=1 or num_cosines=0."
        )
    if num_cosines and memory is not None:
        raise ValueError(f"num_cosines={num_cosines} and a memory have no network together; leave one of them out.")
    body = make_torso(torso, observation, hidden_sizes[:-1], activation, layer_norm)
    head = QHead(num_actions, num_atoms, hidden_sizes[-1:], activation, layer_norm, dueling, noisy, noise_scale)
    if memory is not None:
        return RecurrentQNetwork(body, memory, head)
    return QNetwork(body, head, num_cosines)
