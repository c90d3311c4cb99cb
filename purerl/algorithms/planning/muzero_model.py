"""MuZero's learnt model: its network, its numbers as categorical distributions, and its unrolling along actions."""

import jax
import jax.numpy as jnp
from flax import struct

from purerl.algorithms.planning.muzero_config import MuZeroConfig
from purerl.envs.base import Environment
from purerl.envs.games import Game
from purerl.envs.learnable import num_actions
from purerl.kernels import distributional, targets
from purerl.nets.latent import LatentModel
from purerl.nets.torsos import make_torso
from purerl.types import PyTree, Scalar


class Unrolled(struct.PyTreeNode):
    """Predictions of the model along K actions, as logits."""

    reward: jax.Array  # [K, M, N]
    policy: jax.Array  # [K + 1, M, A]
    value: jax.Array  # [K + 1, M, N]


def network(env: Environment | Game, config: MuZeroConfig) -> LatentModel:
    """Model that a config means: representation, dynamics and prediction.

    Args:
        env: whose observations and actions it is for.
        config: sizes and choices.

    Raises:
        ValueError: if actions are not discrete, or the observations do not suit the network.
    """
    number = num_actions(env, "MuZero", games=True)
    return LatentModel(
        torso=make_torso(
            config.torso, env.observation_space, config.hidden_sizes, config.activation, config.layer_norm
        ),
        num_actions=number,
        num_atoms=2 * config.support_size + 1,
        latent_size=config.latent_size,
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        layer_norm=config.layer_norm,
    )


def value_support(config: MuZeroConfig) -> jax.Array:
    """Atoms of the distributions of rewards and values, on the scale of h: integers ``[2 support_size + 1]``."""
    # Evaluated now, also while tracing: a constant of the program has the same rounding wherever it is used.
    with jax.ensure_compile_time_eval():
        return distributional.support(-config.support_size, config.support_size, 2 * config.support_size + 1)


def to_distribution(x: jax.Array, atoms: jax.Array, epsilon: Scalar) -> jax.Array:
    """Two-hot categorical distribution of a number: ``h(x)``, shared between the two atoms that it lies between.

    ``p_i = max(0, 1 - |h(x) - z_i|)`` of atoms one apart

    Args:
        x: ``[...]``, a reward or a value.
        atoms: ``[N]``, on the scale of h; what lies beyond them becomes the outermost.
        epsilon: of :func:`purerl.kernels.targets.rescale`.

    Returns:
        ``[..., N]`` probabilities. :func:`expected_value` is the inverse, of logits.

    Source: Schrittwieser et al. 2020, appendix F.
    """
    scaled = targets.rescale(x, epsilon)[..., None]
    return distributional.project(scaled, jnp.ones_like(scaled), atoms)


def is_clipped(x: jax.Array, atoms: jax.Array, epsilon: Scalar) -> jax.Array:
    """Whether :func:`to_distribution` of the same arguments loses something, 0 or 1: ``h(x)`` is beyond the atoms."""
    scaled = targets.rescale(x, epsilon)[..., None]
    return distributional.clipped_mass(scaled, jnp.ones_like(scaled), atoms)


def expected_value(logits: jax.Array, atoms: jax.Array, epsilon: Scalar) -> jax.Array:
    """Number that a categorical distribution stands for: ``h^-1(sum_i softmax(logits)_i z_i)``.

    Args:
        logits: ``[..., N]``.
        atoms: ``[N]``, on the scale of h.
        epsilon: of :func:`purerl.kernels.targets.rescale`.

    Returns:
        ``[...]``.

    Source: Schrittwieser et al. 2020, appendix F.
    """
    return targets.rescale_inverse(distributional.q_values(logits, atoms), epsilon)


def unroll(net: LatentModel, params: PyTree, obs: jax.Array, action: jax.Array) -> Unrolled:
    """Predictions of the model along given actions.

    Gradients that come back from later steps are halved where they enter the dynamics, so that those of a step do not
    grow with the number of steps that follow it.

    Args:
        net: the model.
        params: its parameters.
        obs: ``[M, ...]``.
        action: ``[K, M]``.

    Source: Schrittwieser et al. 2020, appendix G.
    """

    def follow(latent: jax.Array, action: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        reward, after = net.apply(params, half_gradient(latent), action, method="follow")
        return after, (reward, after)

    start = net.apply(params, obs, method="represent")
    _, (reward, after) = jax.lax.scan(follow, start, action)
    policy, value = net.apply(params, jnp.concatenate([start[None], after]), method="predict")
    return Unrolled(reward=reward, policy=policy, value=value)


def half_gradient(x: jax.Array) -> jax.Array:
    """Identity whose gradient is halved."""
    return (x + jax.lax.stop_gradient(x)) / 2
