"""Best of N answers, by whoever likes some better than others; what begins badly need not be written to its end.

Source: Cobbe et al. 2021 (arXiv 2110.14168); Stiennon et al. 2020, of its distribution, which
:mod:`purerl.kernels.language.best_of_n` has.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from purerl.algorithms.language.answers import Answers, answer
from purerl.language.policy import Policy, Prompts, extended
from purerl.language.tasks import Task


def best_of(
    task: Task,
    policy: Policy,
    liked: Callable[[Answers], jax.Array],
    prompts: Prompts,
    key: jax.Array,
    num_candidates: int,
    stop_after: int = 0,
) -> Answers:
    """Draw N answers to each prompt, and keep the one that is liked best.

    Args:
        task: what is asked.
        policy: who answers.
        liked: ``(answers [B N]) -> [B N]``, also of the first tokens of answers, if they are to be judged.
        prompts: B of them.
        key: of the answers.
        num_candidates: N.
        stop_after: after so many tokens the better half is gone on with, and the rest is dropped; 0: all are.

    Returns:
        B answers, of ``max_tokens`` of the task.
    """
    if not stop_after:
        answers = answer(task, policy, prompts, key, num_candidates)
        return pick(answers, liked(answers), num_candidates)
    first_key, rest_key = jax.random.split(key)
    begun = answer(task, policy, prompts, first_key, num_candidates, max_tokens=stop_after)
    num_kept = -(-num_candidates // 2)
    kept = pick(begun, liked(begun), num_candidates, num_kept)
    whole = finish(task, policy, kept, rest_key)
    return pick(whole, liked(whole), num_kept)


def finish(task: Task, policy: Policy, begun: Answers, key: jax.Array) -> Answers:
    """Go on with answers that have not ended, up to the task's limit."""
    so_far, there = begun.tokens.T, begun.mask.T
    rest = answer(
        task,
        policy,
        extended(begun.prompts, so_far, there),
        key,
        max_tokens=task.max_tokens - len(so_far),
        unfinished=~begun.stopped,
    )
    tokens, mask, log_prob = (
        jnp.concatenate([getattr(x, name) for x in (begun, rest)], axis=1) for name in ("tokens", "mask", "log_prob")
    )
    return Answers(begun.prompts, tokens, mask, log_prob, None, begun.stopped | rest.stopped)


def pick(answers: Answers, liked: jax.Array, num_candidates: int, num_kept: int = 1) -> Answers:
    """The best of each N neighbours, best first; of equals the one that was drawn first.

    Args:
        answers: ``B N`` of them.
        liked: ``[B N]``.
        num_candidates: N.
        num_kept: of them.

    Returns:
        ``B num_kept`` answers.
    """
    liked = jnp.where(liked == 0, 0, liked)  # top_k has -0 below 0
    _, best = jax.lax.top_k(liked.reshape(-1, num_candidates), num_kept)
    rows = (best + num_candidates * jnp.arange(len(best))[:, None]).ravel()
    return jax.tree.map(lambda x: x[rows], answers)
