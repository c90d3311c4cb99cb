"""Process reward models arrive at the values of prefixes, and rewards of steps leave the policy gradient as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.language.answers import score_answers
from purerl.algorithms.language.process_reward import (
    ProcessRewardConfig,
    ProcessRewardHypers,
    answer_score,
    frozen_judge,
    process_reward,
)
from purerl.algorithms.language.scalars import ScalarModel
from purerl.kernels.language import sequences
from purerl.kernels.surrogates import policy_gradient
from purerl.language import enumeration
from tests.support.tabular_scalars import NUM_TEXTS, answers_of, sixty_fourths, table_head, text_model
from tests.support.tabular_task import table_model, table_task
from tests.support.tiny_language import NUM_PREFIXES, NUM_SEQUENCES, SEQUENCES, exact_gradient

OUTCOME = np.random.default_rng(1).uniform(0.1, 0.9, size=NUM_SEQUENCES)
LOGITS, CHOSEN = sixty_fourths()


def exact_values() -> np.ndarray:
    """Of every unfinished prefix the value, of every text its outcome."""
    values = jax.jit(lambda: enumeration.prefix_values(SEQUENCES, jnp.asarray(LOGITS), jnp.asarray(OUTCOME)))
    return np.concatenate([values(), OUTCOME])


@pytest.mark.covers("prm", "orm", "prm-data", "best-of-n")
@pytest.mark.parametrize("labels", ["answer", "tree"])
def test_it_arrives_at_the_values_of_prefixes(labels):
    """A table with a number for each text says the value of every prefix, to .03; an outcome model the outcome of
    texts, and nothing of prefixes. The best of four by it is better than one draw, as the law says."""
    config = ProcessRewardConfig(
        labels=labels, batch_size=256, num_answers=2, num_rollouts=1, num_candidates=4, num_gradient_steps=4
    )
    algorithm = process_reward(table_task(OUTCOME), config, text_model(LOGITS), head=table_head())
    hypers = ProcessRewardHypers(max_grad_norm=jnp.inf)

    @jax.jit
    def run(key):
        def step(state, inputs):
            rate, key = inputs
            return algorithm.update(hypers.replace(learning_rate=rate), state, key)

        rates = jnp.repeat(jnp.array([0.1, 0.01, 0.002]), jnp.array([5, 10, 15]), total_repeat_length=30)
        init_key, update_key, evaluate_key = jax.random.split(key, 3)
        start = algorithm.init(hypers, init_key)
        state, metrics = jax.lax.scan(step, start, (rates, jax.random.split(update_key, 30)))
        best = algorithm.spec.evaluate(hypers, state, evaluate_key, 4000).returns
        return jax.nn.sigmoid(state.params["head"]), metrics, jnp.mean(best)

    with jax.debug_key_reuse(True):  # no key is used twice
        found, metrics, best = jax.tree.map(np.asarray, run(jax.random.key(0)))
    truth = exact_values()
    learnt = np.arange(NUM_TEXTS) >= (NUM_PREFIXES if labels == "answer" else 0)
    np.testing.assert_allclose(found[learnt], truth[learnt], atol=0.03)
    assert np.all(found[~learnt] == 0.5)
    assert best > truth[0] + 0.1
    returns = metrics["episode_return"]
    assert np.sum(returns.total) / np.sum(returns.number) == pytest.approx(truth[0], abs=0.01)
    assert metrics["squared_error"][-1] < 0.1


@pytest.mark.covers("prm", "shaping", "baseline")
def test_rewards_of_steps_leave_the_policy_gradient_as_it_is():
    """Of any model whatever: with them to go, a policy's gradient over all its texts is that of the model's judgement
    of the whole; of the exact model, that of the outcome, with less noise than with the outcome alone."""
    answers, model, task = answers_of(CHOSEN), table_model(LOGITS), table_task(OUTCOME)
    exact = np.log(exact_values() / (1 - exact_values()))
    untrained = np.random.default_rng(0).normal(size=NUM_TEXTS)

    def each(numbers, dense):
        params = {"trunk": np.asarray(LOGITS, np.float32), "head": np.asarray(numbers, np.float32)}
        judge = frozen_judge(task, params, model=text_model(LOGITS), head=table_head())

        mask = answers.mask.T
        rewards = judge.steps(answers) if dense else sequences.at_last(judge(answers), mask)

        def losses(table):
            log_prob = score_answers(model.policy(table), answers).log_prob
            return sequences.total(policy_gradient(log_prob, sequences.to_go(rewards, mask)), mask)

        return jax.jacobian(losses)(jnp.asarray(LOGITS, jnp.float32)), judge(answers)

    kinds = [(i, dense) for i in range(2) for dense in (True, False)]
    numbers = untrained, exact
    found = jax.jit(lambda: [each(numbers[i], dense) for i, dense in kinds])()
    worth = [1 / (1 + np.exp(-x[NUM_PREFIXES:])) for x in numbers]
    truths = [exact_gradient(LOGITS, x) for x in worth]
    spread = []
    for (i, _), (jacobian, said) in zip(kinds, jax.tree.map(np.asarray, found), strict=True):
        np.testing.assert_allclose(said, worth[i][CHOSEN], atol=1e-6)
        np.testing.assert_allclose(jacobian.mean(axis=0), truths[i], atol=1e-6)
        spread.append(np.square(jacobian - truths[i]).sum(axis=(1, 2)).mean())
    assert spread[2] < spread[3]


def test_an_answer_is_judged_by_its_last_chance_its_least_or_their_product():
    """Over its tokens, and not over the prompt."""
    numbers = np.random.default_rng(0).normal(size=NUM_TEXTS)
    params = {"trunk": jnp.asarray(LOGITS, jnp.float32), "head": jnp.asarray(numbers, jnp.float32)}
    scalar, answers = ScalarModel(text_model(LOGITS), table_head()), answers_of(np.arange(NUM_SEQUENCES))
    told = jax.jit(lambda: {how: answer_score(scalar, params, how, answers) for how in ("last", "least", "product")})()
    chance = 1 / (1 + np.exp(-numbers))
    for y in range(NUM_SEQUENCES):
        steps = chance[[*SEQUENCES.prefix[1:, y][SEQUENCES.mask[1:, y]], NUM_PREFIXES + y]]
        for how, expected in (("last", steps[-1]), ("least", steps.min()), ("product", steps.prod())):
            np.testing.assert_allclose(told[how][y], np.log(expected), rtol=1e-5)


@pytest.mark.parametrize(
    ("task", "config", "message"),
    [
        ("addition", {"labels": "steps"}, "the task addition does not say which steps are correct"),
        ("addition", {"stop_after": 3}, "stop_after = 3: answers to addition have at most 3 tokens"),
        ("wordy_addition", {}, "the 2 rewards of wordy_addition are too many"),
        ("addition", {"labels": "answer", "stop_after": 1}, "says nothing of prefixes: stop_after = 1 must be 0"),
    ],
    ids=["steps", "stop", "rewards", "prefixes"],
)
def test_what_does_not_fit_is_refused(task, config, message):
    """By the name of what does not."""
    with pytest.raises(ValueError, match=message):
        process_reward(envs.make(task), ProcessRewardConfig(**config))
