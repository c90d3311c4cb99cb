"""Low-rank adapters: nothing at first, the gradient theirs alone, merged as applied."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from purerl.language.generate import generate
from purerl.language.score import score
from purerl.nets import lora
from purerl.nets.decoder import DecoderPolicy
from tests.support.tiny_decoder import CONFIG, DECODER, prompts, random_params

RANK, ALPHA = 2, 3.0
TEXT = np.random.default_rng(0).integers(0, CONFIG.vocab_size, (2, 5))


@jax.jit
def logits(params):
    """Of the text, by the tiny transformer."""
    return DECODER.apply(params, TEXT, TEXT >= 0)


@pytest.fixture(scope="module")
def params():
    """Of the tiny transformer."""
    return random_params(0)


def trained(params):
    """Adapters with numbers everywhere, as after some steps."""
    shapes = jax.eval_shape(lambda: lora.init(jax.random.key(0), params, RANK))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: rng.normal(0, 0.4, x.shape).astype(np.float32), shapes)


@pytest.mark.covers("lora")
def test_adapters_change_nothing_at_first(params):
    """Bit for bit, whatever their scale; A has unit outputs for unit inputs, in every layer of its own."""
    adapters = lora.init(jax.random.key(0), params, 50)
    for was, is_ in zip(jax.tree.leaves(params), jax.tree.leaves(lora.merge(params, adapters, 9.0)), strict=True):
        np.testing.assert_array_equal(was, is_)
    assert len(adapters) == CONFIG.num_layers * len(lora.DECODER)
    for adapter in adapters.values():
        np.testing.assert_allclose(np.std(adapter.a) * np.sqrt(len(adapter.a)), 1, atol=0.1)
    assert not np.allclose(*(adapters[f"params/blocks_0/Attention_0/{name}/kernel"].a for name in "qk"))


@pytest.mark.covers("lora")
def test_merged_is_applied(params):
    """Logits of merged weights are those of ``x W + (alpha / R) (x A) B`` in each adapted layer."""
    adapters = trained(params)

    def beside(next_layer, args, kwargs, context):
        adapter = adapters.get("/".join(("params", *context.module.path, "kernel")))
        y = next_layer(*args, **kwargs)
        if adapter is None:
            return y
        inputs = args[0].reshape(*args[0].shape[:2], -1)
        return y + ALPHA / RANK * ((inputs @ adapter.a) @ adapter.b).reshape(y.shape)

    with nn.intercept_methods(beside):
        applied = jax.jit(lambda params: DECODER.apply(params, TEXT, TEXT >= 0))(params)
    merged = logits(lora.merge(params, adapters, ALPHA))
    scale = np.abs(merged).max()
    np.testing.assert_allclose(merged, applied, atol=1e-5 * scale)
    assert np.abs(merged - logits(params)).max() > 0.1 * scale


@pytest.mark.covers("lora")
def test_gradient_is_that_of_the_kernels_through_the_factors(params):
    """With dW the kernel's: dA = s dW B', dB = s A' dW, s = alpha / R; at first only B learns."""

    def loss(params):
        return jnp.mean(logits(params) ** 2)

    adapters = trained(params)
    of_adapters = jax.jit(jax.grad(lambda adapters: loss(lora.merge(params, adapters, ALPHA))))
    of_kernels = flatten_dict(jax.jit(jax.grad(loss))(lora.merge(params, adapters, ALPHA)), sep="/")
    for name, (da, db) in of_adapters(adapters).items():
        a, b = adapters[name]
        dw = of_kernels[name].reshape(len(a), -1)
        for actual, expected in ((da, dw @ b.T), (db, a.T @ dw)):
            expected *= ALPHA / RANK
            np.testing.assert_allclose(actual, expected, atol=1e-5 * np.abs(expected).max())
    for da, db in of_adapters(lora.init(jax.random.key(0), params, RANK)).values():
        assert not np.any(da)
        assert np.any(db)


@pytest.mark.covers("lora", "ti-gap")
def test_adapted_policy_writes_and_scores(params):
    """Merged weights in generation and in scoring give one law, another than the base's."""
    adapters = trained(params)

    @jax.jit
    def both(adapters, key):
        policy = DecoderPolicy(DECODER, lora.merge(params, adapters, ALPHA))
        text = generate(policy, prompts(), key, max_tokens=4)
        base = policy._replace(params=params)
        return text.log_prob, *(score(p, prompts(), text.tokens, text.mask).log_prob for p in (policy, base))

    written, adapted, base = both(adapters, jax.random.key(0))
    np.testing.assert_allclose(adapted, written, atol=1e-4)
    assert np.abs(base - written).max() > 0.1


def test_half_precision_stays_and_learns_in_single(params):
    """Frozen weights may be small; what is added to them is rounded once."""
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    adapters = lora.init(jax.random.key(0), half, RANK)
    assert {x.dtype for x in jax.tree.leaves(adapters)} == {np.dtype(np.float32)}
    assert {x.dtype for x in jax.tree.leaves(lora.merge(half, adapters, ALPHA))} == {np.dtype(jnp.bfloat16)}


def test_layers_that_are_not_there_are_refused(params):
    """By name; and so is a rank below 1."""
    with pytest.raises(ValueError, match="rank = 0"):
        lora.init(jax.random.key(0), params, 0)
    with pytest.raises(ValueError, match="no layer is named nobody"):
        lora.init(jax.random.key(0), params, 1, {"nobody": 1})
    adapter = lora.Adapter(jnp.zeros((3, 1)), jnp.zeros((1, 5)))
    for name in ("params/nobody/kernel", "params/blocks_0/Attention_0/q/kernel"):
        with pytest.raises(ValueError, match=f"no {name} with 15 numbers"):
            lora.merge(params, {name: adapter}, ALPHA)
