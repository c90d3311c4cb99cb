"""What GRPO learns from: groups of answers with their rewards, in one round or, with dynamic sampling, in several."""

import functools
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from purerl.algorithms.language.answers import Answers, draw, reward
from purerl.kernels.language import groups, rewards, sequences
from purerl.language.generate import any_of_all
from purerl.language.policy import Policy
from purerl.language.tasks import Task
from purerl.types import Mean, Metrics

if TYPE_CHECKING:
    from purerl.algorithms.language.grpo import GRPOConfig, GRPOHypers


class Judged(NamedTuple):
    """Answers with their rewards, B of them."""

    answers: Answers
    correct: jax.Array  # [B] reward of the task, the first where it has several
    rewards: jax.Array  # [B, K] all of them, and that of length where there is one


def judge(task: Task, config: "GRPOConfig", answers: Answers) -> Judged:
    """Rewards of answers, that of their length last: ``-l`` a token, or from 0 to -1 near the token limit."""
    given = reward(task, answers)
    each = given if given.ndim > 1 else given[:, None]
    length = sequences.length(answers.mask.T)
    if config.length_penalty == "linear":
        each = jnp.append(each, rewards.length_penalty(length, 1.0)[:, None], axis=1)
    elif config.length_penalty == "overlong":
        buffer = min(config.overlong_buffer, task.max_tokens)
        each = jnp.append(each, rewards.overlong_penalty(length, task.max_tokens, buffer)[:, None], axis=1)
    return Judged(answers, each[:, 0], each)


def weights(config: "GRPOConfig", hypers: "GRPOHypers", num_rewards: int) -> jax.Array:
    """What each of K rewards weighs, ``[K]``, that of length last.

    Raises:
        ValueError: if the config has weights for another number of rewards than the task gives.
    """
    own = num_rewards - (config.length_penalty != "none")
    if config.reward_weights and len(config.reward_weights) != own:
        raise ValueError(
            f"GRPOConfig.reward_weights = {config.reward_weights}: the task has {own} reward(s); give one weight each, "
            "or () for equal ones."
        )
    weight = jnp.asarray(config.reward_weights or (1.0,) * own, jnp.float32)
    return weight if own == num_rewards else jnp.append(weight, hypers.length_coef)


def one_round(
    task: Task, policy: Policy, config: "GRPOConfig", hypers: "GRPOHypers", key: jax.Array
) -> tuple[Judged, Metrics]:
    """G answers to each of N fresh prompts; metrics are of all of them. A reward that is no number is in no mean."""
    answers = draw(
        task,
        policy,
        key,
        config.num_prompts,
        config.group_size,
        temperature=hypers.temperature,
        **config.sampling,
    )
    judged = judge(task, config, answers)
    own = judged.rewards[:, : judged.rewards.shape[1] - (config.length_penalty != "none")]
    returns = rewards.weighted_sum(own, weights(config, hypers, judged.rewards.shape[1])[: own.shape[1]])
    length = sequences.length(answers.mask.T).astype(jnp.float32)
    wrong = judged.correct <= 0
    return judged, {
        "episode_return": _mean(returns, jnp.isfinite(returns)),
        "answer_length": _mean(length),
        "wrong_answer_length": _mean(length, wrong),
        "stopped": _mean(answers.stopped),
        "not_finite": _mean(~jnp.isfinite(returns)),
        "informative_groups": _mean(informative(config, judged)),
    }


def informative(config: "GRPOConfig", judged: Judged) -> jax.Array:
    """Which groups have right and wrong answers, ``[N]`` bool: by correctness alone, not by a shaped reward."""
    return groups.informative(judged.correct.reshape(-1, config.group_size))


def informative_groups(
    task: Task, policy: Policy, config: "GRPOConfig", hypers: "GRPOHypers", key: jax.Array
) -> tuple[Judged, Metrics]:
    """Dynamic sampling: rounds until N groups have right and wrong answers, or there have been enough of them.

    Places that stay empty have answers without tokens, which count nowhere. Under ``vmap`` the loop goes on until all
    members have their groups; those that have are unaffected. Metrics are of all answers of the rounds needed.
    """
    sample = functools.partial(one_round, task, policy, config, hypers)
    N, G = config.num_prompts, config.group_size

    def step(carry: tuple) -> tuple:
        done, rounds, filled, buffer, totals = carry
        judged, metrics = sample(jax.random.fold_in(key, done))
        needed = filled < N
        chosen = informative(config, judged) & needed
        place = jnp.where(chosen, filled + jnp.cumsum(chosen) - 1, N)  # those beyond the last are not written

        def put(buffer: jax.Array, rows: jax.Array) -> jax.Array:
            grouped, new = (x.reshape(N, G, *x.shape[1:]) for x in (buffer, rows))
            return grouped.at[place].set(new, mode="drop").reshape(buffer.shape)

        totals = jax.tree.map(lambda total, x: total + jnp.where(needed, x, 0), totals, metrics)
        filled = jnp.minimum(filled + jnp.sum(chosen, dtype=jnp.int32), N)
        return done + 1, rounds + needed, filled, jax.tree.map(put, buffer, judged), totals

    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(sample, key))
    _, rounds, filled, judged, totals = jax.lax.while_loop(
        lambda carry: (carry[0] < config.dynamic_rounds) & any_of_all(carry[2] < N),
        step,
        (*[jnp.int32(0)] * 3, *nothing),
    )
    return judged, totals | {"rounds": rounds.astype(jnp.float32), "filled": filled.astype(jnp.float32) / N}


def _mean(x: jax.Array, where: jax.Array | None = None) -> Mean:
    where = jnp.ones(x.shape, bool) if where is None else where
    return Mean(jnp.sum(jnp.where(where, x, 0), dtype=jnp.float32), jnp.sum(where, dtype=jnp.float32))
