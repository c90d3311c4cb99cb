"""Distillation: what the gradient of each estimate is, and that a run of updates ends at the teacher."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.language.distillation import (
    DistillationConfig,
    DistillationHypers,
    Marked,
    distill,
    loss_of,
    mark,
)
from purerl.algorithms.language.start import fingerprint
from purerl.kernels.distributions import categorical
from purerl.kernels.language import distillation as kernels
from purerl.kernels.language import kl
from purerl.language import enumeration
from tests.support.tabular_language import TablePolicy
from tests.support.tabular_scalars import answers_of
from tests.support.tabular_task import table_model, table_task
from tests.support.tiny_language import NUM_SEQUENCES, SEQUENCES, exact_gradient, sequence_of, setting, tokens_of

DIVERGENCES = ("token", "token_to_go", "vocabulary", "vocabulary_to_go")
MASK = np.asarray(SEQUENCES.mask)


def texts(policy, advantage=None, distilled=None) -> Marked:
    """Every text once, as the student wrote it."""
    answers = answers_of(np.arange(NUM_SEQUENCES), tokens_of(policy))
    advantage = np.zeros(NUM_SEQUENCES) if advantage is None else advantage
    distilled = np.ones(NUM_SEQUENCES, bool) if distilled is None else distilled
    return Marked(answers, advantage, distilled)


def each(s, divergence, beta=1.0, **marks):
    """Losses of all texts, each alone: ``logits -> [Y]``."""
    loss, all_texts = (
        loss_of(table_model(), TablePolicy(jnp.asarray(s.ref)), divergence, beta),
        texts(s.policy, **marks),
    )

    def of_one(logits, text):
        return loss(logits, jax.tree.map(lambda x: x[None], text))[0].total

    return lambda logits: jax.vmap(functools.partial(of_one, logits))(all_texts)


@functools.cache
def exact():
    """Gradients of the KL of texts, and of the mean KL of the next token with prefixes held fixed."""
    s = setting()

    def gradients(logits):
        chance = jax.lax.stop_gradient(enumeration.prefix_probs(SEQUENCES, logits))
        whole = jax.grad(lambda logits: enumeration.kl(SEQUENCES, logits, s.ref))(logits)
        return whole, jax.grad(lambda logits: chance @ categorical.kl(logits, s.ref))(logits)

    return jax.tree.map(np.asarray, jax.jit(gradients)(jnp.asarray(s.policy)))


@pytest.mark.covers("opd", "k1", "k2")
def test_gradient_is_that_of_the_kl_of_texts_or_of_tokens_with_prefixes_held_fixed(x64):
    """Of every estimate, enumerated, to 1e-14: exact to go, and without rewards to go off by more than .03, the
    gap. At the teacher that of every single text is 0, so that noise is gone when the student has arrived."""
    s = setting()
    losses = {name: each(s, name) for name in DIVERGENCES}
    of_each = jax.jit(lambda logits: {name: jax.jacobian(of)(logits) for name, of in losses.items()})
    here, at_teacher = of_each(jnp.asarray(s.policy)), of_each(jnp.asarray(s.ref))
    chance, (whole, frozen) = np.exp(sequence_of(s.policy)), exact()
    for name in DIVERGENCES:
        gradient = np.tensordot(chance, np.asarray(here[name]), 1)
        expected = whole if name.endswith("to_go") else frozen
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-14, err_msg=name)
        np.testing.assert_allclose(at_teacher[name], 0, atol=1e-14, err_msg=name)
    assert np.max(np.abs(frozen - whole)) > 0.03


@pytest.mark.covers("kdrl", "k2")
def test_kdrl_is_the_reward_minus_beta_times_the_divergence_where_it_distils(x64):
    """Over all texts: grad E[R] - beta grad KL; with a mask the divergence of wrong answers alone; by tokens it is the
    kernel's objective, gradient for gradient."""
    s, beta = setting(), 0.3
    wrong, chance = s.reward <= 0, np.exp(sequence_of(s.policy))

    def objective(logits):
        log_prob = enumeration.token_log_probs(SEQUENCES, logits)
        log_ratio = log_prob - enumeration.token_log_probs(SEQUENCES, s.ref)
        elements = kernels.kdrl(log_prob * s.reward, log_ratio, jnp.broadcast_to(wrong, MASK.shape), beta)
        return -jnp.sum(chance * jnp.where(MASK, elements, 0))

    losses = {
        "to_go": each(s, "token_to_go", beta, advantage=s.reward),
        "masked": each(s, "token", beta, advantage=s.reward, distilled=wrong),
        "all": each(s, "token", beta, advantage=s.reward),
    }
    means = {name: lambda logits, loss=loss: chance @ loss(logits) for name, loss in losses.items()}
    gradients = {name: jax.grad(mean) for name, mean in {**means, "kernel": objective}.items()}
    found = jax.jit(lambda logits: {name: of(logits) for name, of in gradients.items()})(jnp.asarray(s.policy))
    expected = exact_gradient(s.policy, s.reward) - beta * exact()[0]
    np.testing.assert_allclose(-found["to_go"], expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found["masked"], found["kernel"], rtol=0, atol=1e-14)
    assert wrong.any() and not wrong.all()
    assert np.max(np.abs(found["masked"] - found["all"])) > 1e-3


@pytest.mark.covers("kdrl")
def test_answers_are_marked_by_their_group_and_by_being_right():
    """Centred within the group; what is above the pass mark is right."""
    task = table_task(reward=np.arange(15.0))
    chosen = answers_of(np.array([0, 3, 14, 13]))
    plain = np.array([0, 3, 14, 13.0])
    centered = DistillationConfig(num_prompts=2, num_samples=2, reward="centered", distil="wrong")
    configs = centered, DistillationConfig(num_prompts=2, num_samples=2)
    (marked, metrics), (plainly, _) = jax.jit(lambda: [mark(task, config, 3.0, chosen) for config in configs])()
    np.testing.assert_allclose(marked.advantage, [-1.5, 1.5, 0.5, -0.5])
    np.testing.assert_array_equal(marked.distilled, plain <= 3)
    assert metrics["episode_return"].total == plain.sum() and metrics["episode_return"].number == 4
    assert not plainly.advantage.any() and plainly.distilled.all()


def after_updates(config, hypers, s, num_updates=400, reward=None):
    """A student's table and the metrics of every update; rates fall to 0. The teacher is each run's own, and stays."""
    algorithm = distill(table_task(reward=reward), config, table_model(s.policy), teacher_model=table_model(s.ref))
    start = algorithm.init(hypers, jax.random.key(0))

    def update(state, step):
        key, share = step
        return algorithm.update(hypers.replace(learning_rate=hypers.learning_rate * share), state, key)

    steps = jax.random.split(jax.random.key(1), num_updates), jnp.linspace(1, 0, num_updates)
    state, metrics = jax.jit(lambda: jax.lax.scan(update, start, steps))()
    np.testing.assert_array_equal(state.teacher, start.teacher)
    return state.params, metrics


@pytest.mark.covers("opd")
def test_updates_arrive_at_the_teacher():
    """Its texts' law to .02 in total variation, from a law that is .3 away, although prefixes are held fixed."""
    s = setting()
    config = DistillationConfig(num_prompts=64, divergence="vocabulary")
    params, metrics = after_updates(config, DistillationHypers(learning_rate=0.05), s)
    law, start, wanted = (np.exp(sequence_of(x)) for x in (params, s.policy, s.ref))
    assert np.abs(law - wanted).sum() / 2 < 0.02 < 0.3 < np.abs(start - wanted).sum() / 2
    assert abs(metrics["teacher_kl"].total[-1]) / 64 < 0.01
    np.testing.assert_allclose(metrics["mismatch_kl"].total, 0, atol=1e-8)


@pytest.mark.covers("kdrl", "kl-opt")
def test_updates_with_a_reward_arrive_at_the_teacher_tilted_by_it():
    """E[R] - beta KL to go has the optimum teacher exp(R / beta) / Z, to .04 in total variation."""
    s, beta = setting(), 1.0
    config = DistillationConfig(num_prompts=16, num_samples=16, reward="leave_one_out")
    params, _ = after_updates(config, DistillationHypers(learning_rate=0.05, beta=beta), s, 600, s.reward)
    wanted = np.exp(kl.optimum(sequence_of(s.ref), s.reward, beta))
    law, teacher = (np.exp(sequence_of(x)) for x in (params, s.ref))
    assert np.abs(law - wanted).sum() / 2 < 0.04 < 0.15 < np.abs(teacher - wanted).sum() / 2


def test_a_given_teacher_is_shared_and_named_by_its_fingerprint_and_otherwise_each_seed_has_one():
    """A given one is in no state; one of a run's own is, and its demonstrations count."""
    s, hypers = setting(), DistillationHypers()
    given = distill(table_task(), None, table_model(), teacher=s.ref, teacher_model=table_model())
    assert jax.eval_shape(given.init, hypers, jax.random.key(0)).teacher == ()
    assert given.spec.settings["given"] == {"teacher": fingerprint(s.ref)}
    own = distill(table_task(), None, table_model(), teacher_model=table_model())
    teachers = jax.jit(jax.vmap(own.init, (None, 0)))(hypers, jax.random.split(jax.random.key(0))).teacher
    assert np.any(teachers[0] != teachers[1]) and "given" not in own.spec.settings
    assert distill(table_task(), DistillationConfig(teacher_steps=2)).spec.env_steps_of_init == 2 * 64


def test_what_cannot_be_is_refused():
    """By name, with the remedy."""
    task = table_task()._replace(answer=None)
    with pytest.raises(ValueError, match="Distillation imitates demonstrations"):
        distill(task, DistillationConfig(teacher_steps=1))
    with pytest.raises(ValueError, match="num_samples = 1 leaves nothing to compare"):
        DistillationConfig(reward="centered")
