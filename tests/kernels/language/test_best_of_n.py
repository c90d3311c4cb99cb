import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.attempts import success_within
from purerl.kernels.language import best_of_n
from tests.support.tiny_language import sequence_of, setting

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.covers("best-of-n")
@pytest.mark.parametrize("ties", [False, True])
def test_law_of_the_best_of_n_agrees_with_all_draws(ties):
    """Over all n-tuples of 15 texts, the best kept, equally good ones sharing by how often they were drawn."""
    s = setting()
    probability = np.exp(sequence_of(s.policy))
    score = np.round(np.asarray(s.reward)) if ties else np.asarray(s.reward)
    for n in (1, 2, 3):
        expected = np.zeros(15)
        for draw in itertools.product(range(15), repeat=n):
            best = [y for y in draw if score[y] == max(score[list(draw)])]
            np.add.at(expected, best, np.prod(probability[list(draw)]) / len(best))
        actual = best_of_n.distribution(jnp.asarray(probability), jnp.asarray(score), n)
        np.testing.assert_allclose(actual, expected, atol=1e-14)
        np.testing.assert_allclose(np.sum(actual), 1, rtol=1e-13)


@pytest.mark.covers("best-of-n")
def test_more_draws_never_lower_the_score_and_move_the_law_by_less_than_the_bound():
    """E[max] rises to the maximum; KL from one draw is at most log n - (n - 1) / n, nearly so for many answers."""
    s = setting()
    n = jnp.array([1, 2, 3, 5, 10, 100, 10_000])
    laws = jax.vmap(best_of_n.distribution, (None, None, 0))(jnp.exp(sequence_of(s.policy)), s.reward, n)
    scores = laws @ s.reward
    assert np.all(np.diff(scores) > 0)
    np.testing.assert_allclose(scores[-1], np.max(s.reward), atol=1e-3)

    def divergence(law, probability):
        return np.sum(np.where(law > 0, law * np.log(np.where(law > 0, law, 1) / probability), 0), axis=-1)

    bound = np.array([best_of_n.kl_bound(int(m)) for m in n])
    assert np.all(divergence(np.asarray(laws), np.exp(sequence_of(s.policy))) <= bound + 1e-12)
    assert bound[0] == 0
    many = best_of_n.distribution(jnp.full(3000, 1 / 3000), jnp.arange(3000.0), 8)
    np.testing.assert_allclose(divergence(np.asarray(many), 1 / 3000), best_of_n.kl_bound(8), rtol=2e-3)


@pytest.mark.covers("best-of-n", "pass-at-k")
def test_best_of_n_by_a_perfect_verifier_succeeds_as_often_as_one_of_n_attempts():
    """With a score of right and wrong its success is 1 - (1 - p)^n."""
    probability = jnp.array([0.1, 0.2, 0.3, 0.4])
    correct = jnp.array([1.0, 0.0, 1.0, 0.0])
    for n in (1, 4, 9):
        np.testing.assert_allclose(
            best_of_n.distribution(probability, correct, n) @ correct, success_within(0.4, n), rtol=1e-13
        )
    with pytest.raises(AssertionError):
        best_of_n.distribution(probability, correct[:1], 2)
