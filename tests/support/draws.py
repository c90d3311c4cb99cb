"""Long sparse distributions, and the uniforms at which a draw from them changes."""

import jax
import jax.numpy as jnp
import numpy as np

SUMS = {
    "XLA's own": jnp.cumsum,
    # As an accelerator adds up: in parallel, by a tree.
    "in parallel": lambda x, axis=-1, **_: jax.lax.associative_scan(jnp.add, x, axis=axis % x.ndim),
}


def sparse_distributions(length: int, number: int = 4) -> np.ndarray:
    """``[number, length]`` float32 probabilities, of which most are 0 and the others lie far apart in size."""
    rng = np.random.default_rng(length)
    weight = rng.gamma(0.5, size=(number, length)) * (rng.uniform(size=(number, length)) < 0.3)
    weight[:, length // 2] = 1.0
    return (weight / weight.sum(-1, keepdims=True)).astype(np.float32)


def telling_uniforms(step: np.ndarray) -> np.ndarray:
    """For one distribution, the multiples of 2^-23 in [0, 1) on both sides of every step of its prefix sum.

    A draw depends on a uniform by comparisons with the steps alone, so between these it is everywhere the same.
    """
    at = np.floor(step.astype(np.float64) / step[-1] * 2**23)[:, None] + np.arange(-3, 4)
    return (np.unique(np.clip([*at.ravel(), 0, 2**23 - 1], 0, 2**23 - 1)) / 2**23).astype(np.float32)


def impossible_draws(sample, probability: np.ndarray, cumsum) -> int:
    """How many telling uniforms draw what has probability 0."""
    drawn = [np.asarray(sample(jnp.asarray(p), telling_uniforms(np.asarray(cumsum(p, axis=0))))) for p in probability]
    return sum(int((p[i] == 0).sum()) for p, i in zip(probability, drawn, strict=True))
