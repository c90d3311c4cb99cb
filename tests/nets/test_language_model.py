"""A transformer whose vocabulary the task says."""

import jax
import numpy as np
import pytest

from purerl.nets.decoder import Decoder, DecoderConfig
from purerl.nets.language_model import decoder_model
from tests.support.tiny_decoder import CONFIG, DECODER, prompts, random_params


def test_it_is_the_decoder_of_its_parameters():
    """The same logits, and parameters of the same shapes."""
    model, params, (ids, mask, _) = decoder_model(CONFIG, 7), random_params(0), prompts()
    made = jax.eval_shape(model.init, jax.random.key(0))
    assert jax.tree.map(lambda x: x.shape, made) == jax.tree.map(lambda x: x.shape, params)
    policy = model.policy(params)

    @jax.jit
    def both():
        features = policy.extend(policy.start(*ids.shape), ids, mask)[1]
        return policy.logits(features), DECODER.apply(params, ids, mask)

    np.testing.assert_array_equal(*both())


def test_vocabularies_that_differ_are_refused():
    """By name, with both numbers; and a decoder does not guess one."""
    with pytest.raises(ValueError, match=r"vocab_size = 7, but there are 8 tokens; set it to None"):
        decoder_model(CONFIG, 8)
    with pytest.raises(ValueError, match=r"vocab_size = None: a decoder needs to know"):
        jax.eval_shape(Decoder(DecoderConfig()).init, jax.random.key(0), *prompts()[:2])
