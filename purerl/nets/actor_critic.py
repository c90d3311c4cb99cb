"""Actor-critic networks: with separate torsos or a shared one, and with a memory."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from purerl.kernels.distributions import (
    Distribution,
    Gaussian,
    categorical,
    categorical_by_inversion,
    gaussian,
    mask,
    multi_categorical,
)
from purerl.nets.torsos import dense, make_torso
from purerl.observation import legal
from purerl.spaces import Discrete, MultiDiscrete, Space, entries
from purerl.types import PyTree

MANY_ACTIONS = 1024
"""Of more discrete actions than these, a draw takes one number, and a rollout keeps no array with an axis of them."""


class ActorCritic(nn.Module):
    """Actor-critic network: ``policy(obs)`` are parameters of an action distribution, ``value(obs)`` is a scalar.

    With ``action_values`` the critic has one for each discrete action, and the value is their mean over the policy.

    Discrete actions: logits ``[..., A]``, or ``[..., K, A]`` of K integers, -inf where nothing is to choose: beyond the
    choices of an integer, and where an observation says that an action is not legal. Continuous actions: a
    :class:`Gaussian` whose standard deviation does not depend on the observation. Orthogonal weights: gain sqrt(2) in
    the torso, 0.01 in the policy's last layer (so that the first policy is close to uniform), 1 in the value's.

    Source: Andrychowicz et al. 2021 (arXiv 2006.05990), sections 3.2 and B.7, on these choices.
    """

    action_space: Space
    observation: Space | tuple[int, ...]  # space of observations, or shape of numbers that enter as they are
    torso: str = "mlp"
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    shared_torso: bool = False
    action_values: bool = False

    @property
    def distribution(self) -> Distribution:
        """Of actions, whose parameters the policy gives."""
        if isinstance(self.action_space, MultiDiscrete):
            return multi_categorical
        if not isinstance(self.action_space, Discrete):
            return gaussian
        return categorical if self.action_space.n <= MANY_ACTIONS else categorical_by_inversion

    def setup(self) -> None:
        def torso() -> nn.Module:
            return make_torso(self.torso, self.observation, self.hidden_sizes, self.activation)

        self.policy_torso = torso()
        self.value_torso = self.policy_torso if self.shared_torso else torso()
        num_values = self.action_space.n if self.action_values and isinstance(self.action_space, Discrete) else 1
        self.value_head = dense(num_values, scale=1.0)
        if isinstance(self.action_space, Discrete | MultiDiscrete):
            self.policy_head = dense(entries(self.action_space).size, scale=0.01)
        else:
            (num_dims,) = self.action_space.shape
            self.policy_head = dense(num_dims, scale=0.01)
            self.log_std = self.param("log_std", nn.initializers.zeros, (num_dims,))

    def policy(self, obs: PyTree) -> jax.Array | Gaussian:
        """Actor: ``[..., *obs_shape]`` to the distribution's parameters, ``[..., A]``."""
        out, allowed = self.policy_head(self.policy_torso(obs)), legal(obs)
        if isinstance(self.action_space, MultiDiscrete):
            exists = entries(self.action_space)
            out = mask(out.reshape(*out.shape[:-1], *exists.shape), exists)
        if isinstance(self.action_space, Discrete | MultiDiscrete):
            return out if allowed is None else mask(out, allowed)
        return Gaussian(mean=out, log_std=jnp.broadcast_to(self.log_std, out.shape))

    def value(self, obs: PyTree) -> jax.Array:
        """Critic: ``[..., *obs_shape]`` to ``[...]``; with action values ``sum_a pi(a) Q(a)``."""
        if self.action_values:
            logits = self.policy(obs)
            assert not isinstance(logits, Gaussian)
            return jnp.sum(jax.nn.softmax(logits) * self.action_value(obs), axis=-1)
        return self.action_value(obs).squeeze(-1)

    def action_value(self, obs: PyTree) -> jax.Array:
        """Critic of actions: ``[..., *obs_shape]`` to ``[..., A]``; without action values to ``[..., 1]``."""
        return self.value_head(self.value_torso(obs))

    def __call__(self, obs: PyTree) -> tuple[jax.Array | Gaussian, jax.Array]:
        """Both; a shared torso is evaluated once."""
        return self.policy(obs), self.value(obs)


class RecurrentActorCritic(nn.Module):
    """Actor-critic network with a memory: ``heads(memory(torso(obs)))`` over ``obs [T, B, *obs_shape]``.

    Actor and critic share torso and memory (:mod:`purerl.nets.recurrent`). Where ``start[t]``, ``obs[t]`` is the first
    of an episode, and the memory is reset.
    """

    torso: nn.Module
    memory: nn.Module
    heads: ActorCritic

    @property
    def distribution(self) -> Distribution:
        """Of actions, whose parameters the policy gives."""
        return self.heads.distribution

    def policy(self, carry: PyTree, obs: jax.Array, start: jax.Array) -> tuple[PyTree, jax.Array | Gaussian]:
        """Actor: the carry afterwards, and the distribution's parameters, ``[T, B, A]``."""
        carry, features = self.memory(carry, (self.torso(obs), start))
        return carry, self.heads.policy(features)

    def __call__(self, carry: PyTree, obs: jax.Array, start: jax.Array) -> tuple[jax.Array | Gaussian, jax.Array]:
        """Parameters ``[T, B, A]`` and values ``[T, B]``."""
        return self.heads(self.memory(carry, (self.torso(obs), start))[1])

    def with_next(
        self, carry: PyTree, obs: jax.Array, start: jax.Array, next_obs: jax.Array
    ) -> tuple[jax.Array | Gaussian, jax.Array, jax.Array]:
        """The same, and values ``[T, B]`` of ``next_obs``, which is before any reset, with the memory so far."""
        _, now, following = self.memory.with_next(carry, (self.torso(obs), start), self.torso(next_obs))
        return *self.heads(now), self.heads.value(following)
