import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.language import kl, preferences
from purerl.language import enumeration
from tests.support.tiny_language import SEQUENCES, sequence_of, setting

pytestmark = pytest.mark.usefixtures("x64")
REWARD = np.array([0.3, -1.2, 2.0, 0.1])


def all_pairs(loss, truth, *arguments):
    """Mean of a loss over all ordered pairs of answers, the first of which wins as Bradley-Terry has it."""

    def mean(score):
        chosen, rejected = (x.ravel() for x in jnp.meshgrid(score, score, indexing="ij"))
        win = preferences.bradley_terry(*(x.ravel() for x in jnp.meshgrid(truth, truth, indexing="ij")))
        return jnp.mean(win * loss(chosen, rejected, *arguments))

    return mean


def all_rankings(loss, truth):
    """Mean of a loss over all rankings, with their Plackett-Luce probabilities by definition."""
    orders = np.array(list(itertools.permutations(range(len(truth)))))
    weight = np.exp(np.asarray(truth))[orders]
    law = np.prod(weight / np.cumsum(weight[:, ::-1], axis=1)[:, ::-1], axis=1)
    return lambda score: jnp.sum(law * loss(score[orders]))


@pytest.mark.covers("bt")
def test_bradley_terry_is_a_logistic_law_of_the_difference():
    """1/2 at equal rewards; both orders sum to 1; shifts change nothing; exp(R) over the sum; extremes stay finite."""
    x, y = REWARD, REWARD[::-1]
    np.testing.assert_allclose(preferences.bradley_terry(x, y), np.exp(x) / (np.exp(x) + np.exp(y)), rtol=1e-12)
    np.testing.assert_allclose(preferences.bradley_terry(x, y) + preferences.bradley_terry(y, x), 1, rtol=1e-14)
    np.testing.assert_allclose(preferences.bradley_terry(x + 9, y + 9), preferences.bradley_terry(x, y), rtol=1e-12)
    np.testing.assert_array_equal(preferences.bradley_terry(x, x), 0.5)
    extreme = jnp.array([1e4, -1e4], jnp.float32)
    np.testing.assert_allclose(preferences.pair_loss(extreme, -extreme), [0, 2e4])
    assert np.all(np.isfinite(jax.grad(lambda r: jnp.sum(preferences.pair_loss(r, -r)))(extreme)))


@pytest.mark.covers("bt", "rm")
def test_gradient_of_the_pair_loss():
    """-(1 - sigmoid(difference)) (grad R_w - grad R_l): surprises teach, what is known does not."""
    by_chosen, by_rejected = jax.vmap(jax.grad(preferences.pair_loss, argnums=(0, 1)))(REWARD, REWARD[::-1])
    expected = -(1 - preferences.bradley_terry(REWARD, REWARD[::-1]))
    np.testing.assert_allclose(by_chosen, expected, rtol=1e-12)
    np.testing.assert_allclose(by_rejected, -expected, rtol=1e-12)


@pytest.mark.covers("rm", "bt")
@pytest.mark.parametrize("loss", ["pairs", "k-wise", "plackett-luce"])
def test_losses_of_reward_models_are_least_at_the_true_rewards_up_to_a_constant(loss):
    """Over all comparisons or rankings: gradient 0 at R + c, and a larger loss at all other rewards that were tried."""
    mean = {
        "pairs": all_pairs(preferences.pair_loss, REWARD),
        "k-wise": all_rankings(preferences.k_wise_loss, REWARD),
        "plackett-luce": all_rankings(preferences.plackett_luce_loss, REWARD),
    }[loss]
    gradient = jax.jit(jax.value_and_grad(mean))
    for constant in (0.0, 5.0):
        np.testing.assert_allclose(gradient(REWARD + constant)[1], 0, atol=1e-14)
    for change in np.random.default_rng(0).normal(size=(9, 4)):
        assert gradient(REWARD + change)[0] > gradient(REWARD)[0] + 1e-3


@pytest.mark.covers("rm")
def test_rankings_of_two_are_comparisons_and_rankings_of_k_have_probabilities():
    """K = 2 of both ranking losses is the pair loss; K = 4 against loops; Plackett-Luce sums to 1 over all orders."""
    two = REWARD.reshape(2, 2)
    for loss in (preferences.k_wise_loss, preferences.plackett_luce_loss):
        np.testing.assert_allclose(loss(two), preferences.pair_loss(two[:, 0], two[:, 1]), rtol=1e-13)
    pairs = [-np.log(preferences.bradley_terry(REWARD[i], REWARD[j])) for i, j in itertools.combinations(range(4), 2)]
    np.testing.assert_allclose(preferences.k_wise_loss(REWARD), np.mean(pairs), rtol=1e-12)
    orders = np.array(list(itertools.permutations(range(4))))
    np.testing.assert_allclose(np.sum(np.exp(-preferences.plackett_luce_loss(REWARD[orders]))), 1, rtol=1e-13)


@pytest.mark.covers("dpo")
def test_dpo_is_the_pair_loss_of_the_implicit_reward():
    """log 2 at the reference; gradient -beta sigmoid(-margin) on the winner's score and plus that on the loser's."""
    chosen, rejected, beta = REWARD, REWARD[::-1], 0.3
    margin = beta * (chosen - rejected)
    np.testing.assert_allclose(preferences.dpo_loss(chosen, rejected, beta), np.log1p(np.exp(-margin)), rtol=1e-12)
    np.testing.assert_allclose(preferences.dpo_loss(0 * chosen, 0 * chosen, beta), np.log(2), rtol=1e-14)
    gradient = jax.vmap(jax.grad(preferences.dpo_loss, argnums=(0, 1)), (0, 0, None))(chosen, rejected, beta)
    np.testing.assert_allclose(gradient[0], -beta / (1 + np.exp(margin)), rtol=1e-12)
    np.testing.assert_allclose(gradient[1], -gradient[0], rtol=1e-14)
    pair = jnp.stack([chosen, rejected], axis=-1)
    ranked = preferences.plackett_luce_dpo_loss(pair, beta)
    np.testing.assert_allclose(ranked, preferences.dpo_loss(chosen, rejected, beta), rtol=1e-13)


@pytest.mark.covers("dpo", "kl-opt")
def test_dpo_over_all_pairs_is_least_at_the_kl_regularised_optimum():
    """Texts compared by their rewards: at ref exp(R / beta) / Z the gradient is 0, in log-ratios and in logits; the
    implicit reward there is R up to beta log Z."""
    s, beta = setting(), 0.5
    ref = sequence_of(s.ref)
    best = kl.optimum(ref, s.reward, beta)
    mean = all_pairs(preferences.dpo_loss, s.reward, beta)
    np.testing.assert_allclose(jax.jit(jax.grad(mean))(best - ref), 0, atol=1e-13)
    of_logits = jax.jit(jax.value_and_grad(lambda logits: mean(sequence_of(logits) - ref)))
    least, gradient = of_logits(enumeration.logits_of(SEQUENCES, best))
    np.testing.assert_allclose(gradient, 0, atol=1e-13)
    for other in (s.policy, s.old, s.ref):
        assert of_logits(other)[0] > least + 1e-3
    implied = preferences.implicit_reward(best - ref, beta)
    np.testing.assert_allclose(implied + kl.optimal_value(ref, s.reward, beta), s.reward, atol=1e-13)


@pytest.mark.covers("dpo")
def test_dpo_can_make_both_answers_less_likely():
    """Only the margin is pushed: where they share a feature, one step lowers both log-probabilities and widens it."""
    feature = jnp.array([[1.0, 1.0], [1.0, -0.4], [0.0, 3.0]])  # winner, loser, and what gains

    def log_prob(w):
        return jax.nn.log_softmax(feature @ w)

    def loss(w):
        chosen, rejected, _ = log_prob(w) - log_prob(jnp.zeros(2))
        return preferences.dpo_loss(chosen, rejected, 1.0)

    change = log_prob(-2.0 * jax.grad(loss)(jnp.zeros(2))) - log_prob(jnp.zeros(2))
    assert change[0] < 0 and change[1] < 0 and change[0] > change[1] and change[2] > 0


@pytest.mark.covers("dpo")
def test_ipo_stops_at_its_margin_where_dpo_goes_on():
    """An answer that always wins: IPO is 0 at a log-ratio margin of 1 / (2 beta), DPO's gradient never ends."""
    beta, margin = 0.25, jnp.array([0.0, 2.0, 30.0])
    np.testing.assert_allclose(preferences.ipo_loss(margin, jnp.zeros(3), beta), [4.0, 0.0, 784.0])
    slope = jax.vmap(jax.grad(preferences.dpo_loss), (0, 0, None))(margin, jnp.zeros(3), beta)
    assert np.all(slope < 0)


def test_rejects_shapes_that_would_broadcast():
    """[B] against [B, 1]."""
    row, column = jnp.ones(3), jnp.ones((3, 1))
    for loss in (preferences.bradley_terry, preferences.pair_loss):
        with pytest.raises(AssertionError):
            loss(row, column)
    for loss in (preferences.dpo_loss, preferences.ipo_loss):
        with pytest.raises(AssertionError):
            loss(row, column, 0.1)
