"""Scoring: the sampler's own numbers, and gradients that enumeration knows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.language import kl
from purerl.language import enumeration, tasks
from purerl.language.generate import generate
from purerl.language.policy import extended, repeat
from purerl.language.score import score
from purerl.nets.decoder import DecoderPolicy
from tests.support.tabular_language import TablePolicy, begin
from tests.support.tiny_decoder import DECODER, prompts, random_params
from tests.support.tiny_language import MAX_TOKENS, NUM_SEQUENCES, SEQUENCES, STOP, setting

TEXTS = jnp.asarray(SEQUENCES.tokens), jnp.asarray(SEQUENCES.mask)
OPTIONS = [  # temperature, top_k, top_p, num_samples, stop_token, steps_at_once
    (1.0, None, None, 1, 5, None),
    (0.7, 3, None, 2, -1, 3),
    (1.5, 4, 0.7, 3, 5, None),
]


@pytest.mark.covers("ti-gap", "v32-sampmask")
@pytest.mark.parametrize(("temperature", "top_k", "top_p", "num_samples", "stop_token", "steps_at_once"), OPTIONS)
def test_score_is_what_the_sampler_says(temperature, top_k, top_p, num_samples, stop_token, steps_at_once):
    """Prompts of all lengths, temperature, truncation and groups; gradients are finite, entropy that of the kept."""

    @jax.jit
    def both(params):
        def scored(params, text):
            group = repeat(prompts(), num_samples)
            policy = DecoderPolicy(DECODER, params)
            options = {"temperature": temperature, "steps_at_once": steps_at_once}
            return score(policy, group, text.tokens, text.mask, kept=text.kept, **options)

        text = generate(
            DecoderPolicy(DECODER, params),
            jax.tree.map(jnp.asarray, prompts()),
            jax.random.key(0),
            max_tokens=8,
            stop_token=stop_token,
            num_samples=num_samples,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
        gradient = jax.grad(lambda params: sum(x.sum() for x in scored(params, text)))(params)
        return text, scored(params, text), gradient

    text, result, gradient = both(random_params(0))
    np.testing.assert_allclose(result.log_prob, text.log_prob, atol=1e-4)
    assert np.all(np.asarray(result.log_prob)[np.asarray(text.mask)] < 0.01)
    assert np.all(np.asarray(result.entropy) <= np.log(top_k or 7) + 1e-5)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(gradient))
    assert (text.kept is None) == (top_k is None)
    if stop_token == 5:
        assert np.any(text.stopped)
        assert not np.all(text.mask)


@pytest.mark.covers("ti-gap")
def test_half_precision_shows_in_the_divergence():
    """KL of the sampler from the scorer, by k3: single precision has none, half precision a small one, and not 0."""

    @jax.jit
    def divergence(params):
        policy, group = DecoderPolicy(DECODER, params), repeat(prompts(), 100)
        text = generate(policy, prompts(), jax.random.key(0), max_tokens=8, num_samples=100)
        return jnp.mean(kl.k3(text.log_prob - score(policy, group, text.tokens, text.mask).log_prob))

    assert 0 <= divergence(random_params(0)) < 1e-10
    half = divergence(jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), random_params(0)))
    assert half.dtype == jnp.float32
    assert 1e-9 < half < 1e-4


@pytest.mark.covers("token-mdp", "pg")
def test_gradient_of_the_score_is_the_policy_gradient(x64):
    """Over all texts, weighted by chance and reward, exactly: the stop token's logits get theirs."""
    s = setting()
    chance = jnp.exp(enumeration.log_probs(SEQUENCES, jnp.asarray(s.policy)))

    def loss(table):
        log_prob = score(TablePolicy(table), begin(NUM_SEQUENCES), *TEXTS).log_prob
        return jnp.sum(chance * s.reward * log_prob.sum(axis=0)), log_prob

    (_, log_prob), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(jnp.asarray(s.policy))
    np.testing.assert_allclose(log_prob, enumeration.token_log_probs(SEQUENCES, jnp.asarray(s.policy)), atol=1e-13)
    np.testing.assert_allclose(gradient, enumeration.policy_gradient(SEQUENCES, s.policy, s.reward), atol=1e-13)


@pytest.mark.covers("token-mdp")
def test_a_token_changes_its_own_score_and_later_ones_alone():
    """Another token at place t: scores before t stay, that at t is the other token's, those after t are others."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 7, (6, 4))
    others = np.stack([tokens, *(np.where(np.arange(6)[:, None] == t, (tokens + 1) % 7, tokens) for t in range(6))])

    @jax.jit
    def scores(params):
        policy = DecoderPolicy(DECODER, params)
        return jax.vmap(lambda text: score(policy, prompts(), text, jnp.ones((6, 4), bool)).log_prob)(others)

    first, *changed = np.asarray(scores(random_params(0)))
    for t, result in enumerate(changed):
        np.testing.assert_allclose(result[:t], first[:t], atol=1e-6)
        assert np.all(np.abs(result[t:] - first[t:]) > 1e-5), t


@pytest.mark.covers("ti-gap", "rlvr")
def test_ids_travel_and_text_is_for_verifiers_alone(x64):
    """Of ("a", "aa", "."), two sequences say "aa.": a verifier of texts gives both the same; their scores differ, and
    that of what was drawn is the sampler's. A text that is read again has other ids."""
    vocab, table = ("a", "aa", "."), jnp.asarray(0.3 * setting().policy)
    text = jax.tree.map(
        np.asarray,
        generate(TablePolicy(table), begin(1), jax.random.key(0), max_tokens=3, stop_token=STOP, num_samples=128),
    )
    texts = tasks.decode(vocab, text.tokens, text.mask)
    pairs = {tuple(column[mask]) for column, mask in zip(text.tokens.T, text.mask.T, strict=True)}
    assert {(0, 0, STOP), (1, STOP)} <= pairs
    judge = tasks.python_reward(lambda info, ids: float("".join(vocab[i] for i in ids) == "aa."))
    reward = judge(np.zeros(128), text.tokens, text.mask)
    np.testing.assert_array_equal(reward, [said == "aa." for said in texts])

    result = score(TablePolicy(table), begin(128), text.tokens, text.mask).log_prob.sum(axis=0)
    np.testing.assert_allclose(result, text.log_prob.sum(axis=0), atol=1e-12)
    longer = (text.tokens[:2] == [[1], [STOP]]).all(axis=0)
    again = np.array(tasks.encode(vocab, "aa."))[:, None]
    read_again = score(TablePolicy(table), begin(1), again, np.ones((3, 1), bool)).log_prob.sum()
    assert longer.any() and np.all(np.abs(np.asarray(result)[longer] - read_again) > 0.1)


@pytest.mark.covers("partial-rollout")
@pytest.mark.parametrize("cut", [1, 2])
def test_texts_in_two_parts_score_as_one(x64, cut):
    """What was written before is a prompt; texts that had ended get nothing, and nothing is added to them."""
    policy, first = TablePolicy(jnp.asarray(setting().policy)), begin(NUM_SEQUENCES)
    tokens, mask = TEXTS
    longer = extended(first, tokens[:cut], mask[:cut])
    expected = enumeration.token_log_probs(SEQUENCES, policy.table)[cut:]
    np.testing.assert_allclose(score(policy, longer, tokens[cut:], mask[cut:]).log_prob, expected, atol=1e-13)
    unfinished = mask[cut - 1] & (tokens[cut - 1] != STOP)
    options = {"max_tokens": MAX_TOKENS - cut, "stop_token": STOP, "unfinished": unfinished}
    rest = generate(policy, longer, jax.random.key(0), **options)
    np.testing.assert_array_equal(rest.mask[0], unfinished)
    again = score(policy, longer, rest.tokens, rest.mask).log_prob
    np.testing.assert_allclose(rest.log_prob, again, atol=1e-13)


@pytest.mark.covers("entropy")
def test_entropy_of_a_uniform_policy(x64):
    """log V at each token that counts."""
    entropy = score(TablePolicy(jnp.ones((7, 3))), begin(NUM_SEQUENCES), *TEXTS).entropy
    np.testing.assert_allclose(entropy, np.log(3) * SEQUENCES.mask, atol=1e-14)
