"""Labels of prefixes: continuations begin as they should and end as the policy would have them; trees have no bias."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.language.answers import demonstrate, reward
from purerl.algorithms.language.process_labels import (
    Rollouts,
    go_on,
    labels_of,
    prefixes,
    rollout_labels,
    tree_labels,
    with_prompt,
)
from tests.support.tabular_scalars import answers_of, text_model
from tests.support.tabular_task import index, table_task
from tests.support.tiny_language import MAX_TOKENS, NUM_SEQUENCES, SEQUENCES, sequence_of, setting

LENGTHS = SEQUENCES.mask.sum(axis=0)
OUTCOME = np.random.default_rng(1).uniform(size=NUM_SEQUENCES)


def begins_alike(t: int, y: int) -> np.ndarray:
    """Which texts begin with the first t tokens of text y, ``[Y]``; if it has so many."""
    return np.all(SEQUENCES.tokens[:t] == SEQUENCES.tokens[:t, [y]], axis=0) & (t <= LENGTHS)


def values(logits: np.ndarray) -> np.ndarray:
    """Value of the first t tokens of every text, ``[1 + T, Y]``, summed over texts; NaN after the end."""
    law = np.exp(np.asarray(sequence_of(logits)))
    table = np.full((1 + MAX_TOKENS, NUM_SEQUENCES), np.nan)
    for t, y in itertools.product(range(1 + MAX_TOKENS), range(NUM_SEQUENCES)):
        if LENGTHS[y] >= t:
            alike = begins_alike(t, y)
            table[t, y] = law[alike] @ OUTCOME[alike] / law[alike].sum()
    return table


def all_trees(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every text with every rollout of each of its prefixes: texts ``[M]``, rollouts ``[T, M]``, the text itself where
    it is over, and the chance of all of it, ``[M]``."""
    law, trees = np.exp(np.asarray(sequence_of(logits))), []
    for y in range(NUM_SEQUENCES):
        choices = [np.flatnonzero(begins_alike(t, y)) if LENGTHS[y] > t else [y] for t in range(MAX_TOKENS)]
        for rollouts in itertools.product(*choices):
            chance = law[y]
            for t, other in enumerate(rollouts):
                chance *= law[other] / law[begins_alike(t, y)].sum() if LENGTHS[y] > t else 1
            trees.append((y, rollouts, chance))
    texts, rollouts, chance = zip(*trees, strict=True)
    return np.array(texts), np.array(rollouts).T, np.array(chance)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("prm", "prm-data")
def test_labels_of_rollouts_and_of_trees_are_unbiased_and_trees_are_less_noisy():
    """Over all texts and all rollouts of their prefixes, weighed by their chances, both mean the values of prefixes."""
    logits = setting().policy
    texts, others, chance = all_trees(logits)
    rollouts = Rollouts(
        *(jnp.asarray(x[..., None]) for x in (SEQUENCES.tokens[:, others], SEQUENCES.mask[:, others], OUTCOME[others]))
    )
    answers, right = answers_of(texts), jnp.asarray(OUTCOME[texts])
    both = {
        "tree": jax.jit(lambda: tree_labels(answers, right, rollouts, 1))(),
        "rollouts": jax.jit(lambda: rollout_labels(right, rollouts.outcome, with_prompt(answers).mask.T))(),
    }
    np.testing.assert_allclose(chance.sum(), 1, rtol=1e-12)
    truth, spread = values(logits), {}
    for name, label in both.items():
        label, noise = np.asarray(label), 0.0
        for t, y in zip(*np.nonzero(np.isfinite(truth)), strict=True):
            of_prefix = np.isin(texts, np.flatnonzero(begins_alike(t, y)))
            weight = chance[of_prefix] / chance[of_prefix].sum()
            np.testing.assert_allclose(weight @ label[t, of_prefix], truth[t, y], atol=1e-12)
            noise += weight @ np.square(label[t, of_prefix] - truth[t, y])
        spread[name] = noise
        assert not np.any(label[~np.pad(SEQUENCES.mask[:, texts], ((1, 0), (0, 0)), constant_values=True)])
    assert spread["tree"] < 0.6 * spread["rollouts"]


@pytest.mark.covers("prm-data", "partial-rollout")
def test_rollouts_begin_with_their_prefix_and_end_as_the_policy_would():
    """1000 from each prefix of every text: finished texts, of the limited length, whose mean outcome is the prefix's
    value; of finished prefixes the text itself."""
    logits, number = setting().policy, 1000
    task = table_task(OUTCOME)
    answers = answers_of(np.arange(NUM_SEQUENCES))

    @jax.jit
    def drawn(key):
        found = go_on(task, text_model(logits).policy(jnp.asarray(logits, float)), answers, key, number)
        return found, index(found.tokens.reshape(MAX_TOKENS, -1), found.mask.reshape(MAX_TOKENS, -1))

    found, texts = jax.tree.map(np.asarray, drawn(jax.random.key(0)))
    texts, truth = texts.reshape(MAX_TOKENS, NUM_SEQUENCES, number), values(logits)
    for t, y in itertools.product(range(MAX_TOKENS), range(NUM_SEQUENCES)):
        if LENGTHS[y] <= t:
            assert np.all(texts[t, y] == y)
            continue
        assert np.all(begins_alike(t, y)[texts[t, y]])
        tokens, mask = SEQUENCES.tokens[:, texts[t, y]], SEQUENCES.mask[:, texts[t, y]]
        np.testing.assert_array_equal(found.mask[:, t, y], mask)
        np.testing.assert_array_equal(np.where(mask, found.tokens[:, t, y], 0), tokens)
        np.testing.assert_allclose(found.outcome[t, y], OUTCOME[texts[t, y]], rtol=1e-6)
        assert abs(found.outcome[t, y].mean() - truth[t, y]) < 4.5 * 0.5 / np.sqrt(number)


def test_prefixes_are_prompts():
    """Each is the prompt with the first tokens of the answer behind it, and what the reward must know."""
    task = envs.make("addition")
    answers = demonstrate(task, jax.random.key(0), 5)
    padded = answers.prompts._replace(
        **{name: jnp.pad(getattr(answers.prompts, name), ((0, 0), (2, 0))) for name in ("ids", "mask")}
    )
    found = jax.jit(lambda: prefixes(answers._replace(prompts=padded)))()
    ids, mask = np.asarray(found.ids), np.asarray(found.mask)
    for row in range(5 * task.max_tokens):
        t, i = divmod(row, 5)
        own = np.asarray(answers.tokens[i])[np.asarray(answers.mask[i])]
        np.testing.assert_array_equal(ids[row, mask[row]], [*np.asarray(answers.prompts.ids[i]), *own[:t]])
        assert mask[row, -1] == (len(own) >= t) and found.info[row] == answers.prompts.info[i]


@pytest.mark.covers("orm", "prm-data")
def test_outcomes_and_steps():
    """An outcome model learns from last tokens alone; marks of steps are the task's, and none is of the prompt."""
    task = envs.make("running_sums")
    answers = demonstrate(task, jax.random.key(0), 6)
    wrong = answers._replace(tokens=answers.tokens.at[::2, 1].set((answers.tokens[::2, 1] + 1) % 10))

    @jax.jit
    def told(key):
        return {kind: labels_of(kind, task, (), wrong, key, 1, 1) for kind in ("answer", "outcome", "steps")}

    found = jax.tree.map(np.asarray, told(jax.random.key(1)))
    right = np.asarray(reward(task, wrong))
    np.testing.assert_array_equal(found["outcome"][0], np.broadcast_to(right, (5, 6)))
    np.testing.assert_array_equal(found["answer"][0], found["outcome"][0])
    assert np.all(found["outcome"][1]) and np.all(found["answer"][1] == (np.arange(5) == 4)[:, None])
    steps, counts = found["steps"]
    assert not np.any(counts[0]) and np.all(counts[1:])
    expected = np.ones((4, 6))
    expected[1:3, ::2] = 0  # the wrong digit, and the right one after it, which does not follow from it
    np.testing.assert_array_equal(steps[1:], expected)
