"""Mixture of experts: feed-forward layers of which each token takes a few, and a choice that can be kept.

Which experts a token takes is a comparison, so the last bit of a router decides, and a learner that rounds otherwise
than the sampler computes another function. Whoever knows what the sampler chose says so, and the layer chooses
nothing::

    text = generate(policy, ...)                                # a policy of a decoder with num_experts > 1
    score(policy._replace(routes=text.routes), ...)             # by the experts that wrote it
"""

import jax
import jax.numpy as jnp
from flax import linen as nn


def choose(scores: jax.Array, per_token: int, routes: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """The K best experts of a token, and what each counts: the softmax of its score among them.

    Args:
        scores: ``[..., E]``, by the router.
        per_token: K, from 1 to E.
        routes: ``[..., K]`` int, the experts that were chosen before, to be kept; -1 where there are none. None for
            none at all.

    Returns:
        the experts, ``[..., K]`` int, and their gates, ``[..., K]``, which sum to 1.

    Source: Shazeer et al. 2017; DeepSeek-AI 2025 and Ma et al. 2025, of what is kept.
    """
    chosen = jax.lax.top_k(scores, per_token)[1]
    if routes is not None:
        chosen = jnp.where(routes < 0, chosen, routes)
    return chosen, jax.nn.softmax(jnp.take_along_axis(scores, chosen, axis=-1), axis=-1)


class Mixture(nn.Module):
    """The K best of E experts, by a linear router: ``(x [..., D], routes [..., K]) -> (y [..., D], routes [..., K])``,
    ``y = sum_k gate_k expert_k(x)``; routes as of :func:`choose`.

    All experts are computed and those that were not chosen count 0, which takes E / K times the work and no sorting:
    the layer is for reading, and for small models.
    """

    expert: nn.Module  # one of them, unbound: D -> D
    num_experts: int  # E
    per_token: int  # K

    @nn.compact
    def __call__(self, x: jax.Array, routes: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        scores = nn.Dense(self.num_experts, use_bias=False, name="router")(x)
        routes, gates = choose(scores, self.per_token, routes)
        weights = jnp.sum(jax.nn.one_hot(routes, self.num_experts, dtype=gates.dtype) * gates[..., None], axis=-2)
        experts = nn.vmap(
            lambda expert, x: expert(x),
            in_axes=None,
            out_axes=-2,
            axis_size=self.num_experts,
            variable_axes={"params": 0},
            split_rngs={"params": True},
        )
        return jnp.einsum("...e,...ed->...d", weights, experts(self.expert, x)), routes
