"""Language models as learners meet them: parameters to begin with, and the policy over tokens that parameters make."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from purerl.nets.decoder import Decoder, DecoderConfig, DecoderPolicy
from purerl.types import PyTree


class LanguageModel(NamedTuple):
    """A family of policies over tokens: a transformer, an adapter of a frozen one, a table.

    Attributes:
        init: ``(key) -> params``.
        policy: ``(params) -> policy``, a :class:`purerl.language.policy.Policy`.
    """

    init: Callable
    policy: Callable


def decoder_model(config: DecoderConfig, vocab_size: int) -> LanguageModel:
    """A :class:`~purerl.nets.decoder.Decoder` of a config that leaves the vocabulary open.

    Args:
        config: sizes and parts.
        vocab_size: V.

    Raises:
        ValueError: if the config has another vocabulary.
    """
    if config.vocab_size not in (None, vocab_size):
        raise ValueError(
            f"DecoderConfig.vocab_size = {config.vocab_size}, but there are {vocab_size} tokens; set it to None."
        )
    decoder = Decoder(dataclasses.replace(config, vocab_size=vocab_size))

    def init(key: jax.Array) -> PyTree:
        ids = jnp.zeros((1, 1), jnp.int32)
        return decoder.init(key, ids, ids == 0)

    return LanguageModel(init, lambda params: DecoderPolicy(decoder, params))
