"""The transformer: against NumPy, what a token may see, padding, and text a token at a time."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.nets.decoder import Cache, Decoder, DecoderConfig, DecoderPolicy, empty_cache
from tests.oracles import decoder as oracle

V, N, PADS = 7, 6, 7
LLAMA = DecoderConfig(
    vocab_size=V,
    size=16,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_size=4,
    feed_forward_size=24,
    max_positions=20,
)
CONFIGS = {
    "llama": LLAMA,
    "gpt-2": dataclasses.replace(
        LLAMA,
        norm="layer",
        norm_epsilon=1e-5,
        position="learnt",
        num_kv_heads=4,
        feed_forward="gelu",
        qkv_bias=True,
        bias=True,
    ),
    "qwen-and-gemma": dataclasses.replace(
        LLAMA, num_kv_heads=1, qkv_bias=True, qk_norm=True, tied_head=False, feed_forward="geglu", rope_base=100.0
    ),
    "experts": dataclasses.replace(
        LLAMA, num_layers=1, feed_forward="gelu", bias=True, num_experts=4, experts_per_token=2
    ),
}
TEXTS = np.random.default_rng(0).integers(0, V, (2, N))


def random_params(config, dtype=np.float32):
    """Weights with no structure, biases and scales of norms too; twice as large as at the start, to be seen well."""
    decoder, ids = Decoder(config), jnp.zeros((1, 1), int)
    shapes = jax.eval_shape(lambda: decoder.init(jax.random.key(0), ids, ids == 0))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: (rng.normal(size=x.shape) * (0.4 + (x.ndim == 1))).astype(dtype), shapes)


@pytest.fixture(scope="module", params=CONFIGS)
def model(request):
    """A config, its weights and its compiled forward pass, for texts of one length: shorter ones are padded."""
    config = CONFIGS[request.param]
    params = random_params(config)
    forward = jax.jit(Decoder(config).apply)

    def logits(ids, mask=None):
        """Of texts of at most N + PADS tokens, ``[B, N, V]``; the padding is on the right."""
        mask = np.ones(ids.shape, bool) if mask is None else mask
        room = ((0, 0), (0, N + PADS - ids.shape[1]))
        return np.asarray(forward(params, np.pad(ids, room), np.pad(mask, room)))[:, : ids.shape[1]]

    return config, params, logits


def test_logits_are_those_of_numpy(model):
    """Every kind of norm, position, head and feed-forward layer against loops in double precision."""
    config, params, logits = model
    double = jax.tree.map(np.float64, params)["params"]
    expected = np.array([oracle.logits(double, config, text.tolist()) for text in TEXTS])
    assert np.std(expected) > 0.5
    np.testing.assert_allclose(logits(TEXTS), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_a_token_changes_nothing_before_it(model):
    """Another token at t changes the logits at t and after, and those before it not at all."""
    _, _, logits = model
    for t in range(N):
        other = TEXTS.copy()
        other[:, t] = (other[:, t] + 1) % V
        changed = np.any(logits(other) != logits(TEXTS), axis=(0, 2))
        np.testing.assert_array_equal(changed, np.arange(N) >= t)


def test_padding_is_what_the_mask_says(model):
    """Seven pads on the left, whatever their ids, and pads inside change no logits; an id is never padding."""
    _, _, logits = model
    expected = logits(TEXTS)
    scale = np.abs(expected).max()
    for pad in (0, 3):
        left = np.concatenate([np.full((2, PADS), pad), TEXTS], axis=1)
        padded = logits(left, np.arange(N + PADS) >= PADS + np.zeros((2, 1)))
        np.testing.assert_allclose(padded[:, PADS:], expected, atol=1e-5 * scale)
    spread = np.repeat(TEXTS, 2, axis=1)
    inside = logits(spread, np.arange(2 * N) % 2 == 1 + np.zeros((2, 1)))
    np.testing.assert_allclose(inside[:, 1::2], expected, atol=1e-5 * scale)
    one, other = (logits(np.where(np.arange(N) == 2, pad, TEXTS)) for pad in (0, 3))
    assert np.abs(one - other).max() > 0.01 * scale


def test_text_in_pieces_is_the_whole_text(model):
    """Cached decoding: a padded prompt at once, then a token at a time, with more room than is needed."""
    config, params, logits = model
    policy = DecoderPolicy(Decoder(config), params)
    mask = np.ones((2, N), bool)
    mask[1, :2] = False
    expected = logits(TEXTS, mask)
    cache, features = policy.extend(policy.start(2, N + 2), jnp.asarray(TEXTS[:, :3]), jnp.asarray(mask[:, :3]))
    pieces, step = [features], jax.jit(policy.extend)
    for t in range(3, N):
        cache, features = step(cache, TEXTS[:, t : t + 1], mask[:, t : t + 1])
        pieces.append(features)
    actual = np.asarray(policy.logits(jnp.concatenate(pieces, axis=1)))
    np.testing.assert_allclose(actual[mask], expected[mask], atol=1e-5 * np.abs(expected).max())
    assert isinstance(cache, Cache)
    assert len(cache.layers) == config.num_layers
    assert cache.layers[0][0].shape == (2, N + 2, config.num_kv_heads, config.head_size)
    assert int(cache.filled) == N


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_heads": 3, "num_kv_heads": 2}, "num_heads = 3 is not a positive multiple of num_kv_heads = 2"),
        ({"head_size": 5}, "head_size = 5"),
        ({"norm": "batch"}, "choose one of rms, layer"),
        ({"num_layers": 0}, "num_layers"),
        ({"norm_epsilon": 0.0}, "norm_epsilon"),
        ({"num_experts": 2, "experts_per_token": 3}, "experts_per_token = 3 is more than num_experts = 2"),
    ],
)
def test_configs_that_make_no_sense_are_refused(changes, words):
    """With the field and what it could be."""
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(CONFIGS["llama"], **changes)


def test_text_beyond_learnt_positions_is_refused():
    """A table of learnt positions has an end; rotary ones have none."""
    with pytest.raises(ValueError, match="max_positions = 20"):
        empty_cache(CONFIGS["gpt-2"], 1, 21)
    jax.eval_shape(lambda: empty_cache(CONFIGS["llama"], 1, 21))


def test_initial_policy_is_nearly_uniform():
    """At the start no token is preferred."""
    decoder = Decoder(CONFIGS["llama"])
    params = jax.jit(decoder.init)(jax.random.key(0), TEXTS, TEXTS >= 0)
    logits = decoder.apply(params, TEXTS, TEXTS >= 0)
    assert np.abs(logits).max() < 1
