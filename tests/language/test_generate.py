"""Generation: its law, where texts end, and a loop that seeds share."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.language import truncation
from purerl.language import enumeration, generate
from purerl.language.policy import Prompts
from purerl.nets.decoder import DecoderPolicy
from tests.support.tabular_language import TablePolicy, begin
from tests.support.tiny_decoder import CONFIG, DECODER, prompts, random_params
from tests.support.tiny_language import MAX_TOKENS, NUM_PREFIXES, SEQUENCES, STOP, VOCAB, setting

NUM_DRAWS = 4000


@pytest.mark.covers("token-mdp", "v32-sampmask")
@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(1.0, None, None), (0.7, 2, 0.8)])
def test_texts_have_the_law_of_all_sequences(temperature, top_k, top_p):
    """Each text is one of all, its log-probabilities are exact, and it comes as often as they say (chi-square); from a
    key for all where something is truncated, otherwise from one for each text."""
    table = jnp.asarray(setting().policy, jnp.float32)
    draw = jax.jit(
        lambda key: generate.generate(
            TablePolicy(table),
            begin(1),
            key,
            max_tokens=MAX_TOKENS,
            stop_token=STOP,
            num_samples=NUM_DRAWS,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
    )
    key = jax.random.key(0)
    text = jax.tree.map(np.asarray, draw(jax.random.split(key, NUM_DRAWS) if top_k is None else key))

    law_of_row = table
    if top_k is not None:
        kept = truncation.top_k(table, top_k)
        kept &= truncation.top_p(jnp.where(kept, table / temperature, -jnp.inf), top_p)
        law_of_row = truncation.log_probs(table, temperature, kept)
    expected = np.asarray(enumeration.log_probs(SEQUENCES, law_of_row))

    same = np.all(text.tokens[:, :, None] == SEQUENCES.tokens[:, None], axis=0)
    same &= np.all(text.mask[:, :, None] == SEQUENCES.mask[:, None], axis=0)
    assert np.all(same.sum(axis=1) == 1)
    which = same.argmax(axis=1)
    np.testing.assert_allclose(text.log_prob.sum(axis=0), expected[which], atol=1e-5)
    np.testing.assert_array_equal(text.log_prob[~text.mask], 0)
    np.testing.assert_array_equal(text.stopped, np.any(text.tokens * text.mask == STOP, axis=0))
    possible = np.isfinite(expected)
    count, mean = np.bincount(which, minlength=len(expected))[possible], NUM_DRAWS * np.exp(expected[possible])
    degrees = possible.sum() - 1
    assert np.sum((count - mean) ** 2 / mean) < degrees + 4 * np.sqrt(2 * degrees)


def test_draws_of_a_policy_in_half_precision_reach_every_token():
    """Of 500 tokens that are equally likely the last come as often as the first (chi-square)."""

    class Uniform(TablePolicy):
        def logits(self, features):
            return jnp.zeros((*features.shape[:2], 500), jnp.bfloat16)

    policy = Uniform(jnp.zeros((7, 3)))
    draw = jax.jit(lambda key: generate.generate(policy, begin(1), key, max_tokens=1, num_samples=NUM_DRAWS))
    text = draw(jax.random.key(0))
    expected = NUM_DRAWS / 500
    count = np.bincount(text.tokens[0], minlength=500)
    assert np.sum((count - expected) ** 2 / expected) < 499 + 4 * np.sqrt(2 * 499)
    np.testing.assert_allclose(text.log_prob, -np.log(500), rtol=1e-6)
    assert text.log_prob.dtype == np.float32


def test_loop_ends_with_the_last_text():
    """As many steps as the longest text has tokens, and not as many as there may be."""
    steps = []

    class Counting(TablePolicy):
        def logits(self, features):
            jax.debug.callback(lambda: steps.append(1))
            return super().logits(features)

    table = jnp.zeros((7, 3)).at[0, 0].set(99).at[1, STOP].set(99)
    text = jax.jit(
        lambda: generate.generate(Counting(table), begin(2), jax.random.key(0), max_tokens=50, stop_token=2)
    )()
    jax.effects_barrier()
    np.testing.assert_array_equal(text.tokens[:3], [[0, 0], [STOP, STOP], [0, 0]])
    np.testing.assert_array_equal(text.mask[:3], [[True, True], [True, True], [False, False]])
    assert np.all(text.stopped)
    assert len(steps) == 2


@pytest.mark.covers("rep-stop")
def test_text_that_repeats_itself_is_ended():
    """After the third time, not by its own token; and a row that is no prompt writes nothing."""
    policy, first = TablePolicy(jnp.zeros((7, 3)).at[:, 0].set(99)), begin(2)
    first = Prompts(first.ids, jnp.array([[True], [False]]))
    text = generate.generate(
        policy, first, jax.random.key(0), max_tokens=9, stop_token=STOP, stop_loops=((2, 3), (1, 3))
    )
    np.testing.assert_array_equal(text.mask[:, 0], np.arange(9) < 3)
    assert not np.any(text.mask[:, 1])
    assert not np.any(text.stopped)


@pytest.mark.covers("rep-stop")
def test_members_are_ended_by_their_own_loops():
    """Under vmap: one repeats a token, one a phrase of three, one stops; each writes what it writes alone."""
    odd = jnp.arange(NUM_PREFIXES) % 2
    phrase = jnp.stack([1 - odd, odd, jnp.zeros(NUM_PREFIXES)], axis=1)  # 0 1 0, and again
    tables = 99 * jnp.stack([jnp.zeros((NUM_PREFIXES, VOCAB)).at[:, 0].set(1), phrase, phrase.at[3:, STOP].set(2)])

    def run(table):
        options = {"max_tokens": 12, "stop_token": STOP, "stop_loops": ((1, 4), (3, 3))}
        return generate.generate(TablePolicy(table), begin(2), jax.random.key(0), **options)

    together, alone = jax.jit(jax.vmap(run))(tables), jax.jit(run)
    for i, table in enumerate(tables):
        expected = alone(table)
        for name in ("tokens", "mask", "stopped"):
            np.testing.assert_array_equal(getattr(together, name)[i], getattr(expected, name))
    np.testing.assert_array_equal(together.mask.sum(axis=1), [[4, 4], [9, 9], [3, 3]])
    np.testing.assert_array_equal(together.stopped[:, 0], [False, False, True])


def members_program():
    """``(params, key) -> completions`` of the tiny transformer."""

    def run(params, key):
        policy = DecoderPolicy(DECODER, params)
        return generate.generate(policy, prompts(), key, max_tokens=10, stop_token=5, num_samples=2)

    return run


def test_seeds_together_write_what_they_write_alone(monkeypatch):
    """Token for token, though they end at different times; and no step of the program copies the cache."""
    params = jax.tree.map(lambda *x: jnp.stack(x), *(random_params(seed) for seed in range(3)))
    keys = jax.random.split(jax.random.key(1), 3)
    program = jax.jit(jax.vmap(members_program())).lower(params, keys).compile()
    together, alone = program(params, keys), jax.jit(members_program())
    lengths = []
    for i in range(3):
        expected = alone(random_params(i), keys[i])
        for name in ("tokens", "mask", "stopped"):
            np.testing.assert_array_equal(getattr(together, name)[i], getattr(expected, name))
        np.testing.assert_allclose(together.log_prob[i], expected.log_prob, atol=1e-5)
        lengths.append(int(expected.mask.any(axis=1).sum()))
    assert len(set(lengths)) > 1, lengths
    cache = f"3,8,{4 - 1 + 10},{CONFIG.num_kv_heads},{CONFIG.head_size}"
    assert re.search(rf"f32\[{cache}\]", program.as_text())
    assert not re.search(rf"f32\[{cache}\]\S* select\(", program.as_text())
    monkeypatch.setattr(generate, "any_of_all", jnp.any)
    copying = jax.jit(jax.vmap(members_program())).lower(params, keys).as_text()
    assert re.search(rf"stablehlo.select.*tensor<{cache.replace(',', 'x')}xf32>", copying)


def test_one_answer_for_all_members():
    """Unbatched under vmap, also twice."""
    x = jnp.array([[[False, False]], [[True, False]]])
    assert not generate.any_of_all(x[0])
    once = jax.vmap(generate.any_of_all, out_axes=None)(x)
    twice = jax.vmap(jax.vmap(generate.any_of_all, out_axes=None), out_axes=None)(x)
    assert once and twice and once.shape == twice.shape == ()


def test_kept_sets_come_back_from_their_bits():
    """Any vocabulary, also one that fills no byte; None stays None."""
    kept = np.random.default_rng(0).random((2, 3, 11)) < 0.5
    np.testing.assert_array_equal(generate.unpack(jnp.packbits(kept, axis=-1), 11), kept)
    assert generate.unpack(None, 11) is None


@pytest.mark.parametrize("wrong", [{"max_tokens": 0}, {"num_samples": 0}])
def test_sizes_out_of_range_are_refused(wrong):
    """By name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        generate.generate(TablePolicy(jnp.zeros((7, 3))), begin(1), jax.random.key(0), **{"max_tokens": 1, **wrong})


def test_empty_prompts_are_refused():
    """A policy needs a token to begin with."""
    empty = Prompts(jnp.zeros((2, 0), int), jnp.zeros((2, 0), bool))
    with pytest.raises(ValueError, match="at least 1"):
        generate.generate(TablePolicy(jnp.zeros((7, 3))), empty, jax.random.key(0), max_tokens=1)
