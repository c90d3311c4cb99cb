"""Reward models: what answers are worth, learnt from which of them are preferred.

A language model with a linear head reads an answer to its end, and says a number there. Of K answers to one prompt that
somebody has ranked,

    minimise  -E[ log sigmoid(R_w - R_l) ]                        over pairs, all of a prompt together
    minimise  -E[ sum_i log(exp(R_i) / sum_{j>=i} exp(R_j)) ]     over rankings, which for K = 2 is the same.

Answers are drawn from the policy that the model begins as, and ranked by the task's reward, with noise as Bradley-Terry
and Plackett-Luce have it; the model then arrives at that reward over the noise, up to a constant of the prompt.

An ensemble is of members that begin with heads of their own and see data of their own. What they agree on is known;
:func:`frozen_reward` hands them to a learner.

Source: Christiano et al. 2017 (arXiv 1706.03741); Ouyang et al. 2022 (arXiv 2203.02155), section 3.5; Coste et al. 2024
(arXiv 2310.02743), of ensembles.
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
from purerl.algorithms.language.answers import Answers, check_task, draw, model_of, worth
from purerl.algorithms.language.comparisons import check_proxy, proxy, rankings
from purerl.algorithms.language.scalars import ScalarModel
from purerl.config_checks import check_config, check_multiples, config_or_default
from purerl.kernels.language import aggregation, preferences
from purerl.kernels.numerics import safe_divide
from purerl.language.tasks import Task
from purerl.nets.decoder import DecoderConfig
from purerl.nets.heads import Head, linear_head
from purerl.nets.language_model import LanguageModel
from purerl.ranges import hyper, setting
from purerl.recipes import recorded
from purerl.types import Episodes, Mean, Metrics, PyTree
from purerl.update import dataset_update, descend, mean_gradient

REWARD_HEAD = linear_head(scale=1.0, bias=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardModelConfig:
    """What fixes a shape, a loop length or a branch of a reward model. Never traced.

    Raises:
        ValueError: at construction, for a value out of its range.
    """

    decoder: DecoderConfig = dataclasses.field(default_factory=DecoderConfig)
    """The transformer under the head."""
    num_members: int = 1
    """Models of the ensemble, E, each with a head and data of its own."""
    batch_size: int = 32
    """Prompts a gradient step of each member."""
    num_answers: int = setting(2, low=2)
    """Answers to each prompt that are ranked, K; 2: pairs."""
    loss: Literal["pairs", "plackett-luce"] = "pairs"
    """Of a ranking: the mean over its pairs, or the choices of the best of what is left."""
    judge: Literal["task", "proxy"] = "task"
    """Who ranks: the task's reward, or its fallible judges, of whom each member learns from the next."""
    num_gradient_steps: int = 10
    """Gradient steps an update."""
    num_micro_batches: int = 1
    """Parts of a batch that are gone through one after another; divides batch_size."""
    base: str | None = None
    """File of the agent to begin with, of any learner of language; None: a network of its own."""
    warm_up_steps: int = setting(0, low=0)
    """Steps of imitation before, where no base is given; it is their policy that writes the answers."""
    warm_up_batch_size: int = 64
    """Demonstrations a step of imitation."""

    def __post_init__(self) -> None:
        check_config(self)
        check_multiples(self, "num_micro_batches", self.num_micro_batches, "batch_size")

    @property
    def env_steps_per_update(self) -> int:
        """Answers that one member sees."""
        return self.batch_size * self.num_answers * self.num_gradient_steps


class RewardModelHypers(struct.PyTreeNode):
    """Every other number of a reward model: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = hyper(3e-4, low=0)
    """Adam's step size."""
    noise: float = hyper(1.0, above=0)
    """Of who ranks, in units of reward: the better of two answers wins with chance sigmoid(difference / noise)."""
    max_grad_norm: float = hyper(1.0, above=0, infinite=True)
    """Gradients longer than this (global norm) are scaled down to it."""
    adam_epsilon: float = hyper(1e-8, above=0)
    """Adam's denominator constant."""
    warm_up_learning_rate: float = hyper(1e-3, initial=True, low=0)
    """Adam's step size in the steps of imitation."""


class RewardModelState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree  # [E, ...] {"trunk", "head"} of each member
    opt_state: optax.OptState  # [E, ...]
    writer: PyTree  # of the policy that writes answers; () where it is the base


@recorded
def reward_model(
    task: Task,
    config: RewardModelConfig | None = None,
    model: LanguageModel | None = None,
    base: PyTree | None = None,
    head: Head | None = None,
) -> Algorithm:
    """A reward model, or an ensemble, from rankings of answers; an answer counts as an environment step.

    Nothing acts. Evaluated is the share of pairs, of fresh answers that differ in worth, in which the ensemble's mean
    is larger for the better one.

    Args:
        task: what is asked.
        config: sizes and choices.
        model: the trunk, instead of the config's transformer.
        base: parameters of a policy to begin with, such as those of SFT, instead of those in ``config.base`` or after
            steps of imitation; it also writes the answers.
        head: on the trunk; None: linear.

    Raises:
        ValueError: if the task lacks demonstrations or judges that the config asks for; or as
            :func:`~purerl.algorithms.language.start.base_of`.
    """
    config = config_or_default(config, RewardModelConfig)
    check_task(task, "a reward model")
    model = model_of(task, config.decoder, model)
    base = start.base_of(config.base, base, model)
    warm_up_steps = config.warm_up_steps if base is None else 0
    check_task(task, "a reward model", demonstrations=warm_up_steps > 0)
    scalar = ScalarModel(model, head or REWARD_HEAD)
    judges = judges_of(task, config)

    def init(hypers: RewardModelHypers, key: jax.Array) -> RewardModelState:
        params_key, head_key = jax.random.split(key)
        trunk = start.first_params(task, model, base, warm_up_steps, config.warm_up_batch_size, hypers, params_key)
        params = jax.vmap(scalar.init, (0, None))(jax.random.split(head_key, config.num_members), trunk)
        opt_state = jax.vmap(optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon).init)(params)
        return RewardModelState(params, opt_state, start.kept_reference(base, trunk))

    def learn(hypers: RewardModelHypers, state: RewardModelState, key: jax.Array) -> tuple[RewardModelState, Metrics]:
        writer = model.policy(start.reference(base, state.writer))
        loss = loss_of(scalar, config)
        optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)

        def member(i: jax.Array, params: PyTree, opt_state: PyTree, key: jax.Array) -> tuple:
            batch = rankings(
                task, writer, functools.partial(judges, i), key, config.batch_size, config.num_answers, hypers.noise
            )
            groups = jax.tree.map(lambda x: x.reshape(config.batch_size, config.num_answers, *x.shape[1:]), batch)
            grads, metrics = mean_gradient(loss, params, groups, config.num_micro_batches)
            return *descend(optimizer, hypers.learning_rate, params, opt_state, grads), metrics

        members, keys = jnp.arange(config.num_members), jax.random.split(key, config.num_members)
        params, opt_state, metrics = jax.vmap(member)(members, state.params, state.opt_state, keys)
        means = {name: aggregation.value(Mean(*(x.sum() for x in mean))) for name, mean in metrics.items()}
        return state.replace(params=params, opt_state=opt_state), means

    def evaluate(hypers: RewardModelHypers, state: RewardModelState, key: jax.Array, num_episodes: int) -> Episodes:
        writer = model.policy(start.reference(base, state.writer))
        answers = draw(task, writer, key, num_episodes, config.num_answers)
        told = jnp.mean(scores(scalar, state.params, answers), axis=-1)
        truth, told = (x.reshape(num_episodes, -1) for x in (worth(task, answers), told))
        return Episodes(pairs_in_order(told, truth), jnp.ones(num_episodes, jnp.int32))

    settings = {"env": task.name, **dataclasses.asdict(config), **start.record(base=start.fingerprint(base))}
    spec = Spec(
        "reward_model",
        config.env_steps_per_update,
        evaluate,
        settings,
        env_steps_of_init=warm_up_steps * config.warm_up_batch_size,
        hypers_class=RewardModelHypers,
        evaluated_in="rankings",
    )
    update = dataset_update(learn, lambda hypers, state: state, config.num_gradient_steps)
    return Algorithm(init, update, no_carry, None, spec)


def judges_of(task: Task, config: RewardModelConfig) -> Callable[[jax.Array, Answers], jax.Array]:
    """``(i, answers [B]) -> [B]``, what answers are worth to who ranks them for member i.

    Raises:
        ValueError: if there are no such judges.
    """
    if config.judge == "task":
        return lambda i, answers: worth(task, answers)
    check_proxy(task, "RewardModelConfig.judge")

    def of_member(i: jax.Array, answers: Answers) -> jax.Array:
        said = proxy(task, answers)
        return jnp.take(said, i % said.shape[1], axis=1)

    return of_member


def loss_of(scalar: ScalarModel, config: RewardModelConfig) -> Callable:
    """Loss of one member, ``(params, answers [B, K, ...], from best to worst) -> (Mean, metrics)``.

    Args:
        scalar: what learns.
        config: which loss.
    """
    of_ranking = {"pairs": preferences.k_wise_loss, "plackett-luce": preferences.plackett_luce_loss}[config.loss]

    def loss(params: PyTree, answers: Answers) -> tuple[Mean, Metrics]:
        num_prompts, num_answers = answers.mask.shape[:2]
        rows = jax.tree.map(lambda x: x.reshape(num_prompts * num_answers, *x.shape[2:]), answers)
        reward = scalar.whole(params, rows).reshape(num_prompts, num_answers)
        number, order = jnp.asarray(num_prompts, reward.dtype), -jnp.arange(num_answers, dtype=reward.dtype)
        each = of_ranking(reward)
        right = jax.vmap(pairs_in_order, (0, None))(reward, order)
        return Mean(jnp.sum(each), number), {
            "loss": Mean(jnp.sum(each), number),
            "accuracy": Mean(jnp.sum(right), number),
            "spread": Mean(jnp.sum(jnp.std(reward, axis=1)), number),
        }

    return loss


def pairs_in_order(told: jax.Array, truth: jax.Array) -> jax.Array:
    """Share of the pairs that differ in truth in which the larger is told to be larger; told alike is half.

    Args:
        told: ``[..., K]``.
        truth: ``[..., K]``.

    Returns:
        ``[...]``, in [0, 1]; 1 where no two differ in truth.
    """
    told, truth = (jnp.sign(x[..., :, None] - x[..., None, :]) for x in (told, truth))
    differ = jnp.sum(jnp.abs(truth), axis=(-2, -1))
    agree = jnp.sum(told * truth, axis=(-2, -1))
    return jnp.where(differ > 0, 0.5 + 0.5 * safe_divide(agree, differ), 1.0)


def scores(scalar: ScalarModel, params: PyTree, answers: Answers) -> jax.Array:
    """What each member of an ensemble says of answers: ``[B, E]``, for parameters ``[E, ...]``."""
    return jax.vmap(scalar.whole, (0, None), 1)(params, answers)


class FrozenReward(NamedTuple):
    """What a learner that is given a reward asks of it: ``(answers [B]) -> [B, E]``, and a name for its record."""

    score: Callable[[Answers], jax.Array]
    fingerprint: str | None

    def __call__(self, answers: Answers) -> jax.Array:
        return self.score(answers)


def frozen_reward(
    task: Task,
    params: PyTree,
    config: RewardModelConfig | None = None,
    model: LanguageModel | None = None,
    head: Head | None = None,
    zero_at: Answers | None = None,
) -> FrozenReward:
    """A reward model that learns no more, as the ``reward`` of a learner: one number of each member.

    Args:
        task: that it was trained on, for its vocabulary.
        params: ``[E, ...]``, of the state of one run.
        config: as it was trained with.
        model: likewise.
        head: likewise.
        zero_at: answers over which each member is to say 0 on average, such as some of the reference's. Comparisons
            leave a constant open, and the least of several members means something only where theirs is the same.
    """
    config = config_or_default(config, RewardModelConfig)
    scalar = ScalarModel(model_of(task, config.decoder, model), head or REWARD_HEAD)

    def score(answers: Answers) -> jax.Array:
        members = jax.tree.map(jnp.asarray, params)
        said = scores(scalar, members, answers)
        return said if zero_at is None else said - jnp.mean(scores(scalar, members, zero_at), axis=0)

    return FrozenReward(score, start.fingerprint(params))
