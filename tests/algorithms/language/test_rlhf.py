"""RLHF arrives at the KL-regularised optimum, by rewards that add up and a gradient that enumeration knows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.language.answers import Answers
from purerl.algorithms.language.rlhf import (
    Batch,
    RLHFConfig,
    RLHFHypers,
    advantages,
    judge_of,
    policy_gradient,
    policy_loss_of,
    rlhf,
    token_rewards,
)
from purerl.algorithms.language.sft import loss_of as sft_loss_of
from purerl.kernels.language import kl, sequences
from purerl.types import Mean
from purerl.update import mean_gradient
from tests.support import tiny_language as tiny
from tests.support.tabular_scalars import answers_of, sixty_fourths, table_head, text_model
from tests.support.tabular_task import index, table_task
from tests.support.tiny_language import SEQUENCES, sequence_of, setting, tokens_of

MASK, BETA = SEQUENCES.mask, 0.4


# --- rewards and advantages -------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("rlhf-ppo", "k1")
def test_rewards_of_tokens_add_up_to_the_reward_less_the_penalty():
    """Of every text, to 1e-12: R - beta log(pi / ref). What was judged is on the last token, stop tokens included, and
    padding, whatever its log-ratio, gets nothing."""
    s = setting()
    log_ratio = np.where(MASK, tokens_of(s.policy) - tokens_of(s.ref), np.nan)
    reward = np.asarray(token_rewards(s.reward, log_ratio, MASK, BETA))
    expected = s.reward - BETA * (sequence_of(s.policy) - sequence_of(s.ref))
    np.testing.assert_allclose(reward.sum(axis=0), expected, atol=1e-12)
    assert not np.any(reward[~MASK])
    only_judged = np.asarray(token_rewards(s.reward, log_ratio, MASK, 0.0))
    np.testing.assert_array_equal(only_judged, np.where(sequences.is_last(MASK), s.reward, 0))


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("rlhf-ppo")
def test_advantages_are_monte_carlo_or_one_step():
    """Lambda = 1 is the reward to go less the value, lambda = 0 the TD error; the end of an answer bootstraps nothing,
    and the critic's target at lambda = 1 is the reward to go."""
    s, rng = setting(), np.random.default_rng(0)
    reward = token_rewards(s.reward, tokens_of(s.policy) - tokens_of(s.ref), MASK, BETA)
    value = jnp.where(MASK, rng.normal(size=MASK.shape), 0)
    to_go = sequences.to_go(reward, MASK)
    advantage, target = advantages(reward, value, MASK, 1.0, 1.0)
    np.testing.assert_allclose(advantage, to_go - value, atol=1e-12)
    np.testing.assert_allclose(target, to_go, atol=1e-12)
    following = np.append(value[1:], np.zeros((1, MASK.shape[1])), axis=0)
    one_step, _ = advantages(reward, value, MASK, 0.9, 0.0)
    np.testing.assert_allclose(one_step, np.where(MASK, reward + 0.9 * following - value, 0), atol=1e-12)


# --- gradients --------------------------------------------------------------------------------------------


def exact_batch(critic=True, demonstrations=False) -> tuple[jnp.ndarray, Batch]:
    """A policy, and its texts as often as they are: a mean over these 64 is an expectation. Advantages at lambda = 1
    less a random critic."""
    logits, chosen = sixty_fourths()
    s, rng = setting(), np.random.default_rng(1)
    answers = answers_of(chosen, tokens_of(logits))
    mask = MASK[:, chosen]
    log_ratio = (tokens_of(logits) - tokens_of(s.ref))[:, chosen]
    reward = token_rewards(s.reward[chosen], log_ratio, mask, BETA)
    value = np.where(mask, rng.normal(size=7)[SEQUENCES.prefix[:, chosen]], 0) * critic
    advantage, target = advantages(reward, jnp.asarray(value), mask, 1.0, 1.0)
    shown = answers_of(np.arange(64) % 5) if demonstrations else None
    return jnp.asarray(logits), Batch(answers, advantage.T, target.T, shown)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("rlhf-ppo", "kl-opt", "k1")
def test_first_step_follows_the_gradient_of_the_objective():
    """Of E[R] - beta KL(pi ; ref), enumerated, to 1e-12, with any critic; stop tokens have theirs."""
    s = setting()

    def objective(logits):
        return tiny.expectation(logits, s.reward) - BETA * tiny.divergence(logits, s.ref)

    @jax.jit
    def gradients(logits, batch):
        found = mean_gradient(policy_loss_of(text_model(logits), 0.2), logits, batch)
        return found, -jax.grad(objective)(logits)

    for critic in (False, True):
        (grads, metrics), exact = gradients(*exact_batch(critic))
        np.testing.assert_allclose(grads, exact, atol=1e-12)
        assert metrics["approximate_kl"].total == pytest.approx(0, abs=1e-20) and np.all(grads[:, tiny.STOP] != 0)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("ptx", "rlhf-ppo")
def test_ptx_adds_the_gradient_of_the_likelihood():
    """Any split into micro-batches, and three more columns of padding, give the sum of the two gradients, to 1e-12."""
    logits, batch = exact_batch(demonstrations=True)
    model, hypers = text_model(logits), RLHFHypers(ptx_coef=0.7)

    def padded(answers: Answers) -> Answers:
        longer = {name: jnp.pad(getattr(answers, name), ((0, 0), (0, 3))) for name in ("tokens", "mask", "log_prob")}
        return answers._replace(**longer)

    wide = Batch(
        padded(batch.answers),
        *(jnp.pad(x, ((0, 0), (0, 3)), constant_values=9.0) for x in (batch.advantage, batch.target)),
        padded(batch.demonstrations),
    )

    @jax.jit
    def gradients(logits):
        alone, _ = mean_gradient(policy_loss_of(model, hypers.clip_epsilon), logits, batch)
        shown, _ = mean_gradient(sft_loss_of(model, "token"), logits, batch.demonstrations)
        together = policy_gradient(model, RLHFConfig(ptx=True, num_micro_batches=4), hypers, logits, wide)
        return alone, shown, together

    alone, shown, (grads, metrics) = gradients(logits)
    np.testing.assert_allclose(grads, alone + 0.7 * shown, atol=1e-12)
    assert metrics["log_likelihood"].number == 64 and np.max(np.abs(shown)) > 0.01


# --- where it arrives -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arrived():
    """Runs with beta fixed, by a controller without gain, and adapted, side by side: states and metrics. The reward is
    the least of two, of which one is right and the other at times too high."""
    s = setting()
    fooled = s.reward + np.where(np.arange(len(s.reward)) % 3 == 0, 2.0, 0.0)
    table = jnp.asarray(np.stack([fooled, s.reward], axis=1), jnp.float32)

    def reward(answers):
        return table[index(answers.tokens.T, answers.mask.T)]

    config = RLHFConfig(
        batch_size=1024, num_epochs=2, num_minibatches=4, combine="min", adapt_beta=True, normalize_advantage=False
    )
    start = {"base": s.ref.astype(np.float32), "head": table_head()}
    algorithm = rlhf(table_task(s.reward), config, text_model(s.ref), reward=reward, **start)

    @jax.jit
    @jax.vmap
    def run(beta, kl_gain):
        hypers = RLHFHypers(beta=beta, target_kl=0.2, kl_gain=kl_gain, value_learning_rate=0.05, gae_lambda=0.9)

        def step(state, inputs):
            rate, key = inputs
            return algorithm.update(hypers.replace(learning_rate=rate), state, key)

        rates = jnp.repeat(jnp.array([0.05, 0.01]), 40)
        keys = jax.random.split(jax.random.key(1), len(rates))
        return jax.lax.scan(step, algorithm.init(hypers, jax.random.key(0)), (rates, keys))

    state, metrics = run(jnp.array([BETA, 3.0]), jnp.array([0.0, 0.25]))
    assert state.reference == ()
    metrics = {name: x.total / x.number if isinstance(x, Mean) else x for name, x in metrics.items()}
    return [jax.tree.map(lambda x: np.asarray(x)[i], (state, metrics)) for i in range(2)]  # noqa: B023


@pytest.mark.covers("rlhf-ppo", "kl-opt", "rm-ensemble")
def test_it_arrives_at_the_closed_form(arrived):
    """ref exp(R / beta) / Z in total variation to .02, of the least of an ensemble; the critic says beta log Z at the
    start, which is also what the objective is."""
    s, (state, metrics) = setting(), arrived[0]
    ref = sequence_of(s.ref)
    best, value = np.exp(kl.optimum(ref, s.reward, BETA)), float(kl.optimal_value(ref, s.reward, BETA))
    learnt = np.exp(sequence_of(state.params))
    assert np.abs(np.exp(ref) - best).sum() / 2 > 0.2
    assert np.abs(learnt - best).sum() / 2 < 0.02
    assert float(state.critic["head"][0]) == pytest.approx(value, abs=0.03)
    assert np.mean(metrics["objective"][-20:]) == pytest.approx(value, abs=0.02)
    assert np.mean(metrics["episode_return"][-20:]) == pytest.approx(best @ s.reward, abs=0.05)
    assert np.all(metrics["mismatch_kl"] < 1e-10)


@pytest.mark.covers("rlhf-ppo", "k1")
def test_controller_finds_the_beta_of_its_target(arrived):
    """KL(pi ; ref) comes to .2 within .03, whose beta is that of the frontier: the optimum of the beta that it settled
    on is as far from the reference."""
    s, (_, metrics) = setting(), arrived[1]
    assert np.mean(metrics["kl"][-20:]) == pytest.approx(0.2, abs=0.03)
    beta = float(np.mean(metrics["beta"][-20:]))
    ref = sequence_of(s.ref)
    best = np.asarray(kl.optimum(ref, s.reward, beta))
    assert np.exp(best) @ (best - ref) == pytest.approx(0.2, abs=0.04)
    assert beta != pytest.approx(3.0, rel=0.1)


# --- what is given ----------------------------------------------------------------------------------------


def test_judges_and_rewards_become_one_number():
    """The task's reward, or the least or mean of its judges; a reward that is given counts before both."""
    task, answers = envs.make("overrated"), None
    answers = answers_of(np.zeros(4, int))._replace(tokens=jnp.array([[0], [1], [5], [6]]), mask=jnp.ones((4, 1), bool))
    judges = task.proxy(answers.prompts.info, answers.tokens.T, answers.mask.T)

    def said(**settings):
        return judge_of(task, RLHFConfig(**settings))(answers)

    np.testing.assert_allclose(said(), task.reward((), answers.tokens.T, answers.mask.T))
    np.testing.assert_allclose(said(reward="proxy", combine="min"), np.min(judges, axis=1))
    np.testing.assert_allclose(said(reward="proxy", combine="mean"), np.mean(judges, axis=1), rtol=1e-6)
    given = judge_of(task, RLHFConfig(reward="proxy"), lambda answers: answers.tokens[:, :1] * jnp.ones((1, 2)))
    np.testing.assert_allclose(given(answers), [0, 2, 10, 12])


def test_what_a_task_lacks_is_refused():
    """No demonstrations to begin with, or no judges, by name."""
    task = envs.make("addition")
    with pytest.raises(ValueError, match=r"RLHFConfig.reward = 'proxy': the task addition has no judges"):
        rlhf(task, RLHFConfig(reward="proxy"))
    with pytest.raises(ValueError, match="the task addition has no right answers"):
        rlhf(task._replace(answer=None), RLHFConfig())
    record = rlhf(task, RLHFConfig(warm_up_steps=0), reward=judge_of(task, RLHFConfig())).spec.settings
    assert record["reward"] == "task" and record["given"] == {"reward": "judge"}
