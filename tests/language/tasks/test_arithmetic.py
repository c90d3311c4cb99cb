"""Sums: which answers are right, of all that can be written."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.language import enumeration, tasks

V = len(tasks.ARITHMETIC)


def every_completion():
    """All completions of a sum, up to three tokens: ``tokens, mask [T, Y]`` and their texts."""
    sequences = enumeration.all_sequences(V, 3, tasks.STOP)
    return sequences, tasks.decode(tasks.ARITHMETIC, sequences.tokens, sequences.mask)


@pytest.mark.covers("rlvr")
def test_exactly_one_completion_of_a_sum_is_right():
    """Of all texts that can be written, for all sums: no part of the answer, no more than it, no other order."""
    sequences, texts = every_completion()
    task = tasks.addition()
    judge = jax.jit(jax.vmap(task.reward, in_axes=(0, None, None)))
    totals = jnp.arange(19)[:, None].repeat(len(texts), axis=1)
    reward = judge(totals, sequences.tokens, sequences.mask)
    assert reward.dtype == jnp.float32
    for total, row in enumerate(np.asarray(reward)):
        assert set(row) == {0, 1}
        right = [text for text, r in zip(texts, row, strict=True) if r == 1]
        assert right == [str(total)[::-1] + "."]


def test_sums_are_drawn_as_they_are_written():
    """All hundred, about equally often; what the reward is told is the sum."""
    task = tasks.addition()
    prompts = task.draw(jax.random.key(0), 5000)
    assert prompts.ids.shape == (5000, task.prompt_length)
    assert np.all(prompts.mask)
    texts = tasks.decode(task.vocab, prompts.ids.T, prompts.mask.T)
    assert set(texts) == {f"{a}+{b}=" for a, b in itertools.product(range(10), repeat=2)}
    assert [eval(text[:-1]) for text in texts] == prompts.info.tolist()
    assert max(texts.count(text) for text in set(texts)) < 100


@pytest.mark.covers("two-plus-two")
def test_two_plus_two_is_four():
    """Of all tokens, one."""
    task = tasks.two_plus_two()
    prompts = task.draw(jax.random.key(0), V)
    assert tasks.decode(task.vocab, prompts.ids.T, prompts.mask.T) == ["2+2="] * V
    reward = task.reward(prompts.info, jnp.arange(V)[None], jnp.ones((1, V), bool))
    np.testing.assert_array_equal(reward, np.array(task.vocab) == "4")
