"""DPO, direct preference optimisation: a policy that learns from pairs of answers as if it were its own reward model.

    minimise  -E[ log sigmoid(beta log(pi(w) / ref(w)) - beta log(pi(l) / ref(l))) ]

over pairs of which w was preferred to l. The reward that a policy is optimal for is ``beta log(pi / ref)`` up to a
constant of the prompt, so this is a reward model's loss. Where preferences are Bradley-Terry's for a reward R and a
noise of 1, and every answer occurs, its minimiser is what RLHF looks for: ``pi* = ref exp(R / beta) / Z``.

Nothing is drawn from what learns: pairs are the reference's answers, ranked by the task's reward. Only the difference
of a pair is pushed, so both its answers may become less likely.

Source: Rafailov et al. 2023 (arXiv 2305.18290), (7).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import optimizers
from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec
from purerl.algorithms.language import start
from purerl.algorithms.language.answers import (
    Answers,
    answering,
    check_task,
    evaluation,
    model_of,
    score_answers,
    words,
    worth,
)
from purerl.algorithms.language.comparisons import rankings
from purerl.config_checks import check_config, check_multiples, config_or_default
from purerl.kernels.language import aggregation, preferences, sequences
from purerl.language.tasks import Task
from purerl.nets.decoder import DecoderConfig
from purerl.nets.language_model import LanguageModel
from purerl.ranges import hyper, setting
from purerl.recipes import recorded
from purerl.types import Mean, Metrics, PyTree, Scalar
from purerl.update import dataset_update, descend, mean_gradient


@dataclasses.dataclass(frozen=True, kw_only=True)
class DPOConfig:
    """What fixes a shape, a loop length or a branch of DPO. Never traced.

    Raises:
        ValueError: at construction, for a value out of its range.
    """

    decoder: DecoderConfig = dataclasses.field(default_factory=DecoderConfig)
    """The transformer that learns."""
    batch_size: int = 64
    """Pairs a gradient step, B."""
    num_gradient_steps: int = 10
    """Gradient steps an update."""
    num_micro_batches: int = 1
    """Parts of a batch that are gone through one after another; divides batch_size."""
    loss: Literal["dpo", "ipo"] = "dpo"
    """Logistic, or squared: then margins stop at 1 / (2 beta), also where one answer always wins."""
    base: str | None = None
    """File of the agent to begin with, of any learner of language; None: a network of its own."""
    warm_up_steps: int = setting(100, low=0)
    """Steps of imitation before, where no base is given."""
    warm_up_batch_size: int = 64
    """Demonstrations a step of imitation."""

    def __post_init__(self) -> None:
        check_config(self)
        check_multiples(self, "num_micro_batches", self.num_micro_batches, "batch_size")


class DPOHypers(struct.PyTreeNode):
    """Every other number of DPO: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = hyper(3e-4, low=0)
    """Adam's step size."""
    beta: float = hyper(0.1, above=0)
    """Weight of the KL penalty whose optimum is sought, in units of reward over noise."""
    label_smoothing: float = hyper(0.0, low=0, high=0.5)
    """Chance with which a preference is taken to be the wrong way round."""
    noise: float = hyper(1.0, above=0)
    """Of who compares, in units of reward: the better of two answers wins with chance sigmoid(difference / noise)."""
    max_grad_norm: float = hyper(1.0, above=0, infinite=True)
    """Gradients longer than this (global norm) are scaled down to it."""
    adam_epsilon: float = hyper(1e-8, above=0)
    """Adam's denominator constant."""
    warm_up_learning_rate: float = hyper(1e-3, initial=True, low=0)
    """Adam's step size in the steps of imitation."""


class DPOState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree
    opt_state: optax.OptState
    reference: PyTree  # parameters of the reference policy; () where it is the base


@recorded
def dpo(
    task: Task, config: DPOConfig | None = None, model: LanguageModel | None = None, base: PyTree | None = None
) -> Algorithm:
    """DPO on pairs of the reference's answers. A pair counts as two environment steps.

    Args:
        task: what is asked, and whose reward compares.
        config: sizes and choices.
        model: what learns, instead of the config's transformer.
        base: parameters to begin with, such as those of SFT, instead of those in ``config.base`` or after steps of
            imitation; they are the reference too.

    Raises:
        ValueError: if the task lacks demonstrations for these steps; or as
            :func:`~purerl.algorithms.language.start.base_of`.
    """
    config = config_or_default(config, DPOConfig)
    check_task(task, "DPO")
    model = model_of(task, config.decoder, model)
    base = start.base_of(config.base, base, model)
    warm_up_steps = config.warm_up_steps if base is None else 0
    check_task(task, "DPO", demonstrations=warm_up_steps > 0)

    def init(hypers: DPOHypers, key: jax.Array) -> DPOState:
        params = start.first_params(task, model, base, warm_up_steps, config.warm_up_batch_size, hypers, key)
        opt_state = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon).init(params)
        return DPOState(params, opt_state, start.kept_reference(base, params))

    def learn(hypers: DPOHypers, state: DPOState, key: jax.Array) -> tuple[DPOState, Metrics]:
        reference = model.policy(start.reference(base, state.reference))
        judge = functools.partial(worth, task)
        answers = rankings(task, reference, judge, key, config.batch_size, 2, hypers.noise)
        pairs = jax.tree.map(
            lambda x: x.reshape(config.batch_size, 2, *x.shape[1:]),
            (answers, sequences.total(score_answers(reference, answers).log_prob, answers.mask.T)),
        )
        loss = loss_of(model, config.loss, hypers.beta, hypers.label_smoothing)
        grads, metrics = mean_gradient(loss, state.params, pairs, config.num_micro_batches)
        optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)
        params, opt_state = descend(optimizer, hypers.learning_rate, state.params, state.opt_state, grads)
        state = state.replace(params=params, opt_state=opt_state)
        return state, jax.tree.map(aggregation.value, metrics, is_leaf=lambda x: isinstance(x, Mean))

    act = answering(task, model)
    spec = Spec(
        "dpo",
        2 * config.batch_size * config.num_gradient_steps,
        evaluation(task, act),
        {"env": task.name, **dataclasses.asdict(config), **start.record(base=start.fingerprint(base))},
        env_steps_of_init=warm_up_steps * config.warm_up_batch_size,
        hypers_class=DPOHypers,
        evaluated_in="answers",
        words=words(task),
    )
    update = dataset_update(learn, lambda hypers, state: state, config.num_gradient_steps)
    return Algorithm(init, update, no_carry, act, spec)


def loss_of(model: LanguageModel, loss: Literal["dpo", "ipo"], beta: Scalar, label_smoothing: Scalar = 0.0) -> Callable:
    """DPO's loss, ``(params, (answers [B, 2, ...], log ref [B, 2])) -> (Mean, metrics)``, the preferred one first.

    ``(1 - epsilon) l(h_w, h_l) + epsilon l(h_l, h_w)`` with ``h = log(pi / ref)`` of whole answers.

    Args:
        model: what learns.
        loss: l.
        beta: greater than 0.
        label_smoothing: epsilon, in [0, 1/2].

    Source: Rafailov et al. 2023, (7); Azar et al. 2023, (17), of IPO.
    """
    of_pair = {"dpo": preferences.dpo_loss, "ipo": preferences.ipo_loss}[loss]

    def mean_loss(params: PyTree, pairs: tuple[Answers, jax.Array]) -> tuple[Mean, Metrics]:
        answers, ref_log_prob = pairs
        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), answers)
        log_prob = sequences.total(score_answers(model.policy(params), rows).log_prob, rows.mask.T)
        log_ratio = log_prob.reshape(ref_log_prob.shape) - ref_log_prob
        chosen, rejected = log_ratio.T
        right, wrong = of_pair(chosen, rejected, beta), of_pair(rejected, chosen, beta)
        margin = preferences.implicit_reward(chosen - rejected, beta)
        each = {
            "loss": (1 - label_smoothing) * right + label_smoothing * wrong,
            "implicit_margin": margin,
            "implicit_accuracy": 0.5 + 0.5 * jnp.sign(margin),
            "log_ratio_chosen": chosen,
            "log_ratio_rejected": rejected,
        }
        number = jnp.asarray(len(margin), margin.dtype)
        metrics = {name: Mean(jnp.sum(x), number) for name, x in each.items()}
        return metrics["loss"], metrics

    return mean_loss
