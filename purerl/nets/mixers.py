"""From the action values of the agents of a team to the value of what they do together: VDN's sum, QMIX's mixer.

Both grow with each agent's value, so that the action that is best for each is best for all (individual-global-max):
the team's greedy action needs nobody who sees everything. Axis letter I: agents.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from purerl.nets.torsos import dense
from purerl.nets.value import QNetwork

Mixer = Literal["none", "sum", "monotone"]
"""How the values of a team's agents become one; none for a lone agent."""


class MonotoneMixer(nn.Module):
    """QMIX's mixer, ``value [..., I], view [..., F] -> [...]``: a network of positive weights, made by others.

    ``Q = |w_2(s)| elu(|W_1(s)| q + b_1(s)) + v(s)``, so that ``dQ / dq_i >= 0``

    Source: Rashid et al. 2018 (arXiv 1803.11485), section 4.
    """

    size: int  # of its hidden layer

    @nn.compact
    def __call__(self, value: jax.Array, view: jax.Array) -> jax.Array:
        num_agents = value.shape[-1]
        first = jnp.abs(dense(num_agents * self.size, scale=1.0)(view)).reshape(*value.shape, self.size)
        hidden = nn.elu(jnp.sum(value[..., None] * first, axis=-2) + dense(self.size, scale=1.0)(view))
        second = jnp.abs(dense(self.size, scale=1.0)(view))
        base = dense(1, scale=1.0)(nn.relu(dense(self.size)(view)))[..., 0]
        return jnp.sum(hidden * second, axis=-1) + base


class TeamQNetwork(nn.Module):
    """Action values of a team's agents, ``[..., I, F] -> [..., I, A, 1]``, by one network that is told whose they are.

    What agent i gets depends on row i alone.

    Source: Sunehag et al. 2018 (arXiv 1706.05296), on sums, shared parameters and roles.
    """

    own: QNetwork
    mixer: MonotoneMixer | None  # None: the sum

    def __call__(self, obs: jax.Array) -> jax.Array:
        num_agents = obs.shape[-2]
        role = jnp.broadcast_to(jnp.eye(num_agents, dtype=obs.dtype), (*obs.shape[:-1], num_agents))
        q = self.own(jnp.concatenate([obs, role], axis=-1))
        if self.is_initializing():
            self.mix(jnp.max(q[..., 0], axis=-1), obs)
        return q

    def mix(self, value: jax.Array, obs: jax.Array) -> jax.Array:
        """Value of what all do together, of one value each ``[..., I]`` and what all see ``[..., I, F]``, ``[...]``."""
        if self.mixer is None:
            return jnp.sum(value, axis=-1)
        return self.mixer(value, obs.reshape(*obs.shape[:-2], -1))
