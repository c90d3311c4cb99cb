"""Mirror descent: where its residual is 0, what its gradient is, where updates arrive, also with partial texts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.language.answers import Answers
from purerl.algorithms.language.mirror_descent import (
    Judged,
    MirrorDescentConfig,
    MirrorDescentHypers,
    judge,
    loss_of,
    mirror_descent,
)
from purerl.kernels.language import kl
from purerl.language import enumeration
from tests.support.tabular_language import begin
from tests.support.tabular_task import table_model, table_task
from tests.support.tiny_language import NUM_SEQUENCES, SEQUENCES, setting

TAU = 0.8


def judged_texts(old: jax.Array, reward: jax.Array, baseline: jax.Array) -> Judged:
    """Every text once, as written by a policy."""
    log_prob = enumeration.token_log_probs(SEQUENCES, old)
    tokens, mask = jnp.asarray(SEQUENCES.tokens.T), jnp.asarray(SEQUENCES.mask.T)
    answers = Answers(begin(NUM_SEQUENCES), tokens, mask, log_prob.T, None, mask[:, -1])
    return Judged(answers, jnp.asarray(reward), jnp.full(NUM_SEQUENCES, baseline))


def each(old, reward, baseline):
    """Losses of all texts, each alone: ``logits -> [Y]``."""
    loss, texts = loss_of(table_model(), TAU), judged_texts(old, reward, baseline)

    def of_one(logits, text):
        return loss(logits, jax.tree.map(lambda x: x[None], text))[0].total

    return jax.jit(lambda logits: jax.vmap(functools.partial(of_one, logits))(texts))


def optimum(old: jax.Array, reward: jax.Array, tau: float) -> jax.Array:
    """``log pi_old exp(R / tau) / Z``, ``[Y]``."""
    return kl.optimum(enumeration.log_probs(SEQUENCES, old), jnp.asarray(reward), tau)


@pytest.mark.covers("kimi-md", "kl-opt")
def test_residual_is_zero_for_every_answer_at_the_closed_form_and_nowhere_else(x64):
    """At pi_old exp(R / tau) / Z with the exact tau log Z; at the old policy it is (R - tau log Z)^2 / (2 tau)."""
    s = setting()
    value = kl.optimal_value(enumeration.log_probs(SEQUENCES, s.policy), s.reward, TAU)
    losses = each(jnp.asarray(s.policy), s.reward, value)
    best = enumeration.logits_of(SEQUENCES, optimum(s.policy, s.reward, TAU))
    np.testing.assert_allclose(losses(best), 0, atol=1e-25)
    np.testing.assert_allclose(losses(jnp.asarray(s.policy)), (s.reward - value) ** 2 / (2 * TAU), rtol=1e-10)


@pytest.mark.covers("kimi-md", "pg", "reinforce")
def test_gradient_at_the_old_policy_is_reinforce_whatever_the_baseline(x64):
    """Over all texts, by their chance: minus that of E[R], exactly."""
    s = setting()
    chance = np.exp(enumeration.log_probs(SEQUENCES, s.policy))
    for baseline in (0.0, 0.37):
        gradient = ascent(s, chance, baseline)
        np.testing.assert_allclose(
            -gradient, enumeration.policy_gradient(SEQUENCES, s.policy, s.reward), rtol=0, atol=1e-14
        )


def ascent(s, chance, baseline):
    losses = each(jnp.asarray(s.policy), s.reward, baseline)
    return jax.jit(jax.grad(lambda logits: chance @ losses(logits)))(jnp.asarray(s.policy))


def after_updates(num_updates, task, config, hypers, logits=None):
    """Metrics of every update, and the state after them."""
    algorithm = mirror_descent(task, config, table_model(logits))
    start = jax.jit(algorithm.init)(hypers, jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), num_updates)
    return jax.jit(lambda: jax.lax.scan(lambda state, key: algorithm.update(hypers, state, key), start, keys))()


def distance(logits: jax.Array, log_prob: jax.Array) -> float:
    """Total variation between a table's texts and a law ``[Y]``."""
    learnt = np.exp(np.asarray(enumeration.log_probs(SEQUENCES, logits)))
    return float(np.abs(learnt - np.exp(np.asarray(log_prob))).sum() / 2)


@pytest.mark.covers("kimi-md", "kl-opt")
def test_updates_arrive_at_the_closed_form():
    """Two of many gradient steps each: pi_0 exp(2 R / tau) / Z to .03 in total variation; the mean reward that is then
    measured is its own."""
    s = setting()
    config = MirrorDescentConfig(num_prompts=1, num_samples=4096, num_epochs=60, num_minibatches=2)
    hypers = MirrorDescentHypers(learning_rate=0.03, tau=2.0, max_grad_norm=jnp.inf)
    state, metrics = after_updates(2, table_task(reward=s.reward), config, hypers, s.policy)
    expected = optimum(jnp.asarray(s.policy), s.reward, 1.0)
    assert distance(state.params, expected) < 0.03 < 0.15 < distance(jnp.asarray(s.policy), expected)
    once = np.exp(optimum(jnp.asarray(s.policy), s.reward, 2.0)) @ s.reward
    assert metrics["episode_return"].total[1] / 4096 == pytest.approx(once, abs=0.08)


@pytest.mark.covers("partial-rollout", "kimi-md")
def test_partial_texts_of_a_frozen_policy_have_ratio_one_and_the_law_of_whole_ones():
    """With learning rate 0, a token an update: no divergence from who wrote, ages up to 2, every prompt as often as any
    other, and the mean reward is that of the policy, enumerated."""
    s = setting()
    config = MirrorDescentConfig(
        num_prompts=128, num_samples=2, num_epochs=1, num_minibatches=1, tokens_per_update=1, baseline="mean"
    )
    hypers = MirrorDescentHypers(learning_rate=0.0)
    state, metrics = after_updates(60, table_task(reward=s.reward), config, hypers, s.policy)
    np.testing.assert_array_equal(state.params, jnp.asarray(s.policy, jnp.float32))
    np.testing.assert_allclose(metrics["mismatch_kl"].total, 0, atol=1e-10)
    chance = np.exp(enumeration.log_probs(SEQUENCES, s.policy))
    number = metrics["episode_return"].number.sum()
    measured = metrics["episode_return"].total.sum() / number
    deviation = np.sqrt(chance @ (s.reward - chance @ s.reward) ** 2 / number)
    assert abs(measured - chance @ s.reward) < 4 * deviation
    assert 0 < metrics["token_age"].total.sum() / metrics["token_age"].number.sum() < 2
    assert metrics["share_ended"][0] < 1 and number > 2000


@pytest.mark.covers("partial-rollout")
def test_partial_texts_of_changing_policies_arrive_where_whole_ones_do():
    """The best text gets all the probability, with a token an update, from ratios against who wrote each token."""
    s = setting()
    config = MirrorDescentConfig(
        num_prompts=32, num_samples=4, num_epochs=1, num_minibatches=1, tokens_per_update=1, baseline="mean"
    )
    hypers = MirrorDescentHypers(learning_rate=0.02, tau=0.5)
    state, metrics = after_updates(300, table_task(reward=s.reward), config, hypers, s.policy)
    chance = np.exp(enumeration.log_probs(SEQUENCES, state.params))
    assert chance[s.reward.argmax()] > 0.9
    assert np.max(metrics["mismatch_kl"].total / metrics["mismatch_kl"].number) > 1e-4


@pytest.mark.covers("partial-rollout")
def test_without_an_ended_group_nothing_moves():
    """Not even by momentum: with one token an update of texts that never stop, two updates in three."""
    config = MirrorDescentConfig(num_prompts=2, num_samples=2, num_epochs=1, num_minibatches=1, tokens_per_update=1)
    never = jnp.zeros((7, 3)).at[:, 2].set(-99.0)
    algorithm = mirror_descent(table_task(reward=np.arange(15.0)), config, table_model(never))
    update, hypers = jax.jit(algorithm.update), MirrorDescentHypers(learning_rate=0.1)
    state, moved = algorithm.init(hypers, jax.random.key(0)), []
    for i in range(6):
        before = state
        state, _ = update(hypers, state, jax.random.key(i))
        moved.append(
            any(
                np.any(x != y)
                for x, y in zip(*map(jax.tree.leaves, ((x.params, x.opt_state) for x in (before, state))), strict=True)
            )
        )
    assert moved == [False, False, True] * 2


@pytest.mark.covers("len-penalty", "kimi-md")
def test_short_answers_get_their_reward_and_groups_their_baselines():
    """Relative lengths within the group, which wrong answers cannot gain by, or a price a token; then tau log Z, or the
    mean, of what results."""
    task, hypers = table_task(reward=np.arange(15.0)), MirrorDescentHypers(length_weight=0.5, pass_mark=8.0, tau=TAU)
    texts = judged_texts(jnp.asarray(setting().policy), np.zeros(15), 0).answers
    chosen = jax.tree.map(lambda x: x[np.array([0, 3, 14, 13, 9, 1])], texts)
    length, right = np.array([1, 3, 3, 3, 3, 2.0]), np.array([0, 3, 14, 13, 9, 1]) > 8
    np.testing.assert_array_equal(chosen.mask.sum(axis=1), length)
    plain = np.array([0, 3, 14, 13, 9, 1.0])

    def judged(length_reward, baseline):
        config = MirrorDescentConfig(num_prompts=2, num_samples=3, length_reward=length_reward, baseline=baseline)
        return judge(task, config, hypers, chosen)

    place = np.array([0.5, -0.5, -0.5, -0.5, -0.5, 0.5])
    relative = plain + 0.5 * np.where(right, place, np.minimum(place, 0))
    for length_reward, expected in (("none", plain), ("relative", relative), ("token", plain - 0.5 * length)):
        result, metrics = judged(length_reward, "mean")
        np.testing.assert_allclose(result.reward, expected, rtol=1e-6)
        np.testing.assert_allclose(result.baseline, expected.reshape(2, 3).mean(axis=1).repeat(3), rtol=1e-6)
        assert metrics["episode_return"].total == plain.sum() and metrics["answer_length"].total == length.sum()
        result, _ = judged(length_reward, "log_partition")
        exact = TAU * np.log(np.mean(np.exp(expected.reshape(2, 3) / TAU), axis=1))
        np.testing.assert_allclose(result.baseline, exact.repeat(3), rtol=1e-6)


def test_only_tasks_with_answers_can_be_warmed_up_on():
    """Without a base, by name."""
    task = envs.make("addition")._replace(answer=None)
    with pytest.raises(ValueError, match="Mirror descent imitates demonstrations"):
        mirror_descent(task, MirrorDescentConfig(warm_up_steps=1))
