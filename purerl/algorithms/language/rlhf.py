"""RLHF by PPO: improve what a policy writes by a reward, and stay near the policy that it began as.

    maximise  E[ R(x, y) ] - beta KL(pi ; ref)

Answers are drawn and judged. The penalty goes into the reward of each token, the judgement to the last one:

    r_t = -beta log(pi(y_t) / ref(y_t)) + R(x, y) 1[t is the last]

so that an answer's return is ``R - beta log(pi(y) / ref(y))``. A critic, a network of its own that begins as a copy of
the policy with a head that says 0, gives advantages by GAE; then come epochs of minibatches of the clipped surrogate.
PPO-ptx adds the gradient of the likelihood of demonstrations. Where all this leads to is known, see
:func:`purerl.kernels.language.kl.optimum`: ``pi* = ref exp(R / beta) / Z``, where the critic says ``beta log Z``.

Source: Ziegler et al. 2019 (arXiv 1909.08593); Ouyang et al. 2022 (arXiv 2203.02155), (2).
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
from purerl.algorithms.language import sft, start
from purerl.algorithms.language.answers import (
    Answers,
    answering,
    check_task,
    demonstrate,
    draw,
    evaluation,
    model_of,
    score_answers,
    words,
    worth,
)
from purerl.algorithms.language.answers import reward as reward_of
from purerl.algorithms.language.comparisons import check_proxy, proxy
from purerl.algorithms.language.scalars import ScalarModel
from purerl.config_checks import check_config, check_multiples, config_or_default
from purerl.kernels import numerics, returns, surrogates
from purerl.kernels.language import aggregation, kl, rewards, sequences
from purerl.language.tasks import Task
from purerl.nets.decoder import DecoderConfig
from purerl.nets.heads import Head, linear_head
from purerl.nets.language_model import LanguageModel
from purerl.ranges import hyper, setting
from purerl.recipes import recorded
from purerl.types import Mean, Metrics, PyTree, Scalar
from purerl.update import descend, mean_gradient, minibatch_epochs, rollout_update

_COMBINED: dict[str, Callable] = {
    "sum": functools.partial(jnp.sum, axis=-1),
    "mean": rewards.ensemble_mean,
    "min": rewards.ensemble_min,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RLHFConfig:
    """What fixes a shape, a loop length or a branch of RLHF. Never traced.

    Raises:
        ValueError: at construction, for sizes that do not fit each other.
    """

    decoder: DecoderConfig = dataclasses.field(default_factory=DecoderConfig)
    """The transformer that writes, and the critic's."""
    batch_size: int = 128
    """Answers an update, B."""
    num_epochs: int = 2
    """Passes over them."""
    num_minibatches: int = 2
    """Minibatches a pass; divides batch_size."""
    num_micro_batches: int = 1
    """Parts of a minibatch that are gone through one after another; divides it."""
    reward: Literal["task", "proxy"] = "task"
    """What is optimised: the task's reward, or what its fallible judges say; unless a reward is given."""
    combine: Literal["sum", "mean", "min"] = "sum"
    """How several rewards, or those of several judges or reward models, become one."""
    adapt_beta: bool = False
    """Let a controller scale beta so that the KL divergence comes to hypers.target_kl."""
    ptx: bool = False
    """Mix in the likelihood of demonstrations, one for each answer: PPO-ptx."""
    normalize_advantage: bool = True
    """Standardise the advantages of an update's tokens."""
    base: str | None = None
    """File of the agent to begin with, of any learner of language; None: a network of its own."""
    warm_up_steps: int = setting(100, low=0)
    """Steps of imitation before, where no base is given."""
    warm_up_batch_size: int = 64
    """Demonstrations a step of imitation."""

    def __post_init__(self) -> None:
        check_config(self)
        check_multiples(self, "num_minibatches", self.num_minibatches, "batch_size")
        check_multiples(
            self, "num_minibatches * num_micro_batches", self.num_minibatches * self.num_micro_batches, "batch_size"
        )


class RLHFHypers(struct.PyTreeNode):
    """Every other number of RLHF: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = hyper(3e-4, low=0)
    """Adam's step size of the policy."""
    value_learning_rate: float = hyper(1e-3, low=0)
    """Adam's step size of the critic."""
    beta: float = hyper(0.1, low=0)
    """Weight of the KL penalty, in units of reward; with adapt_beta times the controller's scale, which begins at 1."""
    gamma: float = hyper(1.0, low=0, high=1)
    """Discount of a token; at less than 1 the penalty is no longer that of the KL divergence."""
    gae_lambda: float = hyper(0.95, low=0, high=1)
    """Lambda of the advantage estimator; 1: returns less values."""
    clip_epsilon: float = hyper(0.2, low=0)
    """Ratio range [1 - epsilon, 1 + epsilon] beyond which there is no incentive to move."""
    target_kl: float = hyper(6.0, above=0)
    """KL divergence of whole answers from the reference that the controller aims at, in nats."""
    kl_gain: float = hyper(0.1, low=0, high=4.9)
    """Share of its relative error, clipped to 0.2, by which the controller scales beta at an update."""
    ptx_coef: float = hyper(0.1, low=0)
    """Weight of the demonstrations' log-likelihood per token, in units of reward."""
    max_grad_norm: float = hyper(1.0, above=0, infinite=True)
    """Gradients longer than this (global norm, of policy and critic apart) are scaled down to it."""
    adam_epsilon: float = hyper(1e-8, above=0)
    """Adam's denominator constant."""
    warm_up_learning_rate: float = hyper(1e-3, initial=True, low=0)
    """Adam's step size in the steps of imitation."""


class RLHFState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree  # of the policy
    opt_state: optax.OptState
    critic: PyTree  # {"trunk", "head"}
    critic_opt_state: optax.OptState
    reference: PyTree  # parameters of the reference policy; () where it is the base
    beta_scale: jax.Array  # []


class Batch(NamedTuple):
    """An update's answers, one a row, with what they teach."""

    answers: Answers  # [B], whose log_prob is that of the policy that drew them
    advantage: jax.Array  # [B, T]
    target: jax.Array  # [B, T] of the critic
    demonstrations: Answers | None  # [B], of PPO-ptx


@recorded
def rlhf(
    task: Task,
    config: RLHFConfig | None = None,
    model: LanguageModel | None = None,
    base: PyTree | None = None,
    reward: Callable[[Answers], jax.Array] | None = None,
    head: Head | None = None,
) -> Algorithm:
    """PPO on answers, with a KL penalty. An answer counts as an environment step; demonstrations do not.

    Args:
        task: what is asked.
        config: sizes and choices.
        model: what writes, instead of the config's transformer.
        base: parameters to begin with, such as those of SFT, instead of those in ``config.base`` or after steps of
            imitation; they are the reference too.
        reward: ``(answers [B]) -> [B]`` or ``[B, K]``, such as a
            :func:`~purerl.algorithms.language.reward_model.frozen_reward`; None: what the config says. Evaluation is by
            the task's reward all the same.
        head: of the critic; None: linear.

    Raises:
        ValueError: if the task lacks demonstrations or judges that the config asks for; or as
            :func:`~purerl.algorithms.language.start.base_of`.
    """
    config = config_or_default(config, RLHFConfig)
    check_task(task, "RLHF")
    model = model_of(task, config.decoder, model)
    base = start.base_of(config.base, base, model)
    warm_up_steps = config.warm_up_steps if base is None else 0
    check_task(task, "RLHF", demonstrations=config.ptx or warm_up_steps > 0)
    critic = ScalarModel(model, head or linear_head())
    judge = judge_of(task, config, reward)

    def init(hypers: RLHFHypers, key: jax.Array) -> RLHFState:
        params_key, head_key = jax.random.split(key)
        params = start.first_params(task, model, base, warm_up_steps, config.warm_up_batch_size, hypers, params_key)
        values, optimizer = critic.init(head_key, params), optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)
        reference = start.kept_reference(base, params)
        return RLHFState(
            params, optimizer.init(params), values, optimizer.init(values), reference, jnp.ones((), jnp.float32)
        )

    act = answering(task, model)
    given = start.record(base=start.fingerprint(base), reward=_name_of(reward))
    spec = Spec(
        "rlhf",
        config.batch_size,
        evaluation(task, act),
        {"env": task.name, **dataclasses.asdict(config), **given},
        env_steps_of_init=warm_up_steps * config.warm_up_batch_size,
        hypers_class=RLHFHypers,
        evaluated_in="answers",
        words=words(task),
    )
    update = rollout_update(
        functools.partial(collect, task, model, critic, judge, config, base),
        functools.partial(learn, model, critic, config),
    )
    return Algorithm(init, update, no_carry, act, spec)


def collect(
    task: Task,
    model: LanguageModel,
    critic: ScalarModel,
    judge: Callable[[Answers], jax.Array],
    config: RLHFConfig,
    base: PyTree | None,
    hypers: RLHFHypers,
    state: RLHFState,
    key: jax.Array,
) -> tuple[RLHFState, Batch, Metrics]:
    """Draw answers and judge them; advantages, and the next scale of beta."""
    draw_key, shown_key = jax.random.split(key)
    answers = draw(task, model.policy(state.params), draw_key, config.batch_size)
    reference = model.policy(start.reference(base, state.reference))
    log_ratio = answers.log_prob.T - score_answers(reference, answers).log_prob
    said, mask, beta = judge(answers), answers.mask.T, hypers.beta * state.beta_scale
    rewarded = token_rewards(said, log_ratio, mask, beta)
    value = critic.before(state.critic, answers)
    advantage, target = advantages(rewarded, value, mask, hypers.gamma, hypers.gae_lambda)
    metrics = told(task, answers, said, log_ratio, rewarded) | {
        "beta": beta,
        "explained_variance": surrogates.explained_variance(value, target, mask),
    }
    if config.normalize_advantage:
        advantage = numerics.standardize(advantage, mask)
    if config.adapt_beta:
        divergence = aggregation.value(metrics["kl"])
        scale = kl.adapt_coefficient(state.beta_scale, divergence, hypers.target_kl, hypers.kl_gain)
        state = state.replace(beta_scale=scale.astype(state.beta_scale.dtype))
    shown = demonstrate(task, shown_key, config.batch_size) if config.ptx else None
    return state, Batch(answers, advantage.T, target.T, shown), metrics


def learn(
    model: LanguageModel,
    critic: ScalarModel,
    config: RLHFConfig,
    hypers: RLHFHypers,
    state: RLHFState,
    batch: Batch,
    key: jax.Array,
) -> tuple[RLHFState, Metrics]:
    """Epochs of minibatches, in each of which policy and critic take a step of their own."""
    optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)

    def step(state: RLHFState, batch: Batch) -> tuple[RLHFState, Metrics]:
        grads, metrics = policy_gradient(model, config, hypers, state.params, batch)
        of_value, value_metrics = mean_gradient(value_loss_of(critic), state.critic, batch, config.num_micro_batches)
        params, opt_state = descend(optimizer, hypers.learning_rate, state.params, state.opt_state, grads)
        values = descend(optimizer, hypers.value_learning_rate, state.critic, state.critic_opt_state, of_value)
        state = state.replace(params=params, opt_state=opt_state, critic=values[0], critic_opt_state=values[1])
        return state, metrics | value_metrics

    rows = jax.tree.map(lambda x: x[None], batch)
    state, terms = minibatch_epochs(step, state, rows, key, config.num_epochs, config.num_minibatches)
    first = jax.tree.map(lambda x: x[0], terms["approximate_kl"])  # before any step: sampler against learner
    return state, jax.tree.map(jnp.sum, terms) | {"mismatch_kl": first}


def judge_of(
    task: Task, config: RLHFConfig, reward: Callable[[Answers], jax.Array] | None = None
) -> Callable[[Answers], jax.Array]:
    """``(answers [B]) -> [B]``, the one number that is optimised.

    Raises:
        ValueError: if the task has no judges, where the config asks for them.
    """
    if reward is None and config.reward == "proxy":
        check_proxy(task, "RLHFConfig.reward")
    source = reward or functools.partial({"task": reward_of, "proxy": proxy}[config.reward], task)

    def judge(answers: Answers) -> jax.Array:
        said = source(answers)
        return _COMBINED[config.combine](said) if said.ndim == 2 else said

    return judge


def token_rewards(reward: jax.Array, log_ratio: jax.Array, mask: jax.Array, beta: Scalar) -> jax.Array:
    """Reward of each token: ``r_t = -beta log(pi_t / ref_t) + R 1[t is the last]``; their sum is the answer's return.

    The last token is the stop token, where there is one: the policy is rewarded for stopping. Padding gets nothing.

    Args:
        reward: ``[B]``, R.
        log_ratio: ``[T, B]``, ``log pi - log ref`` of the tokens.
        mask: ``[T, B]`` bool.
        beta: at least 0.

    Returns:
        ``[T, B]``, 0 outside the mask.

    Source: Ziegler et al. 2019, (2).
    """
    return jnp.where(mask, kl.reward(log_ratio, beta), 0) + sequences.at_last(reward, mask)


def advantages(
    reward: jax.Array, value: jax.Array, mask: jax.Array, gamma: Scalar, lambda_: Scalar
) -> tuple[jax.Array, jax.Array]:
    """Advantages of tokens by GAE, and the critic's targets; an answer's end, or its limit, is the end.

    Args:
        reward: ``[T, B]``, 0 outside the mask.
        value: ``[T, B]``, of the text before each token, 0 outside the mask.
        mask: ``[T, B]`` bool.
        gamma: in [0, 1].
        lambda_: in [0, 1].

    Returns:
        ``[T, B]`` both, 0 outside the mask.
    """
    next_value = jnp.concatenate([value[1:], jnp.zeros_like(value[:1])])
    last = sequences.is_last(mask)
    advantage = returns.gae(reward, value, next_value, last, jnp.zeros_like(last), gamma, lambda_)
    return advantage, advantage + value


def policy_gradient(
    model: LanguageModel, config: RLHFConfig, hypers: RLHFHypers, params: PyTree, batch: Batch
) -> tuple[PyTree, Metrics]:
    """Gradient of the policy's loss on a minibatch; of PPO-ptx, with that of the demonstrations' likelihood added."""
    loss = policy_loss_of(model, hypers.clip_epsilon)
    grads, metrics = mean_gradient(loss, params, batch, config.num_micro_batches)
    if not config.ptx:
        return grads, metrics
    shown, of_shown = mean_gradient(sft.loss_of(model, "token"), params, batch.demonstrations, config.num_micro_batches)
    grads = jax.tree.map(lambda x, y: x + (hypers.ptx_coef * y).astype(x.dtype), grads, shown)
    return grads, metrics | {"log_likelihood": of_shown["log_likelihood"]}


def policy_loss_of(model: LanguageModel, clip_epsilon: Scalar) -> Callable:
    """PPO's loss, ``(params, batch [B]) -> (Mean, metrics)``: minus the clipped surrogate, summed over an answer."""

    def loss(params: PyTree, batch: Batch) -> tuple[Mean, Metrics]:
        mask = batch.answers.mask.T
        score = score_answers(model.policy(params), batch.answers)
        log_ratio = score.log_prob - batch.answers.log_prob.T
        objective = surrogates.ppo_clip(log_ratio, batch.advantage.T, clip_epsilon)
        metrics = {
            "approximate_kl": surrogates.approximate_kl(log_ratio),
            "clip_fraction": surrogates.clipped(log_ratio, clip_epsilon),
            "entropy": score.entropy,
        }
        means = {name: aggregation.token_mean(x, mask) for name, x in metrics.items()}
        return aggregation.sequence_sum(-objective, mask), means

    return loss


def value_loss_of(critic: ScalarModel) -> Callable:
    """The critic's loss, ``(params, batch [B]) -> (Mean, metrics)``: half the squared error, summed over an answer."""

    def loss(params: PyTree, batch: Batch) -> tuple[Mean, Metrics]:
        mask = batch.answers.mask.T
        error = surrogates.value_loss(critic.before(params, batch.answers), batch.target.T)
        return aggregation.sequence_sum(error, mask), {"value_loss": aggregation.token_mean(error, mask)}

    return loss


def told(task: Task, answers: Answers, said: jax.Array, log_ratio: jax.Array, rewarded: jax.Array) -> Metrics:
    """What a run says of the answers that it drew."""
    mask = answers.mask.T
    each = {
        "episode_return": worth(task, answers),
        "reward": said,
        "kl": sequences.total(log_ratio, mask),
        "objective": sequences.total(rewarded, mask),
        "answer_length": sequences.length(mask).astype(said.dtype),
    }
    return {name: aggregation.batch_mean(x, mask) for name, x in each.items()}


def _name_of(reward: Callable | None) -> str | None:
    """What the settings of a run say of a reward that it was given."""
    name = str(getattr(reward, "fingerprint", None) or getattr(reward, "__name__", type(reward).__name__))
    return None if reward is None else name
