import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.language import groups, kl, rewards
from tests.support.tiny_language import NUM_SEQUENCES, sequence_of, setting

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.covers("len-penalty")
def test_of_two_equally_good_answers_the_shorter_has_the_larger_advantage():
    """R - lambda l, in tokens; lambda = 0 changes nothing."""
    length = jnp.array([5, 9])
    np.testing.assert_allclose(rewards.length_penalty(length, 0.01), [-0.05, -0.09])
    advantage = groups.centered(jnp.ones(2) + rewards.length_penalty(length, 0.01))
    assert advantage[0] > 0 > advantage[1]
    np.testing.assert_array_equal(rewards.length_penalty(length, 0.0), 0)


@pytest.mark.covers("len-penalty")
def test_overlong_penalty_is_flat_then_linear_and_never_below_minus_1():
    """0 up to L - c, half way down in the middle of the buffer, -1 at the limit and, however far, beyond it."""
    length = jnp.array([0, 80, 81, 90, 100, 101, 10_000])
    np.testing.assert_allclose(rewards.overlong_penalty(length, 100, 20), [0, 0, -0.05, -0.5, -1, -1, -1])
    for buffer in (0, 101):
        with pytest.raises(ValueError, match="buffer"):
            rewards.overlong_penalty(length, 100, buffer)


@pytest.mark.covers("len-penalty")
def test_relative_length_rewards_short_answers_and_never_wrong_ones():
    """Shortest right .5, longest -.5 right or wrong, short and wrong 0; equal lengths 0; groups by themselves."""
    length = jnp.array([[10, 20, 30, 10], [7, 7, 7, 7]])
    correct = jnp.array([[True, True, False, False], [True, False, True, False]])
    np.testing.assert_allclose(rewards.relative_length(length, correct), [[0.5, 0, -0.5, 0], [0, 0, 0, 0]])
    rng = np.random.default_rng(0)
    score = rewards.relative_length(jnp.asarray(rng.integers(1, 50, (20, 8))), jnp.asarray(rng.random((20, 8)) < 0.5))
    assert np.all(np.abs(score) <= 0.5)
    with pytest.raises(AssertionError):
        rewards.relative_length(length, correct.astype(int))


@pytest.mark.covers("rep-stop")
def test_repetition_is_the_share_of_n_grams_that_were_there_before():
    """Random texts over two tokens against sets of tuples; what is outside the mask is not read; short texts have 0."""
    rng = np.random.default_rng(0)
    tokens, length = rng.integers(0, 2, (12, 40)), rng.integers(0, 13, 40)
    mask = np.arange(12)[:, None] < length
    for n in (1, 3, 13):
        expected = []
        for column, size in zip(tokens.T, length, strict=True):
            grams = [tuple(column[i : i + n]) for i in range(size - n + 1)]
            expected.append(1 - len(set(grams)) / len(grams) if grams else 0)
        share = jax.jit(rewards.repetition, static_argnums=2)(tokens, mask, n)
        np.testing.assert_allclose(share, expected, atol=1e-15)
    with pytest.raises(ValueError, match="n=0"):
        rewards.repetition(jnp.asarray(tokens), jnp.asarray(mask), 0)


@pytest.mark.covers("rep-stop")
def test_a_text_that_ends_in_a_loop_is_noticed():
    """Random texts with loops of several periods appended, against slices; a loop in the middle is none at the end. The
    first one in a text is where it first ends in one, read from left to right."""
    rng = np.random.default_rng(0)
    T, texts = 14, []
    for _ in range(30):
        text = list(rng.integers(0, 3, rng.integers(0, 6)))
        text += list(rng.integers(0, 3, rng.integers(1, 4))) * int(rng.integers(1, 4))
        texts.append(text[:T])
    tokens = np.full((T, len(texts)), 1)
    for i, text in enumerate(texts):
        tokens[: len(text), i] = text
    mask = np.arange(T)[:, None] < np.array([len(text) for text in texts])
    found = 0
    for period in (1, 2, 3):
        for times in (2, 3):
            end = [text[-period * times :] for text in texts]
            expected = [len(e) == period * times and e == e[:period] * times for e in end]
            actual = jax.jit(rewards.ends_in_loop, static_argnums=(2, 3))(tokens, mask, period, times)
            np.testing.assert_array_equal(actual, expected)
            found += sum(expected)
            looped = [
                [t for t in range(T) if t < len(text) and (e := text[: t + 1][-period * times :]) == e[:period] * times]
                for text in texts
            ]
            actual = jax.jit(rewards.first_loop, static_argnums=(2, 3))(tokens, mask, period, times)
            np.testing.assert_array_equal(actual, [min(rows, default=T) for rows in looped])
    assert 10 < found < 150
    for arguments in ((0, 2), (1, 1)):
        with pytest.raises(ValueError, match="at least"):
            rewards.ends_in_loop(jnp.asarray(tokens), jnp.asarray(mask), *arguments)
        with pytest.raises(ValueError, match="at least"):
            rewards.first_loop(jnp.asarray(tokens), jnp.asarray(mask), *arguments)


@pytest.mark.covers("rlvr")
def test_a_rubric_is_the_weighted_share_of_its_items():
    """All pass 1, none 0, others by weight, whatever the weights' scale; a check is a bool."""
    weight = jnp.array([1.0, 2.0, 5.0])
    passed = jnp.array([[True] * 3, [False] * 3, [True, False, True]])
    np.testing.assert_allclose(rewards.rubric(passed, weight), [1, 0, 0.75])
    np.testing.assert_allclose(rewards.rubric(passed, 10 * weight), [1, 0, 0.75])
    with pytest.raises(AssertionError):
        rewards.rubric(passed.astype(float), weight)


@pytest.mark.covers("multi-reward", "kl-opt")
def test_optimum_for_weighted_rewards_is_that_of_their_sum_and_pareto_efficient():
    """ref exp(w . R / beta) / Z over all texts: no other policy has mean rewards and -KL that are all as high, tried on
    the optima of single rewards and on random ones."""
    s = setting()
    several = jnp.asarray(np.random.default_rng(1).normal(size=(NUM_SEQUENCES, 3)))
    weight, beta, ref = jnp.array([0.5, 1.0, 2.0]), 0.7, sequence_of(s.ref)
    combined = rewards.weighted_sum(several, weight)
    np.testing.assert_allclose(combined, np.sum(several * np.asarray(weight), axis=-1), rtol=1e-13)

    def criteria(log_prob):
        law = jnp.exp(log_prob)
        return np.append(law @ several, -(law @ (log_prob - ref)))

    best = criteria(kl.optimum(ref, combined, beta))
    others = [jax.nn.log_softmax(jnp.asarray(np.random.default_rng(i).normal(0, 2, NUM_SEQUENCES))) for i in range(50)]
    others += [kl.optimum(ref, several @ w, beta) for w in np.eye(3)] + [ref, sequence_of(s.policy)]
    for other in others:
        assert np.any(criteria(other) < best)
    with pytest.raises(AssertionError):
        rewards.weighted_sum(several, weight[:2])
    with pytest.raises(AssertionError):
        rewards.weighted_sum(several.astype(int), weight)


@pytest.mark.covers("multi-reward", "pareto")
def test_no_weights_choose_a_compromise_inside_the_corners():
    """Answers worth (1, 0), (0, 1) and (.45, .45): the third is never best for any weights, though nothing dominates
    it; a mixture of the first two does."""
    answers = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.45, 0.45]])
    for share in np.linspace(0, 1, 101):
        assert np.argmax(rewards.weighted_sum(answers, jnp.array([share, 1 - share]))) != 2
    assert np.all(answers[:2].mean(axis=0) > answers[2])


@pytest.mark.covers("rm-ensemble")
def test_the_least_of_an_ensemble_is_not_won_over_by_fooling_one_of_its_models():
    """min <= mean <= max. One model of three over-rates one answer: without KL penalty the policy collapses on it, with
    the minimum it does not, and with a large beta it stays near the reference."""
    truth = jnp.array([1.0, 0.8, 0.0, 0.2])
    scores = jnp.stack([truth, truth + 0.05, truth.at[2].add(9.0)], axis=-1)
    low, mean = rewards.ensemble_min(scores), rewards.ensemble_mean(scores)
    assert np.all((low <= mean) & (mean <= np.max(scores, axis=-1)))
    np.testing.assert_allclose(mean, np.mean(scores, axis=-1), rtol=1e-14)
    ref = jnp.log(jnp.full(4, 0.25))

    def chance_of_the_fake(reward, beta):
        return float(jnp.exp(kl.optimum(ref, reward, beta)[2]))

    assert chance_of_the_fake(scores[:, 2], 0.01) > 0.999 and chance_of_the_fake(mean, 0.01) > 0.999
    assert chance_of_the_fake(low, 0.01) < 1e-6
    assert chance_of_the_fake(mean, 30.0) < 0.3
