"""Supervised fine-tuning (SFT): imitate demonstrations, token by token.

    minimise  -E[ sum_t log pi(y_t | x, y_<t) ]  over prompts x and their demonstrations y,

divided by tokens or by answers. Its minimiser is the distribution of the data; an answer that the data lack gets
nothing. Every further learner of language begins with it: a policy that never answers rightly has no reward to learn
from.

Source: Ouyang et al. 2022 (arXiv 2203.02155), section 3.1.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

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
    check_task,
    demonstrate,
    evaluation,
    model_of,
    score_answers,
    words,
)
from purerl.config_checks import check_config, config_or_default
from purerl.kernels.language import aggregation
from purerl.language.tasks import Task
from purerl.nets.decoder import DecoderConfig
from purerl.nets.language_model import LanguageModel
from purerl.ranges import hyper
from purerl.recipes import recorded
from purerl.types import Mean, Metrics, PyTree
from purerl.update import dataset_update, descend, mean_gradient


@dataclasses.dataclass(frozen=True, kw_only=True)
class SFTConfig:
    """What fixes a shape, a loop length or a branch of SFT. Never traced.

    Raises:
        ValueError: at construction, for a value out of its range.
    """

    decoder: DecoderConfig = dataclasses.field(default_factory=DecoderConfig)
    """The transformer that learns."""
    batch_size: int = 64
    """Demonstrations a gradient step, B."""
    num_gradient_steps: int = 10
    """Gradient steps an update."""
    average: Literal["token", "answer"] = "token"
    """What counts alike: every token, or every answer whatever its length."""

    def __post_init__(self) -> None:
        check_config(self)


class SFTHypers(struct.PyTreeNode):
    """Every other number of SFT: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = hyper(1e-3, low=0)
    """Adam's step size."""
    max_grad_norm: float = hyper(1.0, above=0, infinite=True)
    """Gradients longer than this (global norm) are scaled down to it."""
    adam_epsilon: float = hyper(1e-8, above=0)
    """Adam's denominator constant."""


class SFTState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree
    opt_state: optax.OptState


@recorded
def sft(task: Task, config: SFTConfig | None = None, model: LanguageModel | None = None) -> Algorithm:
    """Supervised fine-tuning on the right answers of a task. A demonstration counts as an environment step.

    Args:
        task: with an ``answer``, see :class:`purerl.language.tasks.Task`.
        config: sizes and choices.
        model: what learns, instead of the config's transformer.

    Raises:
        ValueError: if the task has no answers to imitate.
    """
    config = config_or_default(config, SFTConfig)
    check_task(task, "SFT", demonstrations=True)
    model = model_of(task, config.decoder, model)

    def init(hypers: SFTHypers, key: jax.Array) -> SFTState:
        params = model.init(key)
        return SFTState(params, optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon).init(params))

    def learn(hypers: SFTHypers, state: SFTState, key: jax.Array) -> tuple[SFTState, Metrics]:
        batch = demonstrate(task, key, config.batch_size)
        optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)
        grads, metrics = mean_gradient(loss_of(model, config.average), state.params, batch)
        new = descend(optimizer, hypers.learning_rate, state.params, state.opt_state, grads)
        return SFTState(*new), jax.tree.map(aggregation.value, metrics, is_leaf=lambda x: isinstance(x, Mean))

    act = answering(task, model)
    spec = Spec(
        "sft",
        config.batch_size * config.num_gradient_steps,
        evaluation(task, act),
        {"env": task.name, **dataclasses.asdict(config)},
        hypers_class=SFTHypers,
        evaluated_in="answers",
        words=words(task),
    )
    update = dataset_update(learn, lambda hypers, state: state, config.num_gradient_steps)
    return Algorithm(init, update, no_carry, act, spec)


def loss_of(model: LanguageModel, average: Literal["token", "answer"]) -> Callable:
    """SFT's loss, ``(params, answers [B]) -> (Mean, metrics)``: ``-sum_i sum_t log pi(y_it | x_i, y_i<t)``, divided.

    Args:
        model: what learns.
        average: by the number of tokens, or each answer by its own and the sum by the number of answers.
    """
    averaged: Any = {"token": aggregation.token_mean, "answer": aggregation.sequence_mean}[average]

    def loss(params: PyTree, answers: Answers) -> tuple[Mean, Metrics]:
        log_prob, entropy = score_answers(model.policy(params), answers)
        mask = answers.mask.T
        whole = aggregation.batch_mean(jnp.sum(log_prob, axis=0), mask)
        terms = {"log_likelihood": whole, "entropy": aggregation.token_mean(entropy, mask)}
        return averaged(-log_prob, mask), terms

    return loss
