"""What GRPO's loss teaches: exactly, over all groups of the texts of three tokens, up to length three."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.language.answers import Answers
from purerl.algorithms.language.grpo import GRPOConfig, GRPOHypers
from purerl.algorithms.language.grpo_loss import advantages, loss_of, make_batch
from purerl.algorithms.language.grpo_sampling import Judged, weights
from purerl.kernels.language import kl
from purerl.language import enumeration
from purerl.language.policy import Prompts
from purerl.update import mean_gradient
from tests.support import tiny_language as tiny
from tests.support.tabular_language import begin
from tests.support.tabular_task import table_model
from tests.support.tiny_language import MAX_TOKENS, NUM_SEQUENCES, SEQUENCES, setting, tokens_of

pytestmark = pytest.mark.usefixtures("x64")
S = setting()
HYPERS = GRPOHypers()
LENGTH = SEQUENCES.mask.sum(axis=0)
EXACT = {"rtol": 0, "atol": 1e-12}


def config(**changes) -> GRPOConfig:
    """One group of two."""
    return GRPOConfig(**{"num_prompts": 1, "group_size": 2, "aggregate": "sum"} | changes)


def judged(chosen, sampler, reward=S.reward) -> Judged:
    """Texts by their index ``[B]``, as a policy wrote them."""
    tokens, mask = jnp.asarray(SEQUENCES.tokens).T[chosen], jnp.asarray(SEQUENCES.mask).T[chosen]
    log_prob = jnp.asarray(tokens_of(sampler)).T[chosen]
    stopped = jnp.asarray(np.any(SEQUENCES.tokens == tiny.STOP, axis=0))[chosen]
    answers = Answers(begin(len(chosen)), tokens, mask, log_prob, None, stopped)
    return Judged(answers, jnp.asarray(reward)[chosen], jnp.asarray(reward)[chosen, None])


def batch_of(config, hypers, chosen, sampler=S.policy, reward=S.reward):
    """What a gradient step reads of them."""
    given = judged(chosen, sampler, reward)
    reference = None if config.kl == "none" else jnp.asarray(tokens_of(S.ref)).T[chosen]
    return make_batch(config, hypers, given, reference, given.answers.log_prob)


def gradient(config, hypers, batch, at=S.policy, old=S.policy):
    """Of the loss of a batch, ``[N, V]``."""

    def of(at, old, batch):
        return mean_gradient(
            loss_of(table_model(), config, hypers, old, MAX_TOKENS), at, batch, config.num_micro_batches
        )

    return jax.jit(of)(jnp.asarray(at), jnp.asarray(old), batch)[0]


def expected_gradient(config, hypers=HYPERS, sampler=S.policy, at=S.policy, old=S.policy, reward=S.reward):
    """Of the loss of one group, over all groups that a sampler can write, ``[N, V]``."""
    members = np.array(list(itertools.product(range(NUM_SEQUENCES), repeat=config.group_size)))
    chance = np.exp(np.sum(tiny.sequence_of(sampler)[members], axis=1))

    def of_group(chosen):
        return gradient(config, hypers, batch_of(config, hypers, chosen, sampler, reward), at, old)

    return jax.jit(lambda members: jnp.tensordot(chance, jax.vmap(of_group)(members), 1))(members)


def penalised_gradient(beta):
    """grad of ``E[R] - beta KL(pi ; ref)``."""

    def objective(logits):
        value = enumeration.expectation(SEQUENCES, logits, S.reward)
        return value - beta * enumeration.kl(SEQUENCES, logits, jnp.asarray(S.ref))

    return np.asarray(jax.jit(jax.grad(objective))(jnp.asarray(S.policy)))


# --- policy gradients -------------------------------------------------------------------------------------


@pytest.mark.covers("grpo", "cispo")
@pytest.mark.parametrize(
    ("advantage", "surrogate", "size"),
    [
        ("centered", "clip", 2),
        ("centered", "clip", 3),
        ("leave_one_out", "clip", 2),
        ("leave_one_out", "cispo", 2),
    ],
)
def test_mean_gradient_of_a_group_is_the_policy_gradient(advantage, surrogate, size):
    """Summed over tokens: centred it is (1 - 1/G) of it, and leaving one out all of it."""
    setup = config(advantage=advantage, surrogate=surrogate, group_size=size)
    share = 1 - 1 / size if advantage == "centered" else 1.0
    truth = tiny.exact_gradient(S.policy, S.reward)
    np.testing.assert_allclose(-expected_gradient(setup), share * truth, **EXACT)


@pytest.mark.covers("gspo")
def test_gspo_is_grpo_at_the_old_policy():
    """For a batch of all texts, by sequence and by token."""
    chosen, hypers = np.arange(NUM_SEQUENCES - 1), GRPOHypers(clip_low=3e-4, clip_high=4e-4)
    names = ("gspo", "gspo_token", "clip")
    setups = [config(aggregate="sequence", surrogate=name, num_prompts=7) for name in names]
    *gspo, grpo = jax.jit(lambda: [gradient(setup, hypers, batch_of(setup, hypers, chosen)) for setup in setups])()
    for one in gspo:
        np.testing.assert_allclose(one, grpo, **EXACT)


@pytest.mark.covers("ti-gap")
def test_weights_of_whole_answers_correct_for_another_sampler():
    """Exactly, while the bound is not met; without them, or by token, the gradient is another."""
    hypers = GRPOHypers(mismatch_high=float("inf"))
    setup = {"advantage": "leave_one_out", "surrogate": "policy_gradient"}
    truth = tiny.exact_gradient(S.policy, S.reward)

    def mean(**changes):
        return -expected_gradient(config(**setup, **changes), hypers, sampler=S.old)

    exact = mean(mismatch="truncate", mismatch_level="sequence")
    np.testing.assert_allclose(exact, truth, **EXACT)
    assert np.max(np.abs(mean() - truth)) > 0.01
    assert np.max(np.abs(mean(mismatch="truncate", mismatch_level="token") - truth)) > 0.01


@pytest.mark.covers("v32-mask")
def test_off_policy_mask_takes_out_bad_answers_that_the_policy_left():
    """As if their advantage were 0, with the denominators as they were."""
    setup, hypers = config(num_prompts=7, off_policy_mask=True), GRPOHypers(off_policy_delta=0.2)
    plain = config(num_prompts=7)
    moved = np.sum(tokens_of(S.old) - tokens_of(S.policy), axis=0)[:14] / LENGTH[:14] > 0.2

    @jax.jit
    def both():
        batch = batch_of(plain, hypers, np.arange(14), sampler=S.old)
        bad = batch.advantage[:, 0] < 0
        without = batch._replace(advantage=jnp.where((moved & bad)[:, None], 0, batch.advantage))
        return bad, gradient(setup, hypers, batch), gradient(plain, hypers, without)

    bad, masked, without = map(np.asarray, both())
    assert np.any(moved & bad) and np.any(~moved & bad) and np.any(moved & ~bad)
    np.testing.assert_allclose(masked, without, **EXACT)


# --- the KL penalty ---------------------------------------------------------------------------------------


@pytest.mark.covers("kl-loss")
@pytest.mark.parametrize("advantage", ["centered", "leave_one_out"])
def test_kl_in_the_reward_is_the_gradient_of_the_penalised_objective(advantage):
    """Reward and penalty shrink alike in centred groups, so that the optimum is that of the objective."""
    hypers = GRPOHypers(beta=0.3)
    share = 1 / 2 if advantage == "centered" else 1.0
    mean = -expected_gradient(config(advantage=advantage, kl="reward"), hypers)
    np.testing.assert_allclose(mean, share * penalised_gradient(0.3), **EXACT)


@pytest.mark.covers("kl-loss")
@pytest.mark.parametrize("advantage", ["centered", "leave_one_out", "standardized"])
def test_kl_to_go_against_loops(advantage):
    """What is paid before a token is no part of its return; the baseline is of whole returns."""
    setup, hypers = config(advantage=advantage, kl="reward", group_size=5), GRPOHypers(beta=0.3, advantage_epsilon=0.1)
    chosen = np.array([0, 14, 3, 9, 6])
    ratio = (tokens_of(S.policy) - tokens_of(S.ref))[:, chosen]
    given = np.asarray(jax.jit(lambda: advantages(setup, hypers, judged(chosen, S.policy), jnp.asarray(ratio)))())
    to_go = np.array([[S.reward[chosen[i]] - 0.3 * ratio[t:, i].sum() for i in range(5)] for t in range(MAX_TOKENS)])
    for i in range(5):
        others = [j for j in range(5) if j != i or advantage != "leave_one_out"]
        baseline = np.mean(to_go[0, others])
        scale = np.std(to_go[0]) + 0.1 if advantage == "standardized" else 1.0
        length = LENGTH[chosen[i]]
        np.testing.assert_allclose(given[:length, i], (to_go[:length, i] - baseline) / scale, **EXACT)
        assert np.all(given[length:, i] == 0)


@pytest.mark.covers("kl-loss", "v32-kl")
@pytest.mark.parametrize(("estimator", "stale"), [("k2", False), ("k3", False), ("k3_weighted", True)])
def test_kl_as_a_loss_is_a_divergence_of_the_next_token(estimator, stale):
    """Over all texts of the policy, or of an older one that only the weights are for."""
    setup = (
        config(kl=estimator, group_size=1, num_prompts=2, num_minibatches=2)
        if stale
        else config(kl=estimator, group_size=1)
    )
    sampler = S.old if stale else S.policy
    mean = expected_gradient(setup, GRPOHypers(beta=1.0), sampler=sampler, old=sampler)
    divergence = kl.forward if estimator == "k3" else kl.reverse

    def next_token(logits):
        return enumeration.prefix_probs(SEQUENCES, jnp.asarray(sampler)) @ divergence(logits, jnp.asarray(S.ref))

    exact = jax.jit(jax.grad(next_token))(jnp.asarray(S.policy))
    np.testing.assert_allclose(mean, exact, **EXACT)


# --- batches ----------------------------------------------------------------------------------------------


@pytest.mark.covers("grpo-agg")
def test_any_split_into_micro_batches_and_padding_gives_one_gradient():
    """A mean over tokens, in 1 part and in 8; answers without tokens; more columns before prompts and after answers."""
    hypers = GRPOHypers()
    setups = [config(num_prompts=8, aggregate="token", kl="k2", num_micro_batches=n) for n in (1, 8)]
    chosen = np.arange(16) % NUM_SEQUENCES

    def longer(x):
        return jnp.pad(x, ((0, 0), (0, 3)))

    @jax.jit
    def gradients():
        batch = batch_of(setups[0], hypers, chosen)
        batch = batch._replace(answers=batch.answers._replace(mask=batch.answers.mask.at[3:9].set(False)))
        answers = batch.answers
        prompts = Prompts(*(jnp.pad(x, ((0, 0), (3, 0))) for x in answers.prompts[:2]))
        padded = answers._replace(
            prompts=prompts, **{name: longer(getattr(answers, name)) for name in ("tokens", "mask", "log_prob")}
        )
        wide = batch._replace(answers=padded, advantage=longer(batch.advantage), reference=longer(batch.reference))
        return [gradient(setup, hypers, x) for setup, x in ((setups[0], batch), (setups[1], batch), (setups[1], wide))]

    first, *others = gradients()
    assert np.max(np.abs(first)) > 0.01
    for other in others:
        np.testing.assert_allclose(other, first, **EXACT)


@pytest.mark.covers("grpo")
@pytest.mark.parametrize("advantage", ["standardized", "standardized_each"])
def test_groups_that_teach_nothing(advantage):
    """Exactly 0, not nearly; and with a NaN it is the gradient of the other group, whatever the average."""
    spoilt = S.reward.copy()
    spoilt[4] = np.nan

    def of(chosen, reward=S.reward, **changes):
        setup = config(advantage=advantage, aggregate="token", **changes)
        return gradient(setup, HYPERS, batch_of(setup, HYPERS, np.array(chosen), reward=reward))

    equal, alone, both, first = jax.jit(
        lambda: (
            of([2, 9], np.full(NUM_SEQUENCES, 0.1)),
            of([9], group_size=1),
            of([2, 9, 4, 5], spoilt, num_prompts=2),
            of([2, 9]),
        )
    )()
    assert np.all(equal == 0) and np.all(alone == 0)
    np.testing.assert_allclose(both, first, **EXACT)
    assert np.max(np.abs(both)) > 0.01


def test_answers_that_were_cut_off_can_be_left_out():
    """Those that met the token limit: what is left has the gradient of a batch without them."""
    setup, hypers = config(drop_cut=True, num_prompts=2), GRPOHypers()
    chosen = np.array([0, 14, 1, 3])  # the second has no stop token
    mask = jax.jit(lambda: batch_of(setup, hypers, chosen).answers.mask)()
    assert np.asarray(mask).any(axis=1).tolist() == [True, False, True, True]


# --- rewards ----------------------------------------------------------------------------------------------


@pytest.mark.covers("multi-reward")
def test_several_rewards_are_weighted_or_standardised_each():
    """Group by group; another number of weights is refused."""
    rng = np.random.default_rng(0)
    several, weight = rng.normal(size=(6, 2)), np.array([1.0, 0.25])
    hypers, setup = GRPOHypers(), {"group_size": 3, "num_prompts": 2, "reward_weights": (1.0, 0.25)}

    @jax.jit
    def both():
        given = judged(np.arange(6), S.policy)._replace(rewards=jnp.asarray(several))
        return [
            advantages(config(advantage=name, **setup), hypers, given) for name in ("centered", "standardized_each")
        ]

    summed, each = both()
    mask, grouped = SEQUENCES.mask[:, :6], several.reshape(2, 3, 2)
    exact = grouped @ weight - (grouped @ weight).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(summed, np.where(mask, exact.reshape(-1), 0), **EXACT)
    exact = (grouped - grouped.mean(axis=1, keepdims=True)) / (grouped.std(axis=1, keepdims=True) + 1e-6) @ weight
    np.testing.assert_allclose(each, np.where(mask, exact.reshape(-1), 0), rtol=1e-6)
    with pytest.raises(ValueError, match=r"reward_weights = \(1.0, 0.25\): the task has 3 reward"):
        weights(config(**setup), hypers, 3)
