"""Torsos: from an observation to a feature vector."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from purerl.observation import as_it_is, encoding, parts
from purerl.spaces import Space
from purerl.types import PyTree

Torso = Literal["mlp", "cnn"]
Activation = Literal["tanh", "relu", "silu", "gelu"]
ACTIVATIONS: dict[str, Callable] = {"tanh": nn.tanh, "relu": nn.relu, "silu": nn.silu, "gelu": nn.gelu}


def dense(features: int, scale: float = 2**0.5) -> nn.Dense:
    """A linear layer with orthogonal weights of the given gain and zero bias (Saxe et al. 2014)."""
    return nn.Dense(features, kernel_init=nn.initializers.orthogonal(scale))


class MLP(nn.Module):
    """``[..., *obs_shape] -> [..., hidden_sizes[-1]]``: flatten, then dense layers with an activation each.

    ``layer_norm`` normalises what enters each activation (Ba et al. 2016); ``layer`` makes a layer of a given size;
    ``encode`` brings observations to ``obs_ndim`` axes of numbers, see :mod:`purerl.observation`.
    """

    obs_ndim: int
    hidden_sizes: tuple[int, ...]
    activation: str
    layer_norm: bool = False
    layer: Callable[[int], nn.Module] = dense
    encode: Callable[[jax.Array], jax.Array] = as_it_is

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        obs = self.encode(obs)
        x = obs.reshape(*obs.shape[: obs.ndim - self.obs_ndim], -1).astype(jnp.float32)
        for size in self.hidden_sizes:
            x = ACTIVATIONS[self.activation](_maybe_norm(self.layer_norm, self.layer(size)(x)))
        return x


class SmallCNN(nn.Module):
    """``[..., H, W, C] -> [..., hidden_sizes[-1]]``: one 3x3 convolution, as in the MinAtar paper, then an MLP.

    The convolution is written as nine shifted copies and one matrix product. Under ``vmap`` over parameters (a
    sweep over seeds) that stays a batched matrix product, where a convolution would become a grouped one,
    which is many times slower on a CPU.

    Source: Young & Tian 2019 (arXiv 1903.03176), section 4: 16 filters of 3x3, then a dense layer of 128.
    """

    num_filters: int
    hidden_sizes: tuple[int, ...]
    activation: str
    layer_norm: bool = False
    encode: Callable[[jax.Array], jax.Array] = as_it_is

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        x = _convolution(self, self.encode(obs))
        return MLP(3, self.hidden_sizes, self.activation, self.layer_norm)(x)


class PartsCNN(nn.Module):
    """Observations of several arrays to ``[..., hidden_sizes[-1]]``: a convolution of each image, then one MLP of all.

    ``parts`` are what :func:`purerl.observation.parts` says; images are those of at least 3x3.
    """

    num_filters: int
    hidden_sizes: tuple[int, ...]
    activation: str
    layer_norm: bool = False
    parts: tuple[tuple[tuple[int, ...], Callable], ...] = ()

    @nn.compact
    def __call__(self, obs: PyTree) -> jax.Array:
        vectors = []
        for shape, encode in self.parts:
            x = encode(obs)
            x = _convolution(self, x) if _is_image(shape) else x.astype(jnp.float32)
            vectors.append(x.reshape(*x.shape[: x.ndim - len(shape)], -1))
        return MLP(1, self.hidden_sizes, self.activation, self.layer_norm)(jnp.concatenate(vectors, axis=-1))


def _convolution(module: SmallCNN | PartsCNN, image: jax.Array) -> jax.Array:
    """The 3x3 convolution of a module and its activation, ``[..., H, W, C] -> [..., H - 2, W - 2, num_filters]``."""
    x = image.astype(jnp.float32)
    height, width = x.shape[-3] - 2, x.shape[-2] - 2
    shifts = [x[..., i : i + height, j : j + width, :] for i in range(3) for j in range(3)]
    x = dense(module.num_filters)(jnp.concatenate(shifts, axis=-1))
    return ACTIVATIONS[module.activation](_maybe_norm(module.layer_norm, x))


def _is_image(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and min(shape[:2]) >= 3


def _maybe_norm(layer_norm: bool, x: jax.Array) -> jax.Array:
    """``x`` with mean 0 and deviation 1 over its features (of an image: at each place), then a learnt affine map."""
    return nn.LayerNorm()(x) if layer_norm else x


def make_torso(
    kind: str,
    observation: Space | tuple[int, ...],
    hidden_sizes: tuple[int, ...],
    activation: str,
    layer_norm: bool = False,
) -> nn.Module:
    """The torso of a given kind, ``"mlp"`` or ``"cnn"``, for observations of a space.

    Args:
        kind: of torso.
        observation: their space, which says how they are encoded; or the shape of numbers that enter as they are.
        hidden_sizes: of the dense layers.
        activation: a name in :data:`ACTIVATIONS`.
        layer_norm: whether to normalise what enters each activation.

    Raises:
        ValueError: for a convolution where there is no image of at least 3x3, or a space that networks do not see.
    """
    obs_shape, encode = (observation, as_it_is) if isinstance(observation, tuple) else encoding(observation)
    if kind == "mlp":
        return MLP(len(obs_shape), hidden_sizes, activation, layer_norm, encode=encode)
    known = () if isinstance(observation, tuple) else tuple(parts(observation))
    if len(known) > 1 and any(_is_image(shape) for shape, _ in known):
        return PartsCNN(16, hidden_sizes, activation, layer_norm, known)
    if not _is_image(obs_shape):
        raise ValueError(
            f'torso="cnn" needs observations [height, width, channels] of at least 3x3, but they are '
            f'{list(obs_shape)}. Use torso="mlp".'
        )
    return SmallCNN(16, hidden_sizes, activation, layer_norm, encode)
