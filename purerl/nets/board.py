"""Policy-value networks of board games, as in AlphaZero: a residual tower or an MLP."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from purerl.nets.torsos import MLP, dense


class Conv3x3(nn.Module):
    """3x3 convolution with zero padding, ``[..., H, W, C] -> [..., H, W, features]``.

    Nine shifted copies and one matrix product, which under ``vmap`` over parameters (a sweep over seeds) stays a
    batched matrix product, where a convolution would become a grouped one, many times slower on a CPU.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        height, width = x.shape[-3:-1]
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [(1, 1), (1, 1), (0, 0)])
        shifts = [x[..., i : i + height, j : j + width, :] for i in range(3) for j in range(3)]
        return dense(self.features)(jnp.concatenate(shifts, axis=-1))


class ResidualTower(nn.Module):
    """Residual tower with features for the heads, ``[..., H, W, C] -> [..., H * W * 2 + num_channels]``.

    ``x <- x + conv(relu(norm(conv(relu(norm(x))))))`` a block; the heads see every cell through two channels, and the
    mean over the board of all of them.

    Source: He et al. 2016 (pre-activation); Silver et al. 2017, Methods, "Neural network architecture".
    """

    num_blocks: int
    num_channels: int

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        x = Conv3x3(self.num_channels)(obs.astype(jnp.float32))
        for _ in range(self.num_blocks):
            y = Conv3x3(self.num_channels)(nn.relu(nn.LayerNorm()(x)))
            x += Conv3x3(self.num_channels)(nn.relu(nn.LayerNorm()(y)))
        x = nn.relu(nn.LayerNorm()(x))
        cells = nn.relu(dense(2)(x))
        return jnp.concatenate([cells.reshape(*cells.shape[:-3], -1), jnp.mean(x, axis=(-3, -2))], axis=-1)


class PolicyValue(nn.Module):
    """Policy-value network, ``obs [..., *obs_shape] -> (logits [..., A], value [...])``, the value between -1 and 1."""

    num_actions: int
    torso: nn.Module
    hidden_size: int

    @nn.compact
    def __call__(self, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        features = self.torso(obs)
        logits = dense(self.num_actions, 0.01)(features)
        value = dense(1, 0.01)(nn.relu(dense(self.hidden_size)(features)))
        return logits, jnp.tanh(value[..., 0])


def make_policy_value(
    kind: str, obs_shape: tuple[int, ...], num_actions: int, num_blocks: int, num_channels: int
) -> nn.Module:
    """Policy-value network of a kind: ``"residual"`` over boards ``[H, W, C]``, or ``"mlp"`` over any observation.

    Raises:
        ValueError: for residual blocks over anything but a board.
    """
    if kind == "mlp":
        torso = MLP(len(obs_shape), (num_channels,) * num_blocks, "relu", layer_norm=True)
        return PolicyValue(num_actions, torso, num_channels)
    if len(obs_shape) != 3:
        raise ValueError(
            f'torso="residual" needs observations [height, width, channels], but they are {list(obs_shape)}. '
            'Use torso="mlp".'
        )
    return PolicyValue(num_actions, ResidualTower(num_blocks, num_channels), num_channels)
