"""Partial rollouts: texts that are written a piece at a time, one an update, each by the policy of its day.

A long text then holds up nobody: what is unfinished waits in the state, and is gone on with.

    texts -> groups of which all have ended make room for fresh prompts -> every unfinished text gets so many tokens
          -> groups of which now all have ended are learned from

With a policy that stays as it is, texts in pieces are those of :func:`~purerl.language.generate.generate` in one call
with the same keys, token for token: cutting changes no text, only whose it is. The log-probability that is kept with a
token is that of the policy that wrote it, so a ratio ``pi / old`` is taken against the policy that each token is from.
There is no value at a cut, nothing being estimated: a text is worth what it is worth when it has ended.

Source: Kimi Team 2025 (arXiv 2501.12599), section 2.6.2.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purerl.algorithms.language.answers import Answers
from purerl.kernels.language import rewards, sequences
from purerl.language.generate import Completions, generate
from purerl.language.policy import Policy, Prompts, extended, repeat
from purerl.language.tasks import Task
from purerl.types import PyTree, Scalar


class Texts(NamedTuple):
    """Answers in the making, B of them; those to one prompt, a group, are neighbours and are begun together."""

    answers: Answers  # [B] as far as they are
    age: jax.Array  # [B, T] int32, updates since a token was written; 0 where there is none
    over: jax.Array  # [B] bool: it has ended, and waits for its group
    key: jax.Array  # [B, K] uint32, bits of the key of its draws


def nothing_begun(task: Task, policy: Policy, num_prompts: int, num_samples: int) -> Texts:
    """Places for G texts to each of so many prompts, all of them free; the policy is one of those that will write."""
    prompts = jax.eval_shape(lambda key: repeat(task.draw(key, num_prompts), num_samples), jax.random.key(0))
    prompts = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), prompts)
    shape = batch_size, _ = num_prompts * num_samples, task.max_tokens
    answers = Answers(
        prompts,
        jnp.zeros(shape, jnp.int32),
        jnp.zeros(shape, bool),
        jnp.zeros(shape),
        None,
        jnp.zeros(batch_size, bool),
        _unchosen(policy, batch_size, task.prompt_length - 1 + task.max_tokens),
    )
    bits = jax.eval_shape(lambda key: jax.random.key_data(jax.random.split(key, batch_size)), jax.random.key(0))
    return Texts(answers, jnp.zeros(shape, jnp.int32), jnp.ones(batch_size, bool), jnp.zeros(bits.shape, bits.dtype))


def begin(task: Task, texts: Texts, key: jax.Array, num_samples: int) -> Texts:
    """Fresh prompts in the places of groups that are over.

    Args:
        task: what is asked.
        texts: B of them.
        key: of prompts and of all that will be drawn in answer.
        num_samples: G, a divisor of B.
    """
    prompt_key, text_key = jax.random.split(key)
    batch_size, free = len(texts.over), _whole(texts.over, num_samples)
    prompts = repeat(task.draw(prompt_key, batch_size // num_samples), num_samples)
    bits = jax.random.key_data(jax.random.split(text_key, batch_size))
    nothing, routes = jax.tree.map(jnp.zeros_like, texts), jax.tree.map(lambda x: x - x - 1, texts.answers.routes)
    fresh = nothing._replace(answers=nothing.answers._replace(prompts=prompts, routes=routes), key=bits)
    return jax.tree.map(lambda new, old: _choose(free, new, old), fresh, texts)


def go_on(
    task: Task,
    policy: Policy,
    texts: Texts,
    num_tokens: int,
    temperature: Scalar = 1.0,
    stop_loops: tuple[tuple[int, int], ...] = (),
) -> Texts:
    """So many tokens more of every text that is not over, each from the key of its text; those that are get older.

    Args:
        task: whose limits end a text: its stop token, and T tokens.
        policy: what writes.
        texts: B of them.
        num_tokens: at least 1, static; what a text does not need of them, or would have beyond T, is not there.
        temperature: greater than 0.
        stop_loops: as of :func:`~purerl.language.generate.generate`, of a text as a whole, wherever it was cut.
    """
    answers, T = texts.answers, task.max_tokens
    length = sequences.length(answers.mask.T)
    read = extended(answers.prompts, answers.tokens.T, answers.mask.T)
    ids, mask = (_moved(x, T - length) for x in (read.ids, read.mask))
    prompts = Prompts(ids, mask)
    more = generate(
        _with_routes(policy, answers, T - length, num_tokens),
        prompts,
        jax.random.wrap_key_data(texts.key),
        max_tokens=num_tokens,
        stop_token=task.stop_token,
        temperature=temperature,
        stop_loops=stop_loops,
        unfinished=~texts.over,
    )
    answers = _appended(answers, more, length)._replace(routes=_routes_of(more, answers, T - length))
    age = jnp.where(texts.answers.mask, texts.age + 1, 0)
    tokens, mask = answers.tokens.T, answers.mask.T
    last = jnp.full(len(length), T - 1)
    for period, times in stop_loops:
        last = jnp.minimum(last, rewards.first_loop(tokens, mask, period, times))
    inside = (jnp.arange(T) <= last[:, None]) & answers.mask
    stopped = jnp.any(inside & (answers.tokens == task.stop_token), axis=1)
    answers = Answers(
        answers.prompts,
        jnp.where(inside, answers.tokens, 0),
        inside,
        jnp.where(inside, answers.log_prob, 0),
        None,
        stopped,
        answers.routes,
    )
    is_full = jnp.sum(inside, axis=1) > last  # of as many tokens as it may have, by the limit or by a loop
    return Texts(answers, age, texts.over | stopped | is_full, texts.key)


def ended(texts: Texts, num_samples: int) -> tuple[Answers, jax.Array]:
    """Answers of the groups of which all have ended, nothing in the places of the others; and which places, ``[B]``."""
    whole = _whole(texts.over, num_samples)
    return texts.answers._replace(mask=texts.answers.mask & whole[:, None]), whole


def _whole(over: jax.Array, num_samples: int) -> jax.Array:
    """Of each text, whether all of its group are over: ``[B] -> [B]`` bool."""
    return jnp.all(over.reshape(-1, num_samples), axis=1).repeat(num_samples)


def _choose(rows: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """New rows where it says so; what rows share is new, as it is the same for all."""
    return jnp.where(rows.reshape(-1, *[1] * (new.ndim - 1)), new, old) if new.ndim else new


def _moved(x: jax.Array, by: jax.Array) -> jax.Array:
    """Rows ``[B, N, ...]`` moved to the right by ``by [B]`` places, what falls out coming back on the left: texts then
    end in the last column, and padding is in front."""
    place = (jnp.arange(x.shape[1]) - by[:, None]) % x.shape[1]
    return jnp.take_along_axis(x, place.reshape(*place.shape, *[1] * (x.ndim - 2)), axis=1)


def _unchosen(policy: Policy, batch_size: int, num_slots: int) -> jax.Array | None:
    """Experts that are yet to be chosen, of texts of so many tokens; None of a policy without a mixture."""
    routes = getattr(jax.eval_shape(lambda: policy.start(batch_size, num_slots)), "routes", None)
    return None if routes is None else jnp.full(routes.shape, -1, routes.dtype)


def _with_routes(policy: Any, answers: Answers, by: jax.Array, num_tokens: int) -> Any:
    """A policy that takes again what experts were taken of what is written, moved as that is, and chooses others."""
    if answers.routes is None:
        return policy
    pad = [(0, 0)] * (answers.routes.ndim - 2)
    read = jnp.pad(answers.routes, ((0, 0), (0, 1), *pad), constant_values=-1)  # the last token has been read by none
    coming = jnp.pad(_moved(read, by), ((0, 0), (0, num_tokens - 1), *pad), constant_values=-1)
    return policy._replace(routes=coming)


def _routes_of(more: Completions, answers: Answers, by: jax.Array) -> jax.Array | None:
    """Experts of the texts as they now are, moved back."""
    if answers.routes is None or more.routes is None:
        return None
    place = jnp.arange(answers.routes.shape[1]) + by[:, None]
    there = place < more.routes.shape[1]
    place = jnp.where(there, place, 0).reshape(*place.shape, *[1] * (answers.routes.ndim - 2))
    taken = jnp.take_along_axis(more.routes, place, axis=1)
    return jnp.where(there.reshape(place.shape), taken, -1)


def _appended(answers: Answers, more: Completions, length: jax.Array) -> Answers:
    """Answers of ``length [B]`` tokens with what was written after them; what finds no room is left out."""
    rows, T = jnp.arange(len(length)), answers.mask.shape[1]
    place = jnp.where(more.mask, length + jnp.arange(len(more.mask))[:, None], T)

    def put(old: jax.Array, new: PyTree) -> jax.Array:
        return old.at[rows, place].set(new, mode="drop")

    return answers._replace(
        tokens=put(answers.tokens, more.tokens),
        mask=put(answers.mask, True),
        log_prob=put(answers.log_prob, more.log_prob),
    )
