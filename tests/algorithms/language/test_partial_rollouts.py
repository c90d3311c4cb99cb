"""Texts in pieces are texts in one go, and every token knows whose it is."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.language.answers import score_answers
from purerl.algorithms.language.partial_rollouts import Texts, begin, ended, go_on, nothing_begun
from purerl.kernels.language.rewards import first_loop
from purerl.language.generate import generate
from purerl.nets.decoder import Decoder, DecoderPolicy
from tests.support.tabular_language import TablePolicy
from tests.support.tabular_task import table_task
from tests.support.tiny_decoder import CONFIG, prompts
from tests.support.tiny_language import SEQUENCES, STOP, setting, tokens_of

G, NUM_PROMPTS = 2, 32
TASK = table_task()


@functools.partial(jax.jit, static_argnums=2, static_argnames="stop_loops")
def piece(table, texts, num_tokens, key=None, stop_loops=()):
    """One update's writing: fresh prompts where there is room, if there is a key, and so many tokens more."""
    texts = texts if key is None else begin(TASK, texts, key, G)
    return go_on(TASK, TablePolicy(jnp.asarray(table)), texts, num_tokens, stop_loops=stop_loops)


def table(seed: int = 0) -> np.ndarray:
    return setting(seed).policy.astype(np.float32)


@jax.jit
def nothing() -> Texts:
    return nothing_begun(TASK, TablePolicy(jnp.asarray(table())), NUM_PROMPTS, G)


@pytest.mark.covers("partial-rollout", "rep-stop")
@pytest.mark.parametrize(("num_tokens", "stop_loops"), [(1, ()), (2, ((1, 2),))], ids=["one", "two-and-loops"])
def test_pieces_of_a_frozen_policy_are_the_uninterrupted_text(num_tokens, stop_loops):
    """Token for token and bit for bit, from the same keys, wherever texts are cut; also where repetition ends them."""
    limits = {"max_tokens": TASK.max_tokens, "stop_token": STOP, "stop_loops": stop_loops}

    @jax.jit
    def both_ways(key):
        def one(texts, _):
            return piece(table(), texts, num_tokens, stop_loops=stop_loops), None

        begun, num_pieces = begin(TASK, nothing(), key, G), -(-TASK.max_tokens // num_tokens)
        texts, _ = jax.lax.scan(one, begun, None, num_pieces)
        keys = jax.random.wrap_key_data(texts.key)
        return texts, generate(TablePolicy(jnp.asarray(table())), texts.answers.prompts, keys, **limits)

    texts, whole = both_ways(jax.random.key(0))
    for name in ("tokens", "mask", "log_prob"):
        np.testing.assert_array_equal(getattr(texts.answers, name), getattr(whole, name).T, err_msg=name)
    np.testing.assert_array_equal(texts.answers.stopped, whole.stopped)
    assert texts.over.all() and len(np.unique(texts.answers.tokens, axis=0)) > 3
    loops = np.asarray(first_loop(whole.tokens, whole.mask, 1, 2)) < TASK.max_tokens - 1
    assert loops.any() and np.all((np.sum(whole.mask, axis=0) == 2)[loops] == bool(stop_loops))


@pytest.mark.covers("partial-rollout", "v32-routing")
def test_pieces_by_a_transformer_with_experts():
    """Prompts of different lengths, padded on the left, and pieces that do not fit the limit evenly: tokens, and the
    experts of each. Scored by a router that would choose others, the ratio is 1 with the experts that are kept."""
    decoder, asked = Decoder(dataclasses.replace(CONFIG, num_experts=3)), prompts()
    task = TASK._replace(prompt_length=4, max_tokens=5, stop_token=5, draw=lambda key, n: asked)

    @jax.jit
    def run(key):
        params = jax.tree.map(lambda x: x * 3, decoder.init(key, jnp.asarray(asked.ids), asked.mask))
        policy: Any = DecoderPolicy(decoder, params)
        begun = begin(task, nothing_begun(task, policy, len(asked.ids), 1), jax.random.key(1), 1)
        texts, _ = jax.lax.scan(lambda texts, _: (go_on(task, policy, texts, 2), None), begun, None, 3)
        whole = generate(policy, asked, jax.random.wrap_key_data(texts.key), max_tokens=5, stop_token=5)
        turned = jax.tree_util.tree_map_with_path(lambda at, x: -x if "router" in str(at) else x, params)
        other = DecoderPolicy(decoder, turned)
        as_written = (texts.answers, texts.answers._replace(routes=None))
        return texts, whole, [score_answers(other, answers).log_prob.T for answers in as_written]

    texts, whole, (kept, chosen) = run(jax.random.key(2))
    for name in ("tokens", "mask"):
        np.testing.assert_array_equal(getattr(texts.answers, name), getattr(whole, name).T, err_msg=name)
    np.testing.assert_allclose(texts.answers.log_prob, whole.log_prob.T, atol=1e-5)
    there = np.concatenate([asked.mask, whole.mask.T], axis=1)
    read = there[:, :-1] & there[:, 1:]  # by a token that came after it
    np.testing.assert_array_equal(texts.answers.routes[read], whole.routes[read])
    assert texts.over.all() and len(np.unique(texts.answers.routes[read])) == 3

    np.testing.assert_allclose(kept, texts.answers.log_prob, atol=1e-5)
    assert np.max(np.abs(chosen - texts.answers.log_prob)) > 1e-2


@pytest.mark.covers("partial-rollout")
def test_every_token_keeps_the_log_prob_of_the_policy_that_wrote_it_and_its_age():
    """A first token by one policy and the rest by another: their log-probabilities, enumerated, and 1 and 0 updates."""
    texts = piece(table(0), nothing(), 1, jax.random.key(0))
    texts = piece(table(1), texts, 2)
    tokens, mask = np.asarray(texts.answers.tokens), np.asarray(texts.answers.mask)
    same = np.all(np.where(mask, tokens, -1)[:, :, None] == np.where(SEQUENCES.mask, SEQUENCES.tokens, -1), axis=1)
    assert np.all(same.sum(axis=1) == 1)
    by_each = [tokens_of(table(seed)).T[same.argmax(axis=1)] for seed in (0, 1)]
    expected = np.concatenate([by_each[0][:, :1], by_each[1][:, 1:]], axis=1)
    np.testing.assert_allclose(texts.answers.log_prob, expected, atol=1e-6)
    np.testing.assert_array_equal(texts.age, mask * np.array([1, 0, 0]))


@pytest.mark.covers("partial-rollout")
def test_a_group_is_learned_from_once_when_all_of_it_have_ended():
    """Until then its texts are not there to learn from; then its place has fresh prompts, and no other."""
    texts, seen = jax.tree.map(np.asarray, nothing()), []
    for i in range(4):
        before: Texts = texts
        free = np.all(np.asarray(before.over).reshape(-1, G), axis=1).repeat(G)
        texts = jax.tree.map(np.asarray, piece(table(), before, 1, jax.random.key(i)))
        answers, whole = jax.tree.map(np.asarray, jax.jit(ended, static_argnums=1)(texts, G))
        np.testing.assert_array_equal(whole, np.all(np.asarray(texts.over).reshape(-1, G), axis=1).repeat(G))
        np.testing.assert_array_equal(answers.mask.any(axis=1), whole)
        np.testing.assert_array_equal(np.all(texts.key == before.key, axis=1), ~free)
        number = np.sum(texts.answers.mask, axis=1)
        np.testing.assert_array_equal(number[free], 1)
        waiting = np.asarray(before.over) & ~free
        np.testing.assert_array_equal(number[waiting], np.sum(before.answers.mask, axis=1)[waiting])
        np.testing.assert_array_equal(
            number[~waiting & ~free], np.sum(before.answers.mask, axis=1)[~waiting & ~free] + 1
        )
        seen.append((free.sum(), waiting.sum(), whole.sum()))
    assert seen[0][0] == NUM_PROMPTS * G and seen[2][2] > 0 and any(waiting for _, waiting, _ in seen)
