"""Experts: whom a router chooses, who learns of it, and a choice that the learner keeps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.language.generate import generate
from purerl.language.score import score
from purerl.nets.decoder import Decoder, DecoderPolicy, FeedForward
from purerl.nets.mixture import Mixture, choose
from tests.support.tiny_decoder import CONFIG, prompts

E = 3


def test_best_experts_share_the_gates():
    """The K best by their scores, gates as probabilities among them; those that were chosen before stay, -1 is none."""
    scores = np.random.default_rng(0).normal(size=(5, 4, E)).astype(np.float32)
    chosen, gates = choose(jnp.asarray(scores), 2)
    best = np.argsort(-scores, axis=-1)[..., :2]
    chances = np.exp(np.take_along_axis(scores, best, axis=-1))
    np.testing.assert_array_equal(chosen, best)
    np.testing.assert_allclose(gates, chances / chances.sum(axis=-1, keepdims=True), rtol=1e-5)
    worst = np.argsort(scores, axis=-1)[..., :2]
    before = np.where(np.arange(4)[:, None] == 1, worst, -1).astype(np.int16)
    kept, gates = choose(jnp.asarray(scores), 2, jnp.asarray(before))
    np.testing.assert_array_equal(kept, np.where(before < 0, best, worst))
    np.testing.assert_allclose(gates.sum(axis=-1), 1, rtol=1e-6)


def test_experts_that_are_not_chosen_learn_nothing():
    """Beyond the K best the gradient is 0, exactly; the others and the router have one."""
    layer, x = Mixture(FeedForward(CONFIG, parent=None), E, 2), jnp.linspace(-1, 1, CONFIG.size)

    @jax.jit
    def learn(key):
        def loss(params):
            y, chosen = layer.apply(params, x)
            return jnp.sum(y**2), chosen

        return jax.grad(loss, has_aux=True)(layer.init(key, x))

    gradient, chosen = learn(jax.random.key(0))
    for expert in range(E):
        learns = [np.any(np.asarray(leaf)[expert]) for leaf in jax.tree.leaves(gradient["params"]["expert"])]
        assert learns == [expert in np.asarray(chosen)] * len(learns)
    assert np.any(gradient["params"]["router"]["kernel"])


@pytest.fixture(scope="module", params=[1, 2], ids="{} experts a token".format)
def near_tie(request):
    """A sampler whose router scores its last two experts alike, a learner whose router differs in the seventh digit, a
    text of the sampler, and ``(params, routes) -> log-probabilities`` of it."""
    config = dataclasses.replace(CONFIG, num_experts=E, experts_per_token=request.param)
    decoder, ids = Decoder(config), jnp.zeros((1, 1), int)
    shapes = jax.eval_shape(lambda: decoder.init(jax.random.key(0), ids, ids == 0))
    rng = np.random.default_rng(0)
    sampler = jax.tree.map(lambda x: rng.normal(0, 0.4, x.shape).astype(np.float32), shapes)
    learner = jax.tree.map(np.copy, sampler)
    for params, share in ((sampler, 1), (learner, 1 + 3e-7)):
        router = params["params"]["blocks_0"]["Mixture_0"]["router"]["kernel"]
        router[:, 1] *= 3
        router[:, 2] = router[:, 1] * np.float32(share)
    write = jax.jit(
        lambda params, key: generate(DecoderPolicy(decoder, params), prompts(), key, max_tokens=8, stop_token=5)
    )
    text = write(sampler, jax.random.key(0))
    read = jax.jit(
        lambda params, routes: score(DecoderPolicy(decoder, params, routes), prompts(), text.tokens, text.mask)
    )
    return config, sampler, learner, text, lambda params, routes: np.asarray(read(params, routes).log_prob)


@pytest.mark.covers("v32-routing")
def test_kept_routes_make_the_first_ratio_one(near_tie):
    """A router that differs in its last bits takes other experts: the ratio is far from 1. With the sampler's routes it
    is 1: to rounding, and exactly where one expert's gate is 1 whatever the router says."""
    config, sampler, learner, text, log_prob = near_tie
    assert text.routes.shape == (4, 4 - 1 + 8, config.num_layers, config.experts_per_token)
    there = np.asarray(text.mask)
    ratio = {
        "without": np.exp(log_prob(learner, None) - text.log_prob),
        "kept": np.exp(log_prob(learner, text.routes) - text.log_prob),
        "router": np.exp(log_prob(learner, text.routes) - log_prob(sampler, text.routes)),
    }
    assert np.abs(ratio["without"] - 1)[there].max() > 0.1
    np.testing.assert_allclose(ratio["kept"], 1, atol=1e-5)
    np.testing.assert_allclose(ratio["router"], 1, atol=0 if config.experts_per_token == 1 else 1e-6)


def test_routes_of_another_text_are_refused(near_tie):
    """They are of so many rows and tokens; and a policy without experts has none."""
    _, sampler, _, text, _ = near_tie
    plain = DecoderPolicy(Decoder(CONFIG), sampler, text.routes)
    for policy, rows in ((plain, 4), (plain._replace(decoder=Decoder(near_tie[0])), 5)):
        with pytest.raises(ValueError, match="those of another text"):
            policy.start(rows, text.routes.shape[1])
