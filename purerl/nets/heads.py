"""Heads: a number for each token, of what a language model makes of the text up to it, such as a value or a reward."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from purerl.types import PyTree


class Head(NamedTuple):
    """What makes one number of each token's features.

    Attributes:
        init: ``(key, features) -> params``, for features of that shape and type, whose values are not looked at.
        apply: ``(params, features [..., D]) -> [...]``.
    """

    init: Callable[[jax.Array, jax.ShapeDtypeStruct], PyTree]
    apply: Callable[[PyTree, jax.Array], jax.Array]


def linear_head(scale: float = 0.0, bias: bool = True) -> Head:
    """Linear head: ``w . h + b``, with ``w ~ N(0, scale^2 / D)`` and ``b = 0`` at first.

    Features that are normalised, as a decoder's are, so make numbers of about that size.

    Args:
        scale: at least 0; 0 says 0 of everything at first, as a critic should.
        bias: whether there is a b; comparisons teach none.

    Source: Ouyang et al. 2022, appendix C.2.
    """

    def init(key: jax.Array, features: jax.ShapeDtypeStruct) -> PyTree:
        size = features.shape[-1]
        kernel = scale / size**0.5 * jax.random.normal(key, (size,), features.dtype)
        return {"kernel": kernel, "bias": jnp.zeros((), features.dtype)} if bias else {"kernel": kernel}

    def apply(params: PyTree, features: jax.Array) -> jax.Array:
        # Half precision is for networks: what a learner aims at is in single.
        features, params = jax.tree.map(_wide, (features, params))
        return features @ params["kernel"] + params.get("bias", 0)

    return Head(init, apply)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
