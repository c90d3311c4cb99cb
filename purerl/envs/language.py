"""A task for language models as an ordinary environment, one token a step: for learners and solvers of every kind."""

import jax
import jax.numpy as jnp
from flax import struct

from purerl.envs.base import Environment
from purerl.language.policy import Prompts
from purerl.language.tasks import Task
from purerl.recipes import recorded
from purerl.spaces import Discrete, MultiDiscrete, Tokens


class Writing(struct.PyTreeNode):
    """An answer that is being written."""

    prompt: Prompts  # ids, mask [P], with what its reward needs to know
    text: Tokens  # ids, mask [T]


@recorded
def token_by_token(task: Task, limit_truncates: bool = False) -> Environment:
    """The token-level decision process of a task: a state is the text so far, an action the next token, ``s' = s a``.

    The reward comes with the token that ends the answer, and is that of the task; before, it is 0. An observation is
    the prompt and what has been written, ``[P + T]`` tokens, V where there is nothing.

    Args:
        task: what is asked.
        limit_truncates: what happens at T tokens without a stop token. False: the answer is over, is judged as it is,
            and the episode terminates, as in generation. True: it is not over; the episode is truncated without a
            reward, and learners take what would have come from their values.

    Returns:
        The environment, with V actions.

    Raises:
        TypeError: if it is no task.
        ValueError: if the limit is to truncate and a task has no stop token, so that no answer would ever end.
    """
    if not isinstance(task, Task):
        raise TypeError(f"token_by_token needs a task for language models, but {task.name} is none")
    if limit_truncates and task.stop_token < 0:
        raise ValueError(f"token_by_token: {task.name} has no stop token, so its limit must terminate an answer.")
    vocab_size = len(task.vocab)

    def seen(writing: Writing) -> jax.Array:
        parts = (writing.prompt, writing.text)
        return jnp.concatenate([jnp.where(part.mask, part.ids, vocab_size).astype(jnp.int32) for part in parts])

    def reset(key: jax.Array) -> tuple[jax.Array, Writing]:
        _, prompt = task.reset(key)
        nothing = jnp.zeros(task.max_tokens, jnp.int32)
        writing = Writing(prompt, Tokens(nothing, nothing > 0))
        return seen(writing), writing

    def step(key: jax.Array, state: Writing, action: jax.Array) -> tuple:
        place = jnp.arange(task.max_tokens) == jnp.sum(state.text.mask)
        text = Tokens(jnp.where(place, action, state.text.ids), state.text.mask | place)
        stops = action == task.stop_token
        at_limit = jnp.all(text.mask) & ~stops
        terminated, truncated = (stops, at_limit) if limit_truncates else (stops | at_limit, jnp.array(False))
        _, _, reward, _, _, info = task.step(key, state.prompt, text)
        reward, info = jax.tree.map(lambda x: jnp.where(terminated, x, 0), (reward, info))
        state = Writing(state.prompt, text)
        return seen(state), state, reward, terminated, truncated, info

    observations = MultiDiscrete((vocab_size + 1,) * (task.prompt_length + task.max_tokens))
    return Environment(task.name, reset, step, observations, Discrete(vocab_size))
