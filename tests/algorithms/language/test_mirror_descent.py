"""Mirror descent: where its residual is 0, what its gradient is, where updates arrive, also with partial texts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.language.mirror_descent import (
    Judged,
    MirrorDescentConfig,
    MirrorDescentHypers,
    judge,
    loss_of,
    mirror_descent,
)
from purerl.language import enumeration
from tests.support.tabular_scalars import answers_of
from tests.support.tabular_task import table_model, table_task
from tests.support.tiny_language import (
    NUM_SEQUENCES,
    SEQUENCES,
    exact_gradient,
    sequence_of,
    setting,
    tokens_of,
)

TAU = 0.8


def judged_texts(old: np.ndarray, reward: np.ndarray, baseline: float) -> Judged:
    """Every text once, as written by a policy."""
    answers = answers_of(np.arange(NUM_SEQUENCES), tokens_of(old))
    return Judged(answers, jnp.asarray(reward), jnp.asarray(np.full(NUM_SEQUENCES, baseline)))


def each(old, reward, baseline):
    """Losses of all texts, each alone: ``logits -> [Y]``."""
    loss, texts = loss_of(table_model(), TAU), judged_texts(old, reward, baseline)

    def of_one(logits, text):
        return loss(logits, jax.tree.map(lambda x: x[None], text))[0].total

    return jax.jit(lambda logits: jax.vmap(functools.partial(of_one, logits))(texts))


def optimum(old: np.ndarray, reward: np.ndarray, tau: float) -> tuple[np.ndarray, float]:
    """``log pi_old exp(R / tau) / Z``, ``[Y]``, and ``tau log Z``."""
    logits = sequence_of(old) + reward / tau
    partition = np.log(np.exp(logits).sum())
    return logits - partition, tau * partition


@pytest.mark.covers("kimi-md", "kl-opt")
def test_residual_is_zero_for_every_answer_at_the_closed_form_and_nowhere_else(x64):
    """At pi_old exp(R / tau) / Z with the exact tau log Z; at the old policy it is (R - tau log Z)^2 / (2 tau)."""
    s = setting()
    law, value = optimum(s.policy, s.reward, TAU)
    losses = each(s.policy, s.reward, value)
    best = jax.jit(lambda: enumeration.logits_of(SEQUENCES, jnp.asarray(law)))()
    np.testing.assert_allclose(losses(best), 0, atol=1e-25)
    np.testing.assert_allclose(losses(jnp.asarray(s.policy)), (s.reward - value) ** 2 / (2 * TAU), rtol=1e-10)


@pytest.mark.covers("kimi-md", "pg", "reinforce")
def test_gradient_at_the_old_policy_is_reinforce_whatever_the_baseline(x64):
    """Over all texts, by their chance: minus that of E[R], exactly."""
    s = setting()
    chance, exact = np.exp(sequence_of(s.policy)), exact_gradient(s.policy, s.reward)
    losses = [each(s.policy, s.reward, baseline) for baseline in (0.0, 0.37)]
    gradients = jax.jit(lambda logits: [jax.grad(lambda x: chance @ of(x))(logits) for of in losses])  # noqa: B023
    for gradient in gradients(jnp.asarray(s.policy)):
        np.testing.assert_allclose(-gradient, exact, rtol=0, atol=1e-14)


def distance(logits: jax.Array, log_prob: np.ndarray) -> float:
    """Total variation between a table's texts and a law ``[Y]``."""
    return float(np.abs(np.exp(sequence_of(logits)) - np.exp(log_prob)).sum() / 2)


@pytest.mark.covers("kimi-md", "kl-opt")
def test_updates_arrive_at_the_closed_form():
    """Two of many gradient steps each: pi_0 exp(2 R / tau) / Z to .03 in total variation; the mean reward that is then
    measured is its own."""
    s = setting()
    config = MirrorDescentConfig(num_prompts=1, num_samples=4096, num_epochs=60, num_minibatches=2)
    hypers = MirrorDescentHypers(learning_rate=0.03, tau=2.0, max_grad_norm=float("inf"))
    algorithm = mirror_descent(table_task(reward=s.reward), config, table_model(s.policy))

    @jax.jit
    def run(keys):
        return jax.lax.scan(functools.partial(algorithm.update, hypers), algorithm.init(hypers, keys[0]), keys)

    state, metrics = run(jax.random.split(jax.random.key(1)))
    expected, once = (optimum(s.policy, s.reward, tau)[0] for tau in (1.0, 2.0))
    assert distance(state.params, expected) < 0.03 < 0.15 < distance(s.policy, expected)
    assert metrics["episode_return"].total[1] / 4096 == pytest.approx(np.exp(once) @ s.reward, abs=0.08)


@pytest.fixture(scope="module")
def pieces():
    """Texts of three tokens, written a token an update, in three runs side by side: of a policy that is frozen, of one
    that learns, and of one that never stops by itself; metrics, tables before and after updates, and what moved."""
    s = setting()
    config = MirrorDescentConfig(
        num_prompts=32, num_samples=4, num_epochs=1, num_minibatches=1, tokens_per_update=1, baseline="mean"
    )
    algorithm = mirror_descent(table_task(reward=s.reward), config, table_model(s.policy))
    never = np.where(np.arange(3) == 2, -99.0, 0 * s.policy)

    @jax.jit
    @jax.vmap
    def run(learning_rate, tau, logits):
        hypers = MirrorDescentHypers(learning_rate=learning_rate, tau=tau)

        def update(state, key):
            after, metrics = algorithm.update(hypers, state, key)
            pairs = zip(*(jax.tree.leaves((x.params, x.opt_state)) for x in (state, after)), strict=True)
            moved = jnp.stack([jnp.any(x != y) for x, y in pairs])
            return after, (metrics, after.params, jnp.any(moved))

        start = algorithm.init(hypers, jax.random.key(0)).replace(params=logits)
        return jax.lax.scan(update, start, jax.random.split(jax.random.key(1), 300))[1]

    tables = np.stack([s.policy, s.policy, never]).astype(np.float32)
    found = jax.tree.map(np.asarray, run(jnp.array([0.0, 0.02, 0.1]), jnp.array([0.3, 0.5, 0.3]), tables))
    return [jax.tree.map(lambda x: x[i], found) for i in range(3)]  # noqa: B023


@pytest.mark.covers("partial-rollout", "kimi-md")
def test_partial_texts_of_a_frozen_policy_have_ratio_one_and_the_law_of_whole_ones(pieces):
    """With learning rate 0: no divergence from who wrote, ages up to 2, every prompt as often as any other, and the
    mean reward is that of the policy, enumerated."""
    s, (metrics, params, _) = setting(), pieces[0]
    np.testing.assert_array_equal(params[-1], s.policy.astype(np.float32))
    np.testing.assert_allclose(metrics["mismatch_kl"].total, 0, atol=1e-10)
    chance, number = np.exp(sequence_of(s.policy)), metrics["episode_return"].number.sum()
    measured = metrics["episode_return"].total.sum() / number
    deviation = np.sqrt(chance @ (s.reward - chance @ s.reward) ** 2 / number)
    assert abs(measured - chance @ s.reward) < 4 * deviation
    assert 0 < metrics["token_age"].total.sum() / metrics["token_age"].number.sum() < 2
    assert metrics["share_ended"][0] < 1 and number > 10_000


@pytest.mark.covers("partial-rollout")
def test_partial_texts_of_changing_policies_arrive_where_whole_ones_do(pieces):
    """The best text gets all the probability, from ratios against who wrote each token."""
    s, (metrics, params, _) = setting(), pieces[1]
    assert np.exp(sequence_of(params[-1]))[s.reward.argmax()] > 0.9
    assert np.max(metrics["mismatch_kl"].total / metrics["mismatch_kl"].number) > 1e-4


@pytest.mark.covers("partial-rollout")
def test_without_an_ended_group_nothing_moves(pieces):
    """Not even by momentum: of texts that never stop, two updates in three."""
    assert pieces[2][2].tolist() == [False, False, True] * 100


@pytest.mark.covers("len-penalty", "kimi-md")
def test_short_answers_get_their_reward_and_groups_their_baselines():
    """Relative lengths within the group, which wrong answers cannot gain by, or a price a token; then tau log Z, or the
    mean, of what results."""
    task, hypers = table_task(reward=np.arange(15.0)), MirrorDescentHypers(length_weight=0.5, pass_mark=8.0, tau=TAU)
    chosen = answers_of(np.array([0, 3, 14, 13, 9, 1]))
    length, right = np.array([1, 3, 3, 3, 3, 2.0]), np.array([0, 3, 14, 13, 9, 1]) > 8
    np.testing.assert_array_equal(chosen.mask.sum(axis=1), length)
    plain = np.array([0, 3, 14, 13, 9, 1.0])

    def judged(length_reward, baseline):
        config = MirrorDescentConfig(num_prompts=2, num_samples=3, length_reward=length_reward, baseline=baseline)
        return judge(task, config, hypers, chosen)

    kinds = [(length, baseline) for length in ("none", "relative", "token") for baseline in ("mean", "log_partition")]
    found = dict(zip(kinds, jax.jit(lambda: [judged(*kind) for kind in kinds])(), strict=True))

    place = np.array([0.5, -0.5, -0.5, -0.5, -0.5, 0.5])
    relative = plain + 0.5 * np.where(right, place, np.minimum(place, 0))
    for length_reward, expected in (("none", plain), ("relative", relative), ("token", plain - 0.5 * length)):
        result, metrics = found[length_reward, "mean"]
        np.testing.assert_allclose(result.reward, expected, rtol=1e-6)
        np.testing.assert_allclose(result.baseline, expected.reshape(2, 3).mean(axis=1).repeat(3), rtol=1e-6)
        assert metrics["episode_return"].total == plain.sum() and metrics["answer_length"].total == length.sum()
        result, _ = found[length_reward, "log_partition"]
        exact = TAU * np.log(np.mean(np.exp(expected.reshape(2, 3) / TAU), axis=1))
        np.testing.assert_allclose(result.baseline, exact.repeat(3), rtol=1e-6)


def test_only_tasks_with_answers_can_be_warmed_up_on():
    """Without a base, by name."""
    task = envs.make("addition")._replace(answer=None)
    with pytest.raises(ValueError, match="Mirror descent imitates demonstrations"):
        mirror_descent(task, MirrorDescentConfig(warm_up_steps=1))
