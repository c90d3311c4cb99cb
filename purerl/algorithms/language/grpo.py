"""Group relative policy optimisation (GRPO) and its family: DAPO, Dr. GRPO, RLOO, GSPO and CISPO are settings of it.

One update: write G answers to each of N prompts, let the task judge them, compare each answer with the others of its
prompt, and take ``num_epochs x num_minibatches`` gradient steps on

    maximise  aggregate_t( surrogate(pi_t / old_t, A_t) ) - beta KL(pi ; ref).

There is no critic: the group is the baseline. Where all answers of a group are worth the same, nothing is learnt from
it, and with dynamic sampling other prompts take its place.

Source: Shao et al. 2024 (arXiv 2402.03300); Yu et al. 2025 (arXiv 2503.14476), DAPO; Liu et al. 2025 (arXiv
2503.20783), Dr. GRPO; Zheng et al. 2025 (arXiv 2507.18071), GSPO; MiniMax 2025 (arXiv 2506.13585), CISPO.
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
    answering,
    check_task,
    evaluation,
    model_of,
    score_answers,
    words,
)
from purerl.algorithms.language.grpo_loss import Batch, loss_of, make_batch
from purerl.algorithms.language.grpo_sampling import Judged, informative_groups, one_round, weights
from purerl.config_checks import check_config, config_or_default
from purerl.kernels.language import aggregation
from purerl.language.tasks import Task
from purerl.nets.decoder import DecoderConfig
from purerl.nets.language_model import LanguageModel
from purerl.ranges import hyper, setting
from purerl.recipes import recorded
from purerl.types import Metrics, PyTree
from purerl.update import descend, mean_gradient, minibatch_epochs, rollout_update


@dataclasses.dataclass(frozen=True, kw_only=True)
class GRPOConfig:
    """What fixes a shape, a loop length or a branch of GRPO. Never traced.

    Raises:
        ValueError: at construction, for choices that do not fit each other.
    """

    decoder: DecoderConfig = dataclasses.field(default_factory=DecoderConfig)
    """The transformer that learns."""
    num_prompts: int = 16
    """Prompts an update, N."""
    group_size: int = 16
    """Answers to each prompt, G; 1 teaches nothing, having nothing to compare with."""
    num_epochs: int = 1
    """Passes over the answers of an update."""
    num_minibatches: int = 1
    """Gradient steps a pass; divides num_prompts * group_size."""
    num_micro_batches: int = 1
    """Parts of a gradient step, one after another, so that they fit into memory; divides what is left. Changes nothing
    but rounding."""
    advantage: Literal["centered", "standardized", "leave_one_out", "standardized_each"] = "standardized"
    """Return minus the group's mean; divided by its deviation too; minus the mean of the others; or each of several
    rewards standardised before they are added."""
    ddof: Literal[0, 1] = 0
    """Deviation of the group as it is, or 1: the estimate of its distribution's, as trainers built on torch have it."""
    reward_weights: tuple[float, ...] = ()
    """What each of a task's several rewards weighs, the first being correctness; (): 1 each."""
    length_penalty: Literal["none", "linear", "overlong"] = "none"
    """A further reward of minus the number of tokens, or of 0 down to -1 near the token limit."""
    overlong_buffer: int = 1
    """How many tokens before the limit the overlong penalty begins; all of them where there are fewer."""
    drop_cut: bool = False
    """Leave answers out of the loss that met the token limit, and so have not come to their end."""
    surrogate: Literal["clip", "gspo", "gspo_token", "cispo", "policy_gradient"] = "clip"
    """Clipped ratio of each token; of each sequence, clipped as a whole, with advantages of sequences or of tokens;
    clipped weights of each token's log-probability; or no ratio."""
    aggregate: Literal["token", "sequence", "constant", "sum"] = "sequence"
    """Every token the same; every sequence the same; the sum over tokens by the token limit; or that sum."""
    kl: Literal["none", "reward", "k2", "k3", "k3_weighted"] = "none"
    """KL penalty to the policy at the start: none; in the reward, of all tokens to go; or a loss. That of k2 has the
    gradient of KL(pi ; ref), that of k3 the gradient of KL(ref ; pi), and weighted by pi / old that of KL(pi ; ref) of
    answers that an older policy wrote; of tokens each, prefixes held fixed."""
    mismatch: Literal["none", "truncate", "mask"] = "none"
    """Weights old / mu for what the sampler mu wrote: none, truncated, or 0 beyond their range."""
    mismatch_level: Literal["token", "sequence"] = "token"
    """Whether these weights are of tokens, or of whole answers."""
    off_policy_mask: bool = False
    """Leave bad answers out that the policy has moved away from (hypers.off_policy_delta)."""
    dynamic_rounds: int = setting(0, low=0)
    """Dynamic sampling: rounds of num_prompts prompts, at most so many, until num_prompts groups have been found that
    have right and wrong answers; the others are dropped. 0: one round, of which all are kept."""
    top_k: int | None = None
    """Draw from so many tokens, the most likely ones; None: all."""
    top_p: float | None = setting(None, above=0, high=1)
    """Then from the fewest that have this share of the probability; None: all."""
    base: str | None = None
    """File of the agent to begin with, of any learner of language; None: a network of its own."""
    warm_up_steps: int = setting(0, low=0)
    """Gradient steps of supervised fine-tuning at the start, where no base is given."""
    warm_up_batch_size: int = 256
    """Demonstrations each."""

    def __post_init__(self) -> None:
        if self.kl == "k1":
            raise ValueError(
                "GRPOConfig.kl = 'k1': as a loss its mean gradient is 0, so that it holds nothing back. Take 'reward', "
                "where k1 belongs, or 'k2'."
            )
        check_config(self)
        _check_parts(self)
        _check_choices(self)

    @property
    def batch_size(self) -> int:
        """Answers that an update learns from, N G."""
        return self.num_prompts * self.group_size

    @property
    def num_gradient_steps(self) -> int:
        """Gradient steps an update."""
        return self.num_epochs * self.num_minibatches

    @property
    def sampling(self) -> dict:
        """Arguments of the generator."""
        return {"top_k": self.top_k, "top_p": self.top_p}


class GRPOHypers(struct.PyTreeNode):
    """Every other number of GRPO: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = hyper(3e-4, low=0)
    """Adam's step size."""
    clip_low: float = hyper(0.2, above=0, high=1)
    """Width of the range of ratios below 1. Of a token's; of a sequence's (gspo) it is three orders smaller, 3e-4."""
    clip_high: float = hyper(0.2, above=0, infinite=True)
    """Width above 1; 0.28 is clip-higher. For gspo 4e-4."""
    dual_clip: float = hyper(float("inf"), above=1, infinite=True)
    """Largest ratio of a bad answer's token that has a gradient; more than 1 + clip_high."""
    beta: float = hyper(0.01, low=0)
    """Weight of the KL penalty, where there is one."""
    length_coef: float = hyper(0.1, low=0)
    """Weight of the length penalty, where there is one."""
    advantage_epsilon: float = hyper(1e-6, above=0)
    """Added to the deviation that standardised advantages are divided by."""
    temperature: float = hyper(1.0, above=0)
    """Of sampling, and of the probabilities that are learnt."""
    mismatch_low: float = hyper(0.5, low=0, high=1)
    """Weights of the mismatch below this are 0 (mask)."""
    mismatch_high: float = hyper(2.0, low=1, infinite=True)
    """Weights of the mismatch above this are this (truncate) or 0 (mask)."""
    off_policy_delta: float = hyper(0.1, low=0, infinite=True)
    """Bad answers are left out where the mean of log(mu / pi) over their tokens exceeds this, in nats."""
    max_grad_norm: float = hyper(1.0, above=0, infinite=True)
    """Gradients longer than this (global norm) are scaled down to it."""
    adam_epsilon: float = hyper(1e-8, above=0)
    """Adam's denominator constant."""
    warm_up_learning_rate: float = hyper(3e-3, initial=True, low=0)
    """Adam's step size in the warm-up."""


class GRPOState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree
    opt_state: optax.OptState
    reference: PyTree  # parameters of the policy at the start, where each seed has its own and there is a KL penalty


@recorded
def grpo(
    task: Task, config: GRPOConfig | None = None, model: LanguageModel | None = None, base: PyTree | None = None
) -> Algorithm:
    """GRPO on a task. An answer counts as an environment step, as does a demonstration of the warm-up.

    Args:
        task: what is asked, and how answers are judged.
        config: sizes and choices.
        model: what learns, instead of the config's transformer.
        base: parameters to begin with, shared by all seeds, instead of those in ``config.base`` or a warm-up.

    Raises:
        ValueError: if the task has no answers to show for a warm-up, or another number of rewards than weights; or as
            :func:`~purerl.algorithms.language.start.base_of`.
    """
    config = config_or_default(config, GRPOConfig)
    check_task(task, "GRPO")
    check_weights(task, config)
    model = model_of(task, config.decoder, model)
    base = start.base_of(config.base, base, model)
    warm_up_steps = config.warm_up_steps if base is None else 0
    check_task(task, "GRPO", demonstrations=warm_up_steps > 0)

    def init(hypers: GRPOHypers, key: jax.Array) -> GRPOState:
        params = start.first_params(task, model, base, warm_up_steps, config.warm_up_batch_size, hypers, key)
        optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)
        reference = () if config.kl == "none" else start.kept_reference(base, params)
        return GRPOState(params, optimizer.init(params), reference)

    act = answering(task, model)
    spec = Spec(
        "grpo",
        config.batch_size * max(config.dynamic_rounds, 1),
        evaluation(task, act),
        {"env": task.name, **dataclasses.asdict(config), **start.record(base=start.fingerprint(base))},
        warm_up_steps * config.warm_up_batch_size,
        hypers_class=GRPOHypers,
        evaluated_in="answers",
        words=words(task),
    )
    update = rollout_update(
        functools.partial(collect, task, model, config), functools.partial(learn, task, model, config, base)
    )
    return Algorithm(init, update, no_carry, act, spec)


# --- collecting -------------------------------------------------------------------------------------------


def collect(
    task: Task, model: LanguageModel, config: GRPOConfig, hypers: GRPOHypers, state: GRPOState, key: jax.Array
) -> tuple[GRPOState, Judged, Metrics]:
    """Answers of the policy with their rewards, group by group, and what they tell of it."""
    policy = model.policy(state.params)
    if config.dynamic_rounds:
        judged, metrics = informative_groups(task, policy, config, hypers, key)
    else:
        judged, metrics = one_round(task, policy, config, hypers, key)
    return state, judged, metrics


# --- learning ---------------------------------------------------------------------------------------------


def learn(
    task: Task,
    model: LanguageModel,
    config: GRPOConfig,
    base: PyTree | None,
    hypers: GRPOHypers,
    state: GRPOState,
    judged: Judged,
    key: jax.Array,
) -> tuple[GRPOState, Metrics]:
    """Epochs of minibatches over the answers of an update."""
    optimizer = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon)
    reference = None
    if config.kl != "none":
        policy = model.policy(start.reference(base, state.reference))
        reference = in_parts(
            lambda answers: score_answers(policy, answers, hypers.temperature).log_prob.T,
            judged.answers._replace(prompts=judged.answers.prompts._replace(info=())),
            config.num_minibatches * config.num_micro_batches,
        )
    batch = make_batch(config, hypers, judged, reference, judged.answers.log_prob)
    loss = loss_of(model, config, hypers, state.params, task.max_tokens)

    def step(carry: tuple, minibatch: Batch) -> tuple[tuple, Metrics]:
        grads, terms = mean_gradient(loss, carry[0], minibatch, config.num_micro_batches)
        new = descend(optimizer, hypers.learning_rate, carry[0], carry[1], grads)
        # Where no answer counts there is nothing to learn, and momentum is no reason to move.
        return jax.tree.map(lambda x, y: jnp.where(terms["entropy"].number > 0, x, y), new, carry), terms

    (params, opt_state), terms = minibatch_epochs(
        step,
        (state.params, state.opt_state),
        jax.tree.map(lambda x: x[None], batch),
        key,
        config.num_epochs,
        config.num_minibatches,
    )
    first_ratio = aggregation.value(jax.tree.map(lambda x: x[0], terms.pop("ratio")))
    metrics = jax.tree.map(lambda x: jnp.sum(x, axis=0), terms)
    return state.replace(params=params, opt_state=opt_state), metrics | {"ratio": first_ratio}


def in_parts(function: Callable, rows: PyTree, num_parts: int) -> jax.Array:
    """A function of rows ``[B, ...]``, computed for so many parts of them one after another, to save memory."""
    parts = jax.tree.map(lambda x: x.reshape(num_parts, -1, *x.shape[1:]), rows)
    result = jax.lax.map(function, parts)
    return result.reshape(-1, *result.shape[2:])


# --- checks -----------------------------------------------------------------------------------------------


def check_weights(task: Task, config: GRPOConfig) -> None:
    """There is a weight for each reward of the task.

    Raises:
        ValueError: if not.
    """

    def num_rewards(key: jax.Array) -> jax.Array:
        tokens = jnp.zeros((task.max_tokens, 1), jnp.int32)
        return task.reward(task.draw(key, 1).info, tokens, tokens == 0)

    given = jax.eval_shape(num_rewards, jax.random.key(0))
    number = given.shape[1] if given.ndim > 1 else 1
    weights(config, GRPOHypers(), number + (config.length_penalty != "none"))


def _check_parts(config: GRPOConfig) -> None:
    parts = config.num_minibatches * config.num_micro_batches
    if config.batch_size % parts:
        raise ValueError(
            f"GRPOConfig.num_minibatches * num_micro_batches = {parts} does not divide num_prompts * group_size = "
            f"{config.batch_size}; take one that does."
        )


def _check_choices(config: GRPOConfig) -> None:
    if config.surrogate == "gspo" and config.aggregate != "sequence":
        raise ValueError(
            f"GRPOConfig.aggregate = {config.aggregate!r} with surrogate = 'gspo': it has one ratio a sequence, and "
            "under another average than 'sequence' long ones would count more."
        )
    if config.kl == "reward" and config.advantage == "standardized_each":
        raise ValueError(
            "GRPOConfig.kl = 'reward' with advantage = 'standardized_each': a penalty in the reward needs one return "
            "to be in, and here every reward is compared by itself. Take 'k2', or another advantage."
        )
