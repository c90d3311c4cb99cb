"""DPO's minimiser is the optimum of RLHF, exactly over all pairs, and its updates arrive there from drawn ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from purerl import envs
from purerl.algorithms.language.dpo import DPOConfig, DPOHypers, dpo, loss_of
from purerl.kernels.language import kl, preferences
from purerl.language import enumeration
from purerl.update import mean_gradient
from tests.support.tabular_scalars import answers_of, text_model
from tests.support.tabular_task import table_task
from tests.support.tiny_language import NUM_SEQUENCES, SEQUENCES, sequence_of, setting

BETA = 0.5
PAIRS = np.stack(np.meshgrid(*[np.arange(NUM_SEQUENCES)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)


def pairs_of(chosen, ref):
    """Pairs by number, ``[B, 2]``, the preferred one first, as the loss takes them."""
    answers = jax.tree.map(lambda x: x.reshape(-1, 2, *x.shape[1:]), answers_of(chosen.ravel()))
    return answers, jnp.asarray(sequence_of(ref)[chosen])


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("dpo", "kl-opt", "bt")
def test_population_minimiser_is_the_kl_regularised_optimum():
    """The loss over all pairs, each as often as Bradley-Terry has it, minimised in the logits of a table: ref exp(R /
    beta) / Z to 1e-6, and its implicit reward is R up to beta log Z."""
    s = setting()
    loss, batch = loss_of(text_model(s.ref), "dpo", BETA), pairs_of(PAIRS, s.ref)
    win = preferences.bradley_terry(*jnp.asarray(s.reward[PAIRS.T]))

    @jax.jit
    @jax.value_and_grad
    def mean(flat):
        each = jax.vmap(lambda pair: loss(flat.reshape(s.ref.shape), jax.tree.map(lambda x: x[None], pair))[0].total)
        return jnp.mean(win * each(batch))

    found = scipy.optimize.minimize(mean, s.ref.ravel(), jac=True, method="BFGS", options={"gtol": 1e-10})
    learnt = sequence_of(found.x.reshape(s.ref.shape))
    best = kl.optimum(sequence_of(s.ref), s.reward, BETA)
    np.testing.assert_allclose(np.exp(learnt), np.exp(best), atol=1e-6)
    implied = preferences.implicit_reward(learnt - sequence_of(s.ref), BETA)
    np.testing.assert_allclose(implied + kl.optimal_value(sequence_of(s.ref), s.reward, BETA), s.reward, atol=1e-4)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("dpo")
@pytest.mark.parametrize("loss", ["dpo", "ipo"])
def test_gradient_and_smoothing(loss):
    """Log 2 at the reference, and -beta (score_w - score_l) / 2 of the sequences' scores; of IPO likewise. Smoothing
    takes the share of the wrong way round: half of it says nothing there. Any split gives one gradient."""
    s = setting()
    chosen = PAIRS[np.random.default_rng(0).permutation(len(PAIRS))[:60]]
    batch, logits = pairs_of(chosen, s.ref), jnp.asarray(s.ref)

    @functools.partial(jax.jit, static_argnums=1)
    def gradient(smoothing, parts=1):
        return mean_gradient(loss_of(text_model(s.ref), loss, BETA, smoothing), logits, batch, parts)

    def difference(logits):
        log_prob = enumeration.log_probs(SEQUENCES, logits)
        return jnp.mean(log_prob[chosen[:, 0]] - log_prob[chosen[:, 1]])

    slope = {"dpo": BETA / 2, "ipo": 1 / BETA}[loss]
    grads, metrics = gradient(0.0)
    np.testing.assert_allclose(grads, -slope * jax.jit(jax.grad(difference))(logits), atol=1e-12)
    at_reference = {"dpo": np.log(2), "ipo": 1 / (2 * BETA) ** 2}[loss]
    np.testing.assert_allclose(metrics["loss"].total / 60, at_reference, rtol=1e-12)
    np.testing.assert_allclose(gradient(0.0, 3)[0], grads, atol=1e-14)
    np.testing.assert_allclose(gradient(0.25)[0], 0.5 * grads, atol=1e-12)
    np.testing.assert_allclose(gradient(0.5)[0], 0, atol=1e-12)


@pytest.mark.covers("dpo", "kl-opt")
def test_it_arrives_at_the_optimum():
    """From pairs of the reference, compared with noise: within .02 of ref exp(R / (noise beta)) / Z in total variation,
    and the implicit reward agrees with most comparisons."""
    s, noise = setting(), 0.8
    algorithm = dpo(table_task(s.reward), DPOConfig(batch_size=2048), text_model(s.ref), base=s.ref.astype(np.float32))
    hypers = DPOHypers(beta=BETA, noise=noise)

    @jax.jit
    def run(key):
        def step(state, inputs):
            rate, key = inputs
            return algorithm.update(hypers.replace(learning_rate=rate), state, key)

        rates = jnp.repeat(jnp.array([0.1, 0.02, 0.004, 0.001]), 10)
        return jax.lax.scan(step, algorithm.init(hypers, key), (rates, jax.random.split(key, len(rates))))

    state, metrics = run(jax.random.key(0))
    best = np.exp(kl.optimum(sequence_of(s.ref), s.reward / noise, BETA))
    learnt = np.exp(np.asarray(enumeration.log_probs(SEQUENCES, state.params)))
    assert np.abs(np.exp(sequence_of(s.ref)) - best).sum() / 2 > 0.2
    assert np.abs(learnt - best).sum() / 2 < 0.02
    assert metrics["loss"][-1] < metrics["loss"][0] < np.log(2) + 0.01
    assert metrics["implicit_accuracy"][-1] > 0.6


def test_what_a_task_lacks_is_refused():
    """No demonstrations to begin with."""
    with pytest.raises(ValueError, match="DPO imitates demonstrations, and the task addition has no right answers"):
        dpo(envs.make("addition")._replace(answer=None))
