"""A tiny transformer with weights of no structure, and prompts of different lengths."""

import jax
import jax.numpy as jnp
import numpy as np

from purerl.language.policy import Prompts
from purerl.nets.decoder import Decoder, DecoderConfig
from purerl.types import PyTree

CONFIG = DecoderConfig(
    vocab_size=7, size=16, num_layers=1, num_heads=4, num_kv_heads=2, head_size=4, feed_forward_size=16
)
DECODER = Decoder(CONFIG)
PROMPT_LENGTHS = (1, 4, 2, 3)


def random_params(seed: int) -> PyTree:
    """Large enough that tokens and their order matter."""
    ids = jnp.zeros((1, 1), int)
    shapes = jax.eval_shape(lambda: DECODER.init(jax.random.key(0), ids, ids == 0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.normal(0, 0.4, x.shape).astype(np.float32), shapes)


def prompts() -> Prompts:
    """Four of one to four tokens, padded with a token that is also text."""
    rng = np.random.default_rng(0)
    mask = np.arange(4) >= 4 - np.array(PROMPT_LENGTHS)[:, None]
    return Prompts(np.where(mask, rng.integers(0, 7, mask.shape), 3), mask)
