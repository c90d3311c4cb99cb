"""Preferences: answers to one prompt in the order of what they are worth to somebody, who is not always right."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from purerl.algorithms.language.answers import Answers, draw
from purerl.language.policy import Policy
from purerl.language.tasks import Task
from purerl.types import Scalar


def proxy(task: Task, answers: Answers) -> jax.Array:
    """What the task's fallible judges say of answers, ``[B, K]``; see :func:`check_proxy`."""
    assert task.proxy is not None
    return task.proxy(answers.prompts.info, answers.tokens.T, answers.mask.T)


def check_proxy(task: Task, name: str) -> None:
    """A setting that asks for a task's judges gets a task that has some.

    Raises:
        ValueError: if not, with the setting's name.
    """
    if task.proxy is None:
        raise ValueError(f"{name} = 'proxy': the task {task.name} has no judges besides its reward, 'task'.")


def rankings(
    task: Task,
    policy: Policy,
    judge: Callable[[Answers], jax.Array],
    key: jax.Array,
    num_prompts: int,
    num_answers: int,
    noise: Scalar,
) -> Answers:
    """Fresh prompts with K answers of a policy each, those to one prompt from best to worst, see :func:`ranked`.

    Args:
        task: what is asked.
        policy: who answers.
        judge: ``(answers [B]) -> [B]``, what answers are worth to who compares them.
        key: for all draws.
        num_prompts: how many prompts.
        num_answers: K; 2 are pairs.
        noise: of the ranking.

    Returns:
        ``num_prompts * K`` answers.
    """
    answers_key, order_key = jax.random.split(key)
    answers = draw(task, policy, answers_key, num_prompts, num_answers)
    return ranked(answers, judge(answers), order_key, num_answers, noise)


def ranked(answers: Answers, reward: jax.Array, key: jax.Array, num_answers: int, noise: Scalar) -> Answers:
    """Answers to each prompt ordered as Plackett-Luce has it: each time the best of those that are left.

    ``Pr(y is best) = exp(R_y / noise) / sum_{left} exp(R / noise)``, drawn by sorting ``R / noise + Gumbel``; of two
    it is Bradley-Terry's law of the difference.

    Args:
        answers: ``[B]``, K to a prompt.
        reward: ``[B]``, what they are worth.
        key: of the Gumbel variables.
        num_answers: K.
        noise: in units of reward, greater than 0; the smaller, the more often the better answer wins.

    Returns:
        the same answers, K to a prompt from best to worst.

    Source: Plackett 1975; Yellott 1977.
    """
    chex.assert_shape(reward, (len(answers.tokens),))
    score = (reward / noise + jax.random.gumbel(key, reward.shape, reward.dtype)).reshape(-1, num_answers)
    place = jnp.argsort(-score, axis=1) + num_answers * jnp.arange(len(score))[:, None]
    return jax.tree.map(lambda x: x[place.ravel()], answers)
