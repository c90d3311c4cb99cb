"""Reward models find the rewards that preferences were made by, and read them at the last token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.language.answers import draw
from purerl.algorithms.language.comparisons import proxy
from purerl.algorithms.language.reward_model import (
    RewardModelConfig,
    RewardModelHypers,
    frozen_reward,
    judges_of,
    loss_of,
    pairs_in_order,
    reward_model,
)
from purerl.algorithms.language.scalars import ScalarModel
from purerl.kernels.language import preferences, rewards
from purerl.update import mean_gradient
from tests.conformance.cases.language import CASES
from tests.support.bigram import bigram_model
from tests.support.tabular_scalars import NUM_TEXTS, answers_of, table_head, text_model
from tests.support.tabular_task import table_task
from tests.support.tiny_language import NUM_PREFIXES, NUM_SEQUENCES, setting

UNIFORM = np.zeros((NUM_PREFIXES, 3))


def grouped(chosen):
    """Texts by number, ``[B, K]``, as answers of B prompts."""
    return jax.tree.map(lambda x: x.reshape(*chosen.shape, *x.shape[1:]), answers_of(chosen.ravel()))


@pytest.mark.covers("rm", "bt")
@pytest.mark.parametrize(("loss", "num_micro_batches"), [("pairs", 1), ("plackett-luce", 3)])
@pytest.mark.parametrize("num_answers", [2, 3])
def test_gradient_is_that_of_the_preferences_likelihood(loss, num_answers, num_micro_batches):
    """Of a table with a number for each text, on 60 rankings, in any split; for two answers both losses are the pairs';
    unfinished texts get nothing."""
    rng = np.random.default_rng(0)
    chosen, numbers = rng.integers(NUM_SEQUENCES, size=(60, num_answers)), rng.normal(size=NUM_TEXTS)
    config = RewardModelConfig(loss=loss, num_answers=num_answers)
    scalar = ScalarModel(text_model(UNIFORM), table_head())
    params = {"trunk": UNIFORM.astype(np.float32), "head": numbers.astype(np.float32)}
    batch = grouped(chosen)

    def likelihood(numbers):
        reward = numbers[NUM_PREFIXES + chosen]
        if num_answers == 2:
            return jnp.mean(preferences.pair_loss(reward[:, 0], reward[:, 1]))
        of_ranking = {"pairs": preferences.k_wise_loss, "plackett-luce": preferences.plackett_luce_loss}[loss]
        return jnp.mean(of_ranking(reward))

    @jax.jit
    def both(params):
        found = mean_gradient(loss_of(scalar, config), params, batch, num_micro_batches)
        return found, jax.value_and_grad(likelihood)(params["head"])

    (grads, metrics), (value, exact) = both(params)
    np.testing.assert_allclose(grads["head"], exact, atol=1e-6)
    assert not np.any(grads["head"][:NUM_PREFIXES])
    assert metrics["loss"].total / metrics["loss"].number == pytest.approx(float(value), rel=1e-5)


@pytest.mark.covers("rm", "bt", "rm-ensemble")
def test_it_recovers_the_rewards_up_to_a_constant():
    """Both members say R / noise + c of every text, to .15, and rank all that they are evaluated on."""
    reward, noise = setting().reward, 0.8
    config = RewardModelConfig(num_members=2, batch_size=1024, num_answers=4, loss="plackett-luce")
    algorithm = reward_model(table_task(reward), config, text_model(UNIFORM), head=table_head())
    hypers = RewardModelHypers(noise=noise)

    @jax.jit
    def run(key):
        def step(state, inputs):
            rate, key = inputs
            return algorithm.update(hypers.replace(learning_rate=rate), state, key)

        rates = jnp.repeat(jnp.array([0.1, 0.01, 0.002]), jnp.array([4, 6, 8]), total_repeat_length=18)
        state, _ = jax.lax.scan(step, algorithm.init(hypers, key), (rates, jax.random.split(key, 18)))
        return state.params["head"], algorithm.spec.evaluate(hypers, state, key, 100).returns

    found, right = run(jax.random.key(0))
    found, truth = np.asarray(found)[:, NUM_PREFIXES:], reward / noise
    np.testing.assert_allclose(
        found - found.mean(axis=1, keepdims=True), np.stack([truth - truth.mean()] * 2), atol=0.15
    )
    assert np.any(found[0] != found[1]) and np.mean(right) > 0.98


@pytest.mark.covers("rm-ensemble")
def test_members_learn_from_their_judges_and_a_frozen_ensemble_says_what_they_do():
    """Member k from judge k, once more from the first after the last; min <= mean <= max of an ensemble; one program
    that was given the parameters says what the run's members said."""
    task, case = envs.make("overrated"), CASES["reward-model"]
    model = bigram_model(len(task.vocab))
    state = jax.jit(case.make().init)(case.hypers, jax.random.key(0))
    reward = frozen_reward(task, state.params, case.config, model)

    @jax.jit
    def said(key):
        writer = model.policy(state.params["trunk"][0])
        answers = draw(task, writer, key, 8)
        judge = judges_of(task, RewardModelConfig(judge="proxy", num_members=4))
        return (
            reward(answers),
            proxy(task, answers),
            jnp.stack([judge(jnp.int32(i), answers) for i in range(4)], axis=1),
        )

    members, judges, of_members = said(jax.random.key(1))
    assert members.shape == (8, case.config.num_members) and len(np.unique(np.asarray(members))) > 2
    np.testing.assert_array_equal(of_members, np.asarray(judges)[:, [0, 1, 2, 0]])
    least, mean = jax.jit(lambda x: (rewards.ensemble_min(x), rewards.ensemble_mean(x)))(members)
    assert np.all(np.asarray(least) <= np.asarray(mean)) and len(reward.fingerprint) == 64
    with pytest.raises(ValueError, match=r"RewardModelConfig.judge = 'proxy': the task addition has no judges"):
        reward_model(envs.make("addition"), RewardModelConfig(judge="proxy"))


def test_share_of_pairs_in_order():
    """1 in order, 0 the other way round, 1/2 where all are told alike; pairs that are equal in truth do not count."""
    truth = jnp.array([3.0, 2.0, 2.0, 1.0])
    told = jnp.array([[4.0, 2.0, 3.0, 1.0], [1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0], [4.0, 3.0, 0.0, 1.0]])
    each = jax.jit(jax.vmap(pairs_in_order, (0, None)))(told, truth)
    np.testing.assert_allclose(each, [1, 0, 0.5, 0.8], rtol=1e-6)
    assert jax.jit(pairs_in_order)(told[0], jnp.zeros(4)) == 1
