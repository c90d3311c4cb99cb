"""Outcome and process reward models: what the chance is of getting it right, at the end of an answer or on the way.

A language model with a linear head says a number after the prompt and after each token, z_t. Of labels q of the answers
of a frozen policy (:mod:`purerl.algorithms.language.process_labels`),

    minimise  -E[ sum_t q_t log p_t + (1 - q_t) log(1 - p_t) ],   p_t = sigmoid(z_t)

over finished answers (outcome model) or all prefixes (process model). Where labels are outcomes of what the policy goes
on with, p_t arrives at the value of the prefix, ``E[R(y) | y_<=t]``.

The agent draws N answers of that policy, and gives the one that the model likes best. :func:`frozen_judge` hands the
model to a learner: it says what answers are worth, or what each of their steps adds, ``r_t = p_t - p_{t-1}``, which
changes no optimum.

Source: Cobbe et al. 2021 (arXiv 2110.14168); Lightman et al. 2023 (arXiv 2305.20050); Wang et al. 2024 (arXiv
2312.08935).
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
from purerl.algorithms.language import start
from purerl.algorithms.language.answers import Answers, answer, check_task, draw, evaluation, model_of, reward, words
from purerl.algorithms.language.best_of import best_of
from purerl.algorithms.language.process_labels import Labels, labels_of, with_prompt
from purerl.algorithms.language.scalars import ScalarModel
from purerl.config_checks import check_config, check_multiples, config_or_default
from purerl.kernels.language import aggregation, process_rewards, sequences
from purerl.language.policy import Policy, Prompts
from purerl.language.tasks import Task
from purerl.nets.decoder import DecoderConfig
from purerl.nets.heads import Head, linear_head
from purerl.nets.language_model import LanguageModel
from purerl.ranges import hyper, setting
from purerl.recipes import recorded
from purerl.spaces import Tokens
from purerl.types import Mean, Metrics, PyTree, Seen
from purerl.update import dataset_update, descend, mean_gradient


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessRewardConfig:
    """What fixes a shape, a loop length or a branch of a process reward model. Never traced.

    Raises:
        ValueError: at construction, for a value out of its range.
    """

    decoder: DecoderConfig = dataclasses.field(default_factory=DecoderConfig)
    """The transformer under the head, and of the policy."""
    labels: Labels = "rollouts"
    """What is learnt: outcomes of finished answers ("answer", an outcome model); or, of all prefixes, their outcome,
    the mean of rollouts, that of a tree of them, or whether the task holds each step to be correct."""
    hard_labels: bool = False
    """Labels are 1 where any rollout is right, and not their share."""
    batch_size: int = 32
    """Prompts a gradient step."""
    num_answers: int = 4
    """Answers to each prompt, G."""
    num_rollouts: int = 4
    """Continuations of each prefix, K, for labels that take some."""
    num_gradient_steps: int = 10
    """Gradient steps an update."""
    num_micro_batches: int = 1
    """Parts of a batch that are gone through one after another; divides batch_size."""
    answer_score: Literal["last", "least", "product"] = "last"
    """What an answer is judged by: the chance after its last token, the least of all, or their product, which of steps
    that are held to be correct or not is the chance that all are."""
    num_candidates: int = 8
    """Answers that the agent draws to give the best of them, N."""
    stop_after: int = setting(0, low=0)
    """After so many tokens the agent drops the worse half of them; 0: never."""
    base: str | None = None
    """File of the agent to begin with, of any learner of language; None: a network of its own."""
    warm_up_steps: int = setting(0, low=0)
    """Steps of imitation before, where no base is given; it is their policy that writes the answers."""
    warm_up_batch_size: int = 64
    """Demonstrations a step of imitation."""

    def __post_init__(self) -> None:
        check_config(self)
        check_multiples(self, "num_micro_batches", self.num_micro_batches, "batch_size")
        if self.labels == "answer" and (self.stop_after or self.answer_score != "last"):
            raise ValueError(
                f"ProcessRewardConfig.labels = 'answer' says nothing of prefixes: stop_after = {self.stop_after} must "
                f"be 0 and answer_score = {self.answer_score!r} 'last', or learn from other labels."
            )

    def num_drawn(self, max_tokens: int) -> int:
        """Answers that an update draws, rollouts included, to a task that gives them so many tokens."""
        rollouts = max_tokens * self.num_rollouts if self.labels in ("rollouts", "tree") else 0
        return self.batch_size * self.num_answers * (1 + rollouts) * self.num_gradient_steps


class ProcessRewardHypers(struct.PyTreeNode):
    """Every other number of a process reward model: leaves, so that one compile serves all values."""

    learning_rate: float = hyper(1e-3, low=0)
    """Adam's step size."""
    max_grad_norm: float = hyper(1.0, above=0, infinite=True)
    """Gradients longer than this (global norm) are scaled down to it."""
    adam_epsilon: float = hyper(1e-8, above=0)
    """Adam's denominator constant."""
    warm_up_learning_rate: float = hyper(1e-3, initial=True, low=0)
    """Adam's step size in the steps of imitation."""


class ProcessRewardState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree  # {"trunk", "head"}
    opt_state: optax.OptState
    writer: PyTree  # of the policy that writes answers; () where it is the base


@recorded
def process_reward(
    task: Task,
    config: ProcessRewardConfig | None = None,
    model: LanguageModel | None = None,
    base: PyTree | None = None,
    head: Head | None = None,
) -> Algorithm:
    """An outcome or process reward model of a frozen policy's answers; an answer counts as an environment step.

    The agent answers with the best of N, or, with ``sample``, as the policy does.

    Args:
        task: what is asked, with one reward in [0, 1], the chance that an answer is held to be right.
        config: sizes and choices.
        model: policy and trunk, instead of the config's transformer.
        base: parameters of the policy, and of the trunk at first, instead of those in ``config.base`` or after steps of
            imitation.
        head: on the trunk; None: linear.

    Raises:
        ValueError: if the task lacks demonstrations or marks of steps that the config asks for, or its answers are too
            short to stop there, or have several rewards; or as :func:`~purerl.algorithms.language.start.base_of`.
    """
    config = config_or_default(config, ProcessRewardConfig)
    check_task(task, "a process reward model")
    _check_fits(task, config)
    model = model_of(task, config.decoder, model)
    base = start.base_of(config.base, base, model)
    warm_up_steps = config.warm_up_steps if base is None else 0
    check_task(task, "a process reward model", demonstrations=warm_up_steps > 0)
    scalar = ScalarModel(model, head or linear_head())

    def init(hypers: ProcessRewardHypers, key: jax.Array) -> ProcessRewardState:
        params_key, head_key = jax.random.split(key)
        trunk = start.first_params(task, model, base, warm_up_steps, config.warm_up_batch_size, hypers, params_key)
        params = scalar.init(head_key, trunk)
        opt_state = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon).init(params)
        return ProcessRewardState(params, opt_state, start.kept_reference(base, trunk))

    def learn(
        hypers: ProcessRewardHypers, state: ProcessRewardState, key: jax.Array
    ) -> tuple[ProcessRewardState, Metrics]:
        batch = labelled(task, model.policy(start.reference(base, state.writer)), key, config)
        optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)
        grads, metrics = mean_gradient(functools.partial(loss, scalar), state.params, batch, config.num_micro_batches)
        new = descend(optimizer, hypers.learning_rate, state.params, state.opt_state, grads)
        return state.replace(params=new[0], opt_state=new[1]), {
            name: mean if name == "episode_return" else aggregation.value(mean) for name, mean in metrics.items()
        }

    def act(
        hypers: ProcessRewardHypers,
        state: ProcessRewardState,
        carry: tuple,
        seen: Seen,
        key: jax.Array,
        sample: bool = False,
    ) -> tuple[tuple, Tokens]:
        policy, prompts = model.policy(start.reference(base, state.writer)), Prompts(seen.obs.ids, seen.obs.mask)
        if sample:
            given = answer(task, policy, prompts, key)
        else:
            liked = functools.partial(answer_score, scalar, state.params, config.answer_score)
            given = best_of(task, policy, liked, prompts, key, config.num_candidates, config.stop_after)
        return carry, Tokens(given.tokens, given.mask)

    spec = Spec(
        "prm",
        config.num_drawn(task.max_tokens),
        evaluation(task, act),
        {"env": task.name, **dataclasses.asdict(config), **start.record(base=start.fingerprint(base))},
        env_steps_of_init=warm_up_steps * config.warm_up_batch_size,
        hypers_class=ProcessRewardHypers,
        evaluated_in="answers",
        words=words(task),
    )
    update = dataset_update(learn, lambda hypers, state: state, config.num_gradient_steps)
    return Algorithm(init, update, no_carry, act, spec)


class Labelled(NamedTuple):
    """Answers with what is to be said after their prompts and after each of their tokens."""

    answers: Answers  # [B]
    label: jax.Array  # [B, 1 + T]
    counts: jax.Array  # [B, 1 + T] bool, which of them are learnt from
    outcome: jax.Array  # [B]


def labelled(task: Task, policy: Policy, key: jax.Array, config: ProcessRewardConfig) -> Labelled:
    """Answers of a policy to fresh prompts, ``batch_size * num_answers`` of them, with their labels."""
    answer_key, label_key = jax.random.split(key)
    answers = draw(task, policy, answer_key, config.batch_size, config.num_answers)
    label, counts = labels_of(config.labels, task, policy, answers, label_key, config.num_answers, config.num_rollouts)
    label = process_rewards.hard_labels(label) if config.hard_labels else label
    return Labelled(answers, label.T, counts.T, reward(task, answers))


def loss(scalar: ScalarModel, params: PyTree, batch: Labelled) -> tuple[Mean, Metrics]:
    """Cross-entropy of labels, over the prefixes that count: ``sum_t (softplus(z_t) - q_t z_t)``, divided by them.

    Args:
        scalar: what learns.
        params: its parameters.
        batch: B answers with labels.
    """
    logit, label, counts = logits(scalar, params, batch.answers), batch.label.T, batch.counts.T
    total = aggregation.token_mean(process_rewards.label_loss(logit, label), counts)
    mask = batch.answers.mask.T
    return total, {
        "loss": total,
        "label": aggregation.token_mean(label, counts),
        "squared_error": aggregation.token_mean(jnp.square(jax.nn.sigmoid(logit) - label), counts),
        "episode_return": aggregation.batch_mean(batch.outcome, mask),
        "answer_length": aggregation.batch_mean(sequences.length(mask).astype(float), mask),
    }


def logits(scalar: ScalarModel, params: PyTree, answers: Answers) -> jax.Array:
    """What is said after the prompt and after each token, ``[1 + T, B]``; 0 outside the answers."""
    return scalar.after(params, with_prompt(answers))


def answer_score(
    scalar: ScalarModel, params: PyTree, how: Literal["last", "least", "product"], answers: Answers
) -> jax.Array:
    """What answers, or beginnings of them, are judged by, ``[B]``: log of a chance, of the least, or of the product.

    The prompt is no step. Nothing is 0.
    """
    mask = answers.mask.T
    log_chance = jax.nn.log_sigmoid(logits(scalar, params, answers)[1:])
    if how == "last":
        return sequences.last(log_chance, mask)
    return sequences.total(log_chance, mask) if how == "product" else jnp.min(log_chance, axis=0, where=mask, initial=0)


class FrozenJudge(NamedTuple):
    """A model that learns no more, for learners: it takes answers ``[B]``, and has a name for their records."""

    chance: Callable[[Answers], jax.Array]  # (answers) -> [1 + T, B], of the prompt and of the text up to each token
    fingerprint: str | None

    def __call__(self, answers: Answers) -> jax.Array:
        """What finished answers are worth, ``[B]``: a reward of the whole, as an outcome model gives it."""
        return sequences.last(self.chance(answers)[1:], answers.mask.T)

    def steps(self, answers: Answers) -> jax.Array:
        """What each token adds, ``r_t = p_t - p_{t-1}``, ``[T, B]``: rewards of steps; 0 outside the answers.

        Their sum is the worth of the whole less that of the prompt, so the policy gradient is that of the whole.
        """
        chance = self.chance(answers)
        return process_rewards.difference_rewards(chance[1:], chance[0], answers.mask.T)


def frozen_judge(
    task: Task,
    params: PyTree,
    config: ProcessRewardConfig | None = None,
    model: LanguageModel | None = None,
    head: Head | None = None,
) -> FrozenJudge:
    """An outcome or process reward model that learns no more.

    Args:
        task: that it was trained on, for its vocabulary.
        params: of the state of one run.
        config: as it was trained with.
        model: likewise.
        head: likewise.
    """
    config = config_or_default(config, ProcessRewardConfig)
    scalar = ScalarModel(model_of(task, config.decoder, model), head or linear_head())

    def chance(answers: Answers) -> jax.Array:
        return jax.nn.sigmoid(logits(scalar, jax.tree.map(jnp.asarray, params), answers))

    return FrozenJudge(chance, start.fingerprint(params))


def _check_fits(task: Task, config: ProcessRewardConfig) -> None:
    if config.labels == "steps" and task.step_correct is None:
        raise ValueError(
            f"ProcessRewardConfig.labels = 'steps': the task {task.name} does not say which steps are correct."
        )
    if config.stop_after >= task.max_tokens:
        raise ValueError(
            f"ProcessRewardConfig.stop_after = {config.stop_after}: answers to {task.name} have at most "
            f"{task.max_tokens} tokens, so it must be less."
        )
    tokens = jax.ShapeDtypeStruct((task.max_tokens, 1), jnp.int32)
    told = jax.eval_shape(
        lambda key, tokens: task.reward(task.draw(key, 1).info, tokens, tokens == 0), jax.random.key(0), tokens
    )
    if told.ndim > 1:
        raise ValueError(
            f"A process reward model says one chance: the {told.shape[1]} rewards of {task.name} are too many."
        )
