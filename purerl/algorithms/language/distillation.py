"""On-policy distillation: the student writes, and a frozen teacher says of every token what it thinks of it.

    minimise  KL(pi ; teacher) = E_{y ~ pi}[ sum_t log(pi(y_t | x, y_<t) / teacher(y_t | x, y_<t)) ]

on the student's own texts, so that it learns what to do after its own mistakes. The estimates of its gradient have
names, by what they sum over and how far they look:

====================  ============================================================  ========================
divergence            coefficient on a token's score                                gradient
====================  ============================================================  ========================
``token``             ``log(pi_t / teacher_t)``                                     prefixes held fixed
``token_to_go``       the same, summed over all that follows                        exact for sequences
``vocabulary``        none: ``KL(pi(. | y_<t) ; teacher(. | y_<t))`` itself          prefixes held fixed
``vocabulary_to_go``  the next tokens' KL, summed over all that follows, and that   exact for sequences
====================  ============================================================  ========================

With prefixes held fixed a student learns to go on like its teacher, and not to stay away from what its teacher would
not have written; all four are 0 at the teacher alone. *KDRL* adds the gradient of a reward, by groups, and may listen
to the teacher only where an answer is not right: ``E[R] - beta KL``. Its weight beta is a hyperparameter, which a
schedule can anneal.

Source: Agarwal et al. 2024 (arXiv 2306.13649); Gu et al. 2024 (arXiv 2306.08543); Xu et al. 2025 (arXiv 2506.02208), of
KDRL.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import optimizers
from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec
from purerl.algorithms.language.answers import (
    Answers,
    answering,
    as_written,
    check_task,
    draw,
    evaluation,
    model_of,
    words,
    worth,
)
from purerl.algorithms.language.start import base_of, fingerprint, first_params, record, reference
from purerl.config_checks import check_config, check_multiples, config_or_default
from purerl.kernels.distributions import categorical
from purerl.kernels.language import aggregation, groups, kl, sequences
from purerl.kernels.language import distillation as kernels
from purerl.kernels.surrogates import approximate_kl, policy_gradient
from purerl.language.policy import Policy
from purerl.language.score import features
from purerl.language.tasks import Task
from purerl.nets.decoder import DecoderConfig
from purerl.nets.language_model import LanguageModel
from purerl.ranges import hyper, setting
from purerl.recipes import recorded
from purerl.types import Mean, Metrics, PyTree, Scalar
from purerl.update import descend, mean_gradient, rollout_update

Divergence = Literal["token", "token_to_go", "vocabulary", "vocabulary_to_go"]
_ADVANTAGES: dict[str, Callable] = {
    "none": jnp.zeros_like,
    "centered": groups.centered,
    "leave_one_out": groups.leave_one_out,
    "standardized": functools.partial(groups.standardized, ddof=0),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """What fixes a shape, a loop length or a branch of distillation. Never traced.

    Raises:
        ValueError: at construction, for a value out of its range, or parts of a batch that are not equal.
    """

    decoder: DecoderConfig = dataclasses.field(default_factory=DecoderConfig)
    """The transformer that learns, the student."""
    teacher_decoder: DecoderConfig | None = dataclasses.field(default=None, metadata={"in_python": True})
    """The transformer that teaches; None: one like the student's."""
    teacher: str | None = None
    """File of the agent that teaches, of any learner of language; None: each run makes one of its own."""
    teacher_steps: int = setting(0, low=0)
    """By so many steps of supervised fine-tuning."""
    num_prompts: int = 64
    """Prompts an update."""
    num_samples: int = 1
    """Answers to each, a group, G; a reward needs at least two to compare."""
    num_micro_batches: int = 1
    """Parts in which the gradient of an update is computed; they change nothing but memory."""
    divergence: Divergence = "token_to_go"
    """The estimate: by the tokens that were drawn or over the vocabulary, prefixes held fixed or all that follows."""
    reward: Literal["none", "centered", "leave_one_out", "standardized"] = "none"
    """KDRL: the advantage of an answer in its group; none: the teacher alone."""
    distil: Literal["all", "wrong"] = "all"
    """Answers that the teacher has a say in."""
    base: str | None = None
    """File of the agent to begin with, of any learner of language; None: a network of its own."""
    warm_up_steps: int = setting(0, low=0)
    """Gradient steps of supervised fine-tuning of the student, where no base is given."""
    warm_up_batch_size: int = 64
    """Demonstrations in each step of either."""

    def __post_init__(self) -> None:
        check_config(self)
        check_multiples(self, "num_micro_batches", self.num_micro_batches, "num_prompts")
        if self.reward != "none" and self.num_samples == 1:
            raise ValueError(
                f"DistillationConfig.num_samples = 1 leaves nothing to compare an answer with, and reward = "
                f"{self.reward!r} compares: take at least 2, or 'none'."
            )


class DistillationHypers(struct.PyTreeNode):
    """Every other number: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = hyper(1e-3, low=0)
    """Adam's step size."""
    max_grad_norm: float = hyper(1.0, above=0, infinite=True)
    """Gradients longer than this (global norm) are scaled down to it."""
    adam_epsilon: float = hyper(1e-8, above=0)
    """Adam's denominator constant."""
    beta: float = hyper(1.0, low=0)
    """Weight of the divergence from the teacher."""
    pass_mark: float = hyper(0.5)
    """An answer with a reward above it is right, and not distilled where only wrong ones are."""
    warm_up_learning_rate: float = hyper(1e-3, low=0, initial=True)
    """Adam's step size in the warm-up of either."""


class DistillationState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree
    opt_state: optax.OptState
    teacher: PyTree  # parameters of the run's own teacher; () where one was given, which all seeds share


class Marked(NamedTuple):
    """The student's answers, and what they got."""

    answers: Answers  # [B]
    advantage: jax.Array  # [B], 0 without a reward
    distilled: jax.Array  # [B] bool, whether the teacher has a say


@recorded
def distill(
    task: Task,
    config: DistillationConfig | None = None,
    model: LanguageModel | None = None,
    base: PyTree | None = None,
    teacher: PyTree | None = None,
    teacher_model: LanguageModel | None = None,
    name: str = "distill",
) -> Algorithm:
    """On-policy distillation, with a reward or without. An answer counts as an environment step.

    Args:
        task: what is asked; with an ``answer`` for a warm-up, or for a teacher that learns from it. Rewards are added.
        config: sizes and choices.
        model: what learns, instead of the config's transformer.
        base: the student's parameters to begin with, instead of those in ``config.base`` or a warm-up.
        teacher: parameters of the teacher, of an earlier run, instead of those in ``config.teacher``: shared by all
            seeds, no part of a checkpoint. Without either each seed has one of its own, made by
            ``config.teacher_steps`` steps of supervised fine-tuning.
        teacher_model: of the teacher, instead of the config's.
        name: of what it is used for, in titles and records.

    Raises:
        ValueError: if there is supervised fine-tuning to do, and the task has no answers to imitate; or as
            :func:`~purerl.algorithms.language.start.base_of`.
    """
    config = config_or_default(config, DistillationConfig)
    check_task(task, "Distillation")
    model = model_of(task, config.decoder, model)
    taught_by = model_of(task, config.teacher_decoder or config.decoder, teacher_model)
    base, teacher = base_of(config.base, base, model), base_of(config.teacher, teacher, taught_by)
    student_steps = 0 if base is not None else config.warm_up_steps
    teacher_steps = 0 if teacher is not None else config.teacher_steps
    check_task(task, "Distillation", demonstrations=student_steps + teacher_steps > 0)
    batch_size = config.warm_up_batch_size

    def init(hypers: DistillationHypers, key: jax.Array) -> DistillationState:
        student_key, teacher_key = jax.random.split(key)
        params = first_params(task, model, base, student_steps, batch_size, hypers, student_key)
        own = ()
        if teacher is None:
            own = first_params(task, taught_by, None, teacher_steps, batch_size, hypers, teacher_key)
        opt_state = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon).init(params)
        return DistillationState(params, opt_state, own)

    def collect(
        hypers: DistillationHypers, state: DistillationState, key: jax.Array
    ) -> tuple[DistillationState, Marked, Metrics]:
        answers = draw(task, model.policy(state.params), key, config.num_prompts, config.num_samples)
        return state, *mark(task, config, hypers.pass_mark, answers)

    def learn(
        hypers: DistillationHypers, state: DistillationState, batch: Marked, key: jax.Array
    ) -> tuple[DistillationState, Metrics]:
        frozen = reference(teacher, state.teacher)
        loss = loss_of(model, taught_by.policy(frozen), config.divergence, hypers.beta)
        grads, metrics = mean_gradient(loss, state.params, batch, config.num_micro_batches)
        optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)
        params, opt_state = descend(optimizer, hypers.learning_rate, state.params, state.opt_state, grads)
        return state.replace(params=params, opt_state=opt_state), metrics

    act = answering(task, model)
    given = record(base=fingerprint(base), teacher=fingerprint(teacher))
    spec = Spec(
        name,
        config.num_prompts * config.num_samples,
        evaluation(task, act),
        {"env": task.name, **dataclasses.asdict(config), **given},
        (student_steps + teacher_steps) * batch_size,
        hypers_class=DistillationHypers,
        evaluated_in="answers",
        words=words(task),
    )
    return Algorithm(init, rollout_update(collect, learn), no_carry, act, spec)


def mark(task: Task, config: DistillationConfig, pass_mark: Scalar, answers: Answers) -> tuple[Marked, Metrics]:
    """What the student's answers got: their advantage in their group, and whether the teacher has a say in them.

    Args:
        task: what was asked.
        config: says which.
        pass_mark: rewards above it are right.
        answers: ``[B]``, groups of G.

    Returns:
        the answers with both, and metrics of rewards and lengths.
    """
    given, mask = worth(task, answers), answers.mask.T
    of_group = given.reshape(-1, config.num_samples)
    advantage = _ADVANTAGES[config.reward](of_group)
    distilled = (given <= pass_mark) | (config.distil == "all")
    metrics = {
        "episode_return": aggregation.batch_mean(given, mask),
        "answer_length": aggregation.batch_mean(sequences.length(mask).astype(jnp.float32), mask),
    }
    return Marked(answers, advantage.reshape(-1), distilled), metrics


def loss_of(model: LanguageModel, teacher: Policy, divergence: Divergence, beta: Scalar) -> Callable:
    """Distillation's loss, ``(params, marked [B]) -> (Mean, metrics)``: ``sum_t beta 1[distilled] D_t - A log pi_t``.

    Sums over tokens, means over answers, so that its mean gradient is that of ``beta KL - E[R]`` where D looks at all
    that follows. D of ``token`` is ``log(pi_t / teacher_t)^2 / 2``, which has its gradient, as KDRL writes it.

    Args:
        model: of the student.
        teacher: its policy, frozen.
        divergence: which estimate.
        beta: at least 0.
    """

    def loss(params: PyTree, batch: Marked) -> tuple[Mean, Metrics]:
        answers, mask = batch.answers, batch.answers.mask.T
        logits, teacher_logits = (
            _logits(policy, answers) for policy in (as_written(model.policy(params), answers), teacher)
        )
        teacher_logits = jax.lax.stop_gradient(teacher_logits)
        log_prob, teacher_log_prob = (_of_tokens(x, answers) for x in (logits, teacher_logits))
        log_ratio = jnp.where(mask, log_prob - teacher_log_prob, 0)
        if divergence == "token":
            elements = kl.k2(log_ratio)
        elif divergence == "token_to_go":
            elements = kl.loss(log_prob, log_ratio, mask)
        elif divergence == "vocabulary":
            elements = kl.reverse(logits, teacher_logits)
        else:
            elements = kernels.full_vocabulary_loss(logits, teacher_logits, log_prob, mask)
        objective = policy_gradient(log_prob, jnp.broadcast_to(batch.advantage, mask.shape))
        mean = aggregation.sequence_sum(beta * jnp.where(batch.distilled, elements, 0) - objective, mask)
        mismatch = approximate_kl(jnp.where(mask, log_prob - answers.log_prob.T, 0))
        metrics = {
            "teacher_kl": aggregation.sequence_sum(log_ratio, mask),
            "entropy": aggregation.token_mean(categorical.entropy(logits), mask),
            "mismatch_kl": aggregation.token_mean(mismatch, mask),
            "distilled": aggregation.batch_mean(batch.distilled.astype(jnp.float32), mask),
        }
        return mean, metrics

    return loss


def _logits(policy: Policy, answers: Answers) -> jax.Array:
    """Before each token, ``[T, B, V]``."""
    return policy.logits(features(policy, answers.prompts, answers.tokens.T, answers.mask.T))


def _of_tokens(logits: jax.Array, answers: Answers) -> jax.Array:
    """Log-probabilities of the tokens, ``[T, B]``."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), answers.tokens.T[..., None], axis=-1)[..., 0]
