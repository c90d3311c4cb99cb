"""Policy mirror descent (Kimi k1.5): reward, with each update's policy held near the one that wrote its answers.

    pi_{i+1} = argmax_pi  E_pi[R(x, y)] - tau KL(pi ; pi_i)     which is     pi_i(y | x) exp(R(x, y) / tau) / Z(x)

found by the squared residual ``(R - tau log Z - tau log(pi / pi_i))^2 / (2 tau)`` of whole answers. It is 0 there, for
each of them, and needs no critic. At pi_i its gradient is that of REINFORCE with baseline ``tau log Z``, which answers
of the same prompt estimate, or their mean reward in its place.

Long answers: partial rollouts (:mod:`purerl.algorithms.language.partial_rollouts`), an end to those that repeat
themselves, and a reward for short ones. With the latter given only after convergence it is *long2short*: as many right
answers in fewer tokens.

Source: Kimi Team 2025 (arXiv 2501.12599), sections 2.3.2, 2.3.3, 2.4 and 2.6.2.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import optimizers
from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec
from purerl.algorithms.language import partial_rollouts
from purerl.algorithms.language.answers import (
    Answers,
    answering,
    check_task,
    draw,
    evaluation,
    model_of,
    score_answers,
    words,
    worth,
)
from purerl.algorithms.language.partial_rollouts import Texts
from purerl.algorithms.language.start import base_of, fingerprint, first_params, record
from purerl.config_checks import check_config, config_or_default
from purerl.kernels.language import aggregation, rewards, sequences, surrogates
from purerl.kernels.surrogates import approximate_kl
from purerl.language.tasks import Task
from purerl.nets.decoder import DecoderConfig
from purerl.nets.language_model import LanguageModel
from purerl.ranges import hyper, setting
from purerl.recipes import recorded
from purerl.types import Mean, Metrics, PyTree, Scalar
from purerl.update import descend, mean_gradient, minibatch_epochs, rollout_update


@dataclasses.dataclass(frozen=True, kw_only=True)
class MirrorDescentConfig:
    """What fixes a shape, a loop length or a branch of mirror descent. Never traced.

    Raises:
        ValueError: at construction, for a value out of its range, or minibatches that are not equal.
    """

    decoder: DecoderConfig = dataclasses.field(default_factory=DecoderConfig)
    """The transformer that learns."""
    num_prompts: int = 16
    """Prompts an update."""
    num_samples: int = 16
    """Answers to each, a group, G."""
    num_epochs: int = 2
    """Passes over the answers of an update."""
    num_minibatches: int = 2
    """Gradient steps a pass."""
    baseline: Literal["log_partition", "mean"] = "log_partition"
    """What a reward is compared with: ``tau log Z`` by the group, or the group's mean reward."""
    tokens_per_update: int | None = setting(None, low=1)
    """Partial rollouts: what an answer grows by in an update, at most; None: it is written to its end at once."""
    loop_periods: tuple[int, ...] = ()
    """An answer ends where a phrase of one of these lengths is repeated over and over."""
    loop_times: int = setting(4, low=2)
    """So many times in a row."""
    length_reward: Literal["none", "relative", "token"] = "none"
    """For short answers: none; by the place between the shortest and the longest of the group, which a wrong answer
    cannot gain by; or a price of every token."""
    base: str | None = None
    """File of the agent to begin with, of any learner of language; None: a network of its own."""
    warm_up_steps: int = setting(0, low=0)
    """Gradient steps of supervised fine-tuning at the start, where no base is given."""
    warm_up_batch_size: int = 64
    """Demonstrations in each of them."""

    def __post_init__(self) -> None:
        check_config(self)
        num_answers = self.num_prompts * self.num_samples
        if num_answers % self.num_minibatches:
            raise ValueError(
                f"MirrorDescentConfig.num_minibatches = {self.num_minibatches} does not divide num_prompts * "
                f"num_samples = {num_answers}: minibatches are equal. Choose a divisor."
            )


class MirrorDescentHypers(struct.PyTreeNode):
    """Every other number: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = hyper(3e-4, low=0)
    """Adam's step size."""
    max_grad_norm: float = hyper(1.0, above=0, infinite=True)
    """Gradients longer than this (global norm) are scaled down to it."""
    adam_epsilon: float = hyper(1e-8, above=0)
    """Adam's denominator constant."""
    tau: float = hyper(0.3, above=0)
    """Weight of the divergence from the policy that wrote, in units of reward."""
    temperature: float = hyper(1.0, above=0)
    """Of the distribution that answers are drawn from, and that learns."""
    length_weight: float = hyper(0.1, low=0)
    """Of the length reward: of the relative one, in [-1/2, 1/2], or the price of a token."""
    pass_mark: float = hyper(0.5)
    """An answer with a reward above it is right, for the relative length reward."""
    warm_up_learning_rate: float = hyper(1e-3, low=0, initial=True)
    """Adam's step size in the warm-up."""


class MirrorDescentState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree
    opt_state: optax.OptState
    texts: Texts | None  # [B] of partial rollouts


class Judged(NamedTuple):
    """Answers with what they are worth, and what that is compared with."""

    answers: Answers  # [B]
    reward: jax.Array  # [B], the length's included
    baseline: jax.Array  # [B]


@recorded
def mirror_descent(
    task: Task,
    config: MirrorDescentConfig | None = None,
    model: LanguageModel | None = None,
    base: PyTree | None = None,
    name: str = "mirror_descent",
) -> Algorithm:
    """Policy mirror descent. An answer counts as an environment step, a partial one as often as it is gone on with.

    Args:
        task: what is asked; with an ``answer`` for a warm-up. Several rewards are added.
        config: sizes and choices.
        model: what learns, instead of the config's transformer.
        base: parameters to begin with, instead of those in ``config.base`` or a warm-up.
        name: of what it is used for, in titles and records.

    Raises:
        ValueError: if there is a warm-up, and the task has no answers to imitate; or as
            :func:`~purerl.algorithms.language.start.base_of`.
    """
    config = config_or_default(config, MirrorDescentConfig)
    check_task(task, "Mirror descent")
    model = model_of(task, config.decoder, model)
    base = base_of(config.base, base, model)
    warm_up_steps = 0 if base is not None else config.warm_up_steps
    check_task(task, "Mirror descent", demonstrations=warm_up_steps > 0)
    num_prompts, num_samples = config.num_prompts, config.num_samples

    def init(hypers: MirrorDescentHypers, key: jax.Array) -> MirrorDescentState:
        params = first_params(task, model, base, warm_up_steps, config.warm_up_batch_size, hypers, key)
        opt_state = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon).init(params)
        texts = None
        if config.tokens_per_update is not None:
            texts = partial_rollouts.nothing_begun(task, model.policy(params), num_prompts, num_samples)
        return MirrorDescentState(params, opt_state, texts)

    def collect(
        hypers: MirrorDescentHypers, state: MirrorDescentState, key: jax.Array
    ) -> tuple[MirrorDescentState, Judged, Metrics]:
        state, answers, metrics = write(task, model, config, hypers, state, key)
        judged, terms = judge(task, config, hypers, answers)
        return state, judged, metrics | terms

    act = answering(task, model)
    spec = Spec(
        name,
        num_prompts * num_samples,
        evaluation(task, act),
        {"env": task.name, **dataclasses.asdict(config), **record(base=fingerprint(base))},
        warm_up_steps * config.warm_up_batch_size,
        hypers_class=MirrorDescentHypers,
        evaluated_in="answers",
        words=words(task),
    )
    return Algorithm(init, rollout_update(collect, functools.partial(learn, model, config)), no_carry, act, spec)


def write(
    task: Task,
    model: LanguageModel,
    config: MirrorDescentConfig,
    hypers: MirrorDescentHypers,
    state: MirrorDescentState,
    key: jax.Array,
) -> tuple[MirrorDescentState, Answers, Metrics]:
    """Answers of an update: whole ones, or those of the groups that have ended in it; nothing in the others' places.

    Args:
        task: what is asked.
        model: what writes.
        config: whether, and in what pieces, answers are partial, and what loops end them.
        hypers: temperature.
        state: with the texts that are unfinished.
        key: of all draws.

    Returns:
        the state with its texts as they are now, the answers ``[B]``, and metrics of the texts.
    """
    policy, loops = model.policy(state.params), tuple((period, config.loop_times) for period in config.loop_periods)
    sampling: dict[str, Any] = {"temperature": hypers.temperature, "stop_loops": loops}
    if state.texts is None or config.tokens_per_update is None:
        return state, draw(task, policy, key, config.num_prompts, config.num_samples, **sampling), {}
    texts = partial_rollouts.begin(task, state.texts, key, config.num_samples)
    texts = partial_rollouts.go_on(task, policy, texts, config.tokens_per_update, **sampling)
    answers, whole = partial_rollouts.ended(texts, config.num_samples)
    age = aggregation.token_mean(texts.age.T.astype(jnp.float32), answers.mask.T)
    return state.replace(texts=texts), answers, {"token_age": age, "share_ended": jnp.mean(whole)}


def judge(
    task: Task, config: MirrorDescentConfig, hypers: MirrorDescentHypers, answers: Answers
) -> tuple[Judged, Metrics]:
    """Rewards of answers, those for short ones included, and baselines: ``tau log(1/G sum_i exp(R_i / tau))`` or means.

    Args:
        task: what was asked.
        config: says which.
        hypers: tau, and the length's weight.
        answers: ``[B]``, groups of G. What has no tokens counts for no metric.

    Returns:
        the answers with both, and metrics of what they got and how long they are.
    """
    given, mask = worth(task, answers), answers.mask.T
    length = sequences.length(mask)
    groups, lengths = (x.reshape(-1, config.num_samples) for x in (given, length))
    if config.length_reward == "relative":
        groups += hypers.length_weight * rewards.relative_length(lengths, groups > hypers.pass_mark)
    elif config.length_reward == "token":
        groups += rewards.length_penalty(lengths, hypers.length_weight)
    if config.baseline == "log_partition":
        baseline = hypers.tau * surrogates.log_partition(groups, hypers.tau)
    else:
        baseline = jnp.mean(groups, axis=1)
    metrics = {
        "episode_return": aggregation.batch_mean(given, mask),
        "answer_length": aggregation.batch_mean(length.astype(jnp.float32), mask),
        "share_stopped": aggregation.batch_mean(answers.stopped.astype(jnp.float32), mask),
    }
    return Judged(answers, groups.reshape(-1), baseline.repeat(config.num_samples)), metrics


def learn(
    model: LanguageModel,
    config: MirrorDescentConfig,
    hypers: MirrorDescentHypers,
    state: MirrorDescentState,
    batch: Judged,
    key: jax.Array,
) -> tuple[MirrorDescentState, Metrics]:
    """Epochs of minibatches of the squared residual, all against whoever wrote the answers.

    Args:
        model: what learns.
        config: how many.
        hypers: of the loss and the optimiser.
        state: before.
        batch: ``[B]``.
        key: of the orders.

    Returns:
        the state after, and metrics; ``mismatch_kl`` is that of the first minibatch, before anything was learned.
    """
    optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)
    loss = loss_of(model, hypers.tau, hypers.temperature)

    def step(carry: tuple, part: Judged) -> tuple[tuple, Metrics]:
        grads, terms = mean_gradient(loss, carry[0], part)
        new = descend(optimizer, hypers.learning_rate, carry[0], carry[1], grads)
        # Where no group has ended there is nothing to learn, and momentum is no reason to move.
        return jax.tree.map(lambda x, y: jnp.where(terms["loss"].number > 0, x, y), new, carry), terms

    carry = state.params, state.opt_state
    batch = jax.tree.map(lambda x: x[None], batch)
    carry, terms = minibatch_epochs(step, carry, batch, key, config.num_epochs, config.num_minibatches)
    mismatch = jax.tree.map(lambda x: x[0], terms["approx_kl"])
    metrics = jax.tree.map(lambda x: jnp.sum(x, axis=0), terms) | {"mismatch_kl": mismatch}
    return state.replace(params=carry[0], opt_state=carry[1]), metrics


def loss_of(model: LanguageModel, tau: Scalar, temperature: Scalar = 1.0) -> Callable:
    """Mirror descent's loss, ``(params, judged [B]) -> (Mean, metrics)``: the squared residual, averaged over answers.

    ``(R - b - tau sum_t log(pi_t / old_t))^2 / (2 tau)``, old being whoever wrote the token.

    Args:
        model: what learns.
        tau: greater than 0.
        temperature: that answers were drawn with.
    """

    def loss(params: PyTree, batch: Judged) -> tuple[Mean, Metrics]:
        log_prob, entropy = score_answers(model.policy(params), batch.answers, temperature)
        mask = batch.answers.mask.T
        log_ratio = log_prob - batch.answers.log_prob.T
        residual = surrogates.mirror_descent(sequences.total(log_ratio, mask), batch.reward, batch.baseline, tau)
        mean = aggregation.batch_mean(residual, mask)
        terms = {
            "loss": mean,
            "approx_kl": aggregation.token_mean(approximate_kl(log_ratio), mask),
            "entropy": aggregation.token_mean(entropy, mask),
        }
        return mean, terms

    return loss
