"""Labels of process reward models: how often a policy gets it right, from each prefix of its answers on.

    answer      the outcome, of the finished answer alone, which makes an outcome reward model
    outcome     the outcome, of every prefix: one sample of its value, and no answer is drawn in addition
    rollouts    the mean outcome of K continuations of the prefix
    tree        of the same continuations all that begin with the prefix, from wherever they were gone on with
    steps       whether the step follows, as the task says: what a human who marks steps would

All but the last are outcomes of answers that the policy would go on with, so their mean is the value of the prefix. A
prompt is the prefix without a token, and comes first: labels are ``[1 + T, B]``.

Source: Cobbe et al. 2021, of outcomes; Lightman et al. 2023, of steps; Wang et al. 2024, of rollouts.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from purerl.algorithms.language.answers import Answers, reward
from purerl.kernels.language import process_rewards, sequences
from purerl.language.generate import generate
from purerl.language.policy import Policy, Prompts, extended, repeat
from purerl.language.tasks import Task

Labels = Literal["answer", "outcome", "rollouts", "tree", "steps"]


class Rollouts(NamedTuple):
    """Answers that begin as given ones do, K from each of their prefixes; the given one where a prefix is all of it."""

    tokens: jax.Array  # [T, T, B, K]: the second axis is the number of tokens that were given
    mask: jax.Array  # [T, T, B, K] bool
    outcome: jax.Array  # [T, B, K]


def labels_of(
    kind: Labels, task: Task, policy: Policy, answers: Answers, key: jax.Array, num_answers: int, num_rollouts: int
) -> tuple[jax.Array, jax.Array]:
    """Labels of prefixes, and which are learnt from: ``[1 + T, B]`` each, the prompt first.

    Args:
        kind: of label.
        task: what is asked; with ``step_correct`` for ``steps``.
        policy: that wrote the answers, and goes on with their prefixes.
        answers: B of them.
        key: of rollouts.
        num_answers: G, answers to each prompt, which are neighbours.
        num_rollouts: K.
    """
    mask = with_prompt(answers).mask.T
    if kind == "steps":
        assert task.step_correct is not None
        follows = task.step_correct(answers.prompts.info, answers.tokens.T, answers.mask.T)
        return jnp.pad(follows.astype(float), ((1, 0), (0, 0))), mask.at[0].set(False)
    right = reward(task, answers)  # one, in [0, 1]: the chance that an answer is held to be right
    if kind in ("answer", "outcome"):
        return process_rewards.outcome_labels(right, mask), sequences.is_last(mask) if kind == "answer" else mask
    rollouts = go_on(task, policy, answers, key, num_rollouts)
    if kind == "rollouts":
        return rollout_labels(right, rollouts.outcome, mask), mask
    return tree_labels(answers, right, rollouts, num_answers), mask


def with_prompt(answers: Answers) -> Answers:
    """The same texts, to which the last token of the prompt belongs: what is said after it is said of the prompt."""
    tokens, mask = (
        jnp.concatenate([prompt[:, -1:], answer], axis=1)
        for prompt, answer in zip(answers.prompts[:2], (answers.tokens, answers.mask), strict=True)
    )
    ids, there, info = answers.prompts
    return answers._replace(prompts=Prompts(ids[:, :-1], there[:, :-1], info), tokens=tokens, mask=mask)


def prefixes(answers: Answers) -> Prompts:
    """Every prefix of answers as a prompt, ``[T B, P + T - 1]``: all without a token, then all with one, and so on."""
    ids, mask, info = extended(answers.prompts, answers.tokens.T, answers.mask.T)
    num_tokens, length = answers.tokens.shape[1], answers.prompts.ids.shape[1]

    def cut(t: jax.Array) -> tuple[jax.Array, jax.Array]:
        there = mask & (jnp.arange(ids.shape[1]) < length + t)
        return jnp.roll(ids, num_tokens - t, axis=1)[:, 1:], jnp.roll(there, num_tokens - t, axis=1)[:, 1:]

    rows = *jax.vmap(cut)(jnp.arange(num_tokens)), jax.tree.map(lambda x: jnp.stack([x] * num_tokens), info)
    return Prompts(*jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows))


def go_on(task: Task, policy: Policy, answers: Answers, key: jax.Array, num_rollouts: int) -> Rollouts:
    """Draw K continuations of every unfinished prefix, which together with it are an answer of at most T tokens.

    Args:
        task: what is asked.
        policy: that wrote the answers.
        answers: B of them.
        key: of the draws.
        num_rollouts: K.
    """
    prompts, num_tokens = prefixes(answers), answers.tokens.shape[1]
    written = generate(
        policy,
        prompts,
        key,
        max_tokens=num_tokens,
        stop_token=task.stop_token,
        num_samples=num_rollouts,
        unfinished=answers.mask.T.reshape(-1),
    )

    def join(t: jax.Array, new_tokens: jax.Array, new_mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        given = (jnp.arange(num_tokens) < t)[:, None, None]
        tokens, mask = answers.tokens.T[..., None], answers.mask.T[..., None]
        new_tokens, new_mask = jnp.roll(new_tokens, t, axis=0), jnp.roll(new_mask, t, axis=0)
        return jnp.where(given, tokens, new_tokens), jnp.where(given, mask, new_mask)

    shape = (num_tokens, num_tokens, len(answers.tokens), num_rollouts)
    new = (x.reshape(shape) for x in (written.tokens, written.mask))
    tokens, mask = jax.vmap(join, (0, 1, 1), 1)(jnp.arange(num_tokens), *new)
    told = task.reward(repeat(prompts.info, num_rollouts), *(x.reshape(num_tokens, -1) for x in (tokens, mask)))
    return Rollouts(tokens, mask, told.reshape(shape[1:]))


def rollout_labels(right: jax.Array, rollouts: jax.Array, mask: jax.Array) -> jax.Array:
    """Monte Carlo labels, ``[1 + T, B]``: the mean outcome of K rollouts, of a finished answer its own.

    Args:
        right: ``[B]``, outcomes of the answers.
        rollouts: ``[T, B, K]``, outcomes of rollouts.
        mask: ``[1 + T, B]`` bool, of prompts and answers.
    """
    return jnp.where(mask, jnp.concatenate([jnp.mean(rollouts, axis=-1), right[None]]), 0)


def tree_labels(answers: Answers, right: jax.Array, rollouts: Rollouts, num_answers: int) -> jax.Array:
    """Tree labels, ``[1 + T, B]``: the mean outcome of a prompt's answers and rollouts that begin with the prefix.

    How many there are, and which begin so, is settled by what they say up to there, and each goes on as the policy
    would. So the label is unbiased, whatever prefix a rollout was begun at, and less noisy than that of K rollouts. It
    is for this that an answer stands in for the rollouts of prefixes behind its end: left out, short answers would
    count less than long ones.

    Args:
        answers: B of them, those to one prompt are neighbours.
        right: ``[B]``, their outcomes.
        rollouts: K of each of their prefixes.
        num_answers: G, to each prompt.
    """
    num_prompts, num_tokens = len(right) // num_answers, len(rollouts.tokens)

    def leaves(own: jax.Array, others: jax.Array) -> jax.Array:  # [B], [T, B, K] -> [B / G, G + T G K]
        grouped = jnp.moveaxis(others.reshape(num_tokens, num_prompts, -1), 1, 0)
        return jnp.concatenate([own.reshape(num_prompts, -1), grouped.reshape(num_prompts, -1)], axis=1)

    each = jax.vmap(leaves, out_axes=1)  # time
    tokens, mask = each(answers.tokens.T, rollouts.tokens), each(answers.mask.T, rollouts.mask)
    tokens = jnp.pad(tokens, ((0, 0), (1, 0), (0, 0)))  # all begin with the prompt
    mask = jnp.concatenate([mask[:, :1], mask], axis=1)
    label = jax.vmap(process_rewards.tree_labels)(tokens, mask, leaves(right, rollouts.outcome))
    return jnp.moveaxis(label[..., :num_answers], 0, 1).reshape(1 + num_tokens, -1)
