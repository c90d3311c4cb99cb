"""A task for language models: prompts that are drawn, and answers that are judged by a rule."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from purerl.language.policy import Prompts
from purerl.recipes import Recipe
from purerl.spaces import Text, Tokens
from purerl.types import PyTree

Reward: TypeAlias = Callable[[PyTree, jax.Array, jax.Array], jax.Array]


class Task(NamedTuple):
    """What is asked, and what an answer is worth, as pure functions of arrays; answers are time-major.

    It is an environment as well, of one step an episode: the observation is a prompt, the action is a whole answer,
    both :class:`~purerl.spaces.Tokens`. What evaluates, saves and names environments so takes it as it is.
    """

    name: str
    vocab: tuple[str, ...]  # V tokens
    prompt_length: int  # P
    max_tokens: int  # T, of an answer
    stop_token: int  # -1 for none
    draw: Callable[[jax.Array, int], Prompts]  # (key, B) -> prompts [B, P]
    reward: Reward  # (info [B, ...], tokens [T, B], mask [T, B]) -> [B] float, or [B, K] of K kinds
    # What a task may have besides, for those who ask for it:
    answer: Callable[[PyTree], tuple[jax.Array, jax.Array]] | None = None  # info -> tokens, mask [T, B]; to be imitated
    step_correct: Reward | None = None  # as reward -> [T, B] bool, whether what a token says follows
    proxy: Reward | None = None  # as reward -> [B, K] float, what K fallible judges say in place of the reward
    recipe: Recipe | None = None  # how it was made

    @property
    def observation_space(self) -> Text:
        """Of prompts."""
        return Text(self.prompt_length, len(self.vocab), pad_left=True)

    @property
    def action_space(self) -> Text:
        """Of answers."""
        return Text(self.max_tokens, len(self.vocab))

    def reset(self, key: jax.Array) -> tuple[Tokens, Prompts]:
        """``(obs, state)``: one prompt, and the same with what its reward needs to know."""
        prompt = jax.tree.map(lambda x: x[0], self.draw(key, 1))
        return Tokens(prompt.ids, prompt.mask), prompt

    def step(self, key: jax.Array, state: Prompts, action: Tokens) -> tuple:  # noqa: ARG002, all environments have it
        """``(obs, state, reward, terminated, truncated, info)``, the end: several rewards are added, and told apart in
        ``info["rewards"]``, ``[K]``."""
        info = jax.tree.map(lambda x: x[None], state.info)
        reward = self.reward(info, action.ids[:, None], action.mask[:, None])[0]
        told = {"rewards": reward} if reward.ndim else {}
        obs = Tokens(state.ids, state.mask)
        return obs, state, jnp.sum(reward), jnp.array(True), jnp.array(False), told


def encode(vocab: tuple[str, ...], text: Iterable[str]) -> tuple[int, ...]:
    """Ids of a text's tokens, which are single characters where the text is a string.

    Raises:
        ValueError: naming a token that is not in the vocabulary.
    """
    unknown = sorted({token for token in text if token not in vocab})
    if unknown:
        raise ValueError(f"encode: {unknown[0]!r} is no token of {' '.join(vocab)}.")
    return tuple(vocab.index(token) for token in text)


def decode(vocab: tuple[str, ...], tokens: Any, mask: Any) -> list[str]:
    """Texts of completions ``[T, B]``, or of ``ids.T, mask.T`` of prompts; what is masked is left out."""
    tokens, mask = np.asarray(tokens), np.asarray(mask)
    return ["".join(vocab[token] for token in tokens[mask[:, i], i]) for i in range(tokens.shape[1])]
