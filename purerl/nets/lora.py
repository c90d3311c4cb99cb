"""Low-rank adapters: a frozen tree of parameters, and two small matrices for each layer that learns.

Adapters are a tree of their own, merged into the parameters where these are used. So the gradient is theirs alone, and
whatever takes parameters takes merged ones::

    adapters = lora.init(key, params, rank=8)
    policy = DecoderPolicy(decoder, lora.merge(params, adapters, alpha=16))        # for generate and score
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from purerl.types import PyTree, Scalar

# Layers of a decoder, and how many axes of their kernels are those of inputs.
DECODER = {f"Attention_0/{name}": 1 for name in ("q", "k", "v")} | {"Attention_0/o": 2}
DECODER |= {f"FeedForward_0/{name}": 1 for name in ("up", "gate", "down")}


class Adapter(NamedTuple):
    """Two factors of what is added to the kernel of a layer with I inputs and O outputs."""

    a: jax.Array  # [I, R]
    b: jax.Array  # [R, O], 0 at first


def init(key: jax.Array, params: PyTree, rank: int, which: Mapping[str, int] = DECODER) -> dict[str, Adapter]:
    """Adapters that change nothing yet: ``A ~ N(0, 1 / I)`` and ``B = 0``.

    Args:
        key: for A.
        params: nested dicts of arrays.
        rank: R, at least 1.
        which: layers, by the ends of their names, and how many axes of their kernels are those of inputs.

    Returns:
        adapters by the names of their kernels, as precise as these, in single precision at least.

    Raises:
        ValueError: if the rank is out of its range, or there is no such layer.

    Source: Hu et al. 2021.
    """
    if rank < 1:
        raise ValueError(f"lora.init: rank = {rank} must be at least 1.")
    kernels = {
        name: (kernel, num_inputs)
        for name, kernel in flatten_dict(params, sep="/").items()
        for layer, num_inputs in which.items()
        if name.endswith(f"/{layer}/kernel")
    }
    if not kernels:
        raise ValueError(f"lora.init: no layer is named {' or '.join(which)}.")
    adapters = {}
    for each, (name, (kernel, num_inputs)) in zip(jax.random.split(key, len(kernels)), kernels.items(), strict=True):
        inputs, outputs = math.prod(kernel.shape[:num_inputs]), math.prod(kernel.shape[num_inputs:])
        dtype = jnp.promote_types(kernel.dtype, jnp.float32)
        a = jax.random.normal(each, (inputs, rank), dtype) / math.sqrt(inputs)
        adapters[name] = Adapter(a, jnp.zeros((rank, outputs), dtype))
    return adapters


def merge(params: PyTree, adapters: Mapping[str, Adapter], alpha: Scalar) -> PyTree:
    """Parameters with what their adapters add, ``W + (alpha / R) A B``, in the precision of the parameters.

    Args:
        params: those that the adapters were made for.
        adapters: by the names of their kernels.
        alpha: scale.

    Returns:
        a tree like ``params``.

    Raises:
        ValueError: if an adapter has no kernel, or one of another size.

    Source: Hu et al. 2021 (3).
    """
    leaves = flatten_dict(params, sep="/")
    for name, (a, b) in adapters.items():
        size = a.shape[0] * b.shape[1]
        if name not in leaves or leaves[name].size != size:
            raise ValueError(f"lora.merge: the parameters have no {name} with {size} numbers.")
        kernel = leaves[name]
        leaves[name] = (kernel + (alpha / a.shape[1]) * (a @ b).reshape(kernel.shape)).astype(kernel.dtype)
    return unflatten_dict(leaves, sep="/")
