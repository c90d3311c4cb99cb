"""Tasks: which answers are right, and rewards from Python."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import recipes
from purerl.language import enumeration, tasks
from purerl.language.generate import generate
from purerl.nets.decoder import Decoder, DecoderConfig, DecoderPolicy

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


@pytest.mark.parametrize("make", [tasks.addition, tasks.two_plus_two])
def test_tasks_fit_generation(make):
    """Prompts go into the generator, and what comes out into the reward, in one program and for many seeds."""
    task = make()
    decoder = Decoder(DecoderConfig(vocab_size=len(task.vocab), size=16, num_layers=1))

    def run(key):
        prompts = task.draw(key, 3)
        params = decoder.init(key, prompts.ids, prompts.mask)
        text = generate(
            DecoderPolicy(decoder, params), prompts, key, max_tokens=task.max_tokens, stop_token=task.stop_token
        )
        return text, task.reward(prompts.info, text.tokens, text.mask)

    text, reward = jax.eval_shape(jax.vmap(run), jax.random.split(jax.random.key(0), 4))
    assert text.tokens.shape == (4, task.max_tokens, 3)
    assert (reward.shape, reward.dtype) == ((4, 3), jnp.float32)


@pytest.mark.parametrize("make", [tasks.addition, tasks.two_plus_two])
def test_tasks_say_how_they_were_made(make):
    """What a run writes down is enough to make its task again, unless a function of it was replaced."""
    task = make()
    again = recipes.make(recipes.plain(task))
    assert again[:5] == task[:5]
    assert recipes.recipe_of(task).factory is make
    assert recipes.recipe_of(task._replace(reward=tasks.python_reward(lambda info, tokens: 0.0))) is None


TOKENS = jnp.array([[1, 5], [2, 6], [3, 7]])
MASK = jnp.array([[True, True], [True, False], [True, False]])


@pytest.mark.covers("rlvr")
def test_a_python_function_judges_one_completion():
    """It gets what belongs to the prompt and the tokens that count; also inside programs, and under vmap."""

    def sum_is(info, tokens):
        assert type(tokens) is tuple
        return float(sum(tokens) == info["target"])

    reward = tasks.python_reward(sum_is)
    np.testing.assert_array_equal(jax.jit(reward)({"target": jnp.array([6, 18])}, TOKENS, MASK), [1, 0])
    many = {"target": jnp.array([[6, 18], [0, 5]])}
    np.testing.assert_array_equal(jax.vmap(reward, in_axes=(0, None, None))(many, TOKENS, MASK), [[1, 0], [0, 1]])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1, "type int"),
        (True, "type bool"),
        (np.int64(3), "type int64"),
        (None, "NoneType"),
        (np.nan, "nan"),
        (np.inf, "inf"),
    ],
)
def test_rewards_that_are_no_finite_floats_are_refused(value, words):
    """With the name of the function and what it returned."""

    def my_verifier(info, tokens):
        return value

    with pytest.raises(jax.errors.JaxRuntimeError, match=rf"my_verifier returned .*{words}"):
        jax.block_until_ready(tasks.python_reward(my_verifier)((), TOKENS, MASK))


def test_texts_are_encoded_and_unknown_tokens_named():
    """Back and forth; a token that is not in the vocabulary is an error."""
    ids = tasks.encode(tasks.ARITHMETIC, "12+7=.")
    assert tasks.decode(tasks.ARITHMETIC, np.array(ids)[:, None], np.ones((6, 1), bool)) == ["12+7=."]
    with pytest.raises(ValueError, match="'x'"):
        tasks.encode(tasks.ARITHMETIC, "2x2")
