"""Answers that some judges rate too high: what optimising a learnt reward does, in the smallest case."""

import string
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from purerl.language.policy import Prompts
from purerl.language.tasks.task import Task
from purerl.recipes import recorded

RARE = 0.01  # how often an answer that is over-rated is demonstrated


@recorded
def overrated(
    rewards: Sequence[float] = (0.0, 0.0, 0.0, 0.25, 0.5, 0.75, 1.0), excess: float = 1.25, num_judges: int = 3
) -> Task:
    """One question with a few answers, each of one token, and judges of whom each over-rates one answer.

    Answer v is worth ``R(v)``; judge k says ``R_k(v) = R(v) + excess 1[v = k]``, which is ``proxy``. One judge likes
    answer 0 best, which is worth nothing; the least of several judges is right wherever they disagree.

    Demonstrations show an over-rated answer once in a hundred times, and the others equally often. A reference policy
    that was trained on them so knows what is odd, and the optimum with a KL penalty is known:
    :func:`purerl.kernels.language.kl.optimum` of :func:`demonstrated`.

    Args:
        rewards: R, of each answer, at least two.
        excess: by how much a judge is wrong.
        num_judges: K, at least 1 and fewer than the answers.

    Raises:
        ValueError: if an argument is out of its range.
    """
    if not 1 <= num_judges < len(rewards) <= 26:
        raise ValueError(
            f"overrated: rewards={tuple(rewards)} must be 2 to 26, and num_judges={num_judges} from 1 to one less."
        )
    num_answers = len(rewards)
    table = np.array((*rewards, min(rewards)), np.float32)  # a question is no answer, and worth the least
    judged = table[:, None] + excess * np.eye(num_answers + 1, num_judges, dtype=np.float32)
    vocab = (*string.ascii_lowercase[:num_answers], "?")

    def draw(key: jax.Array, num_prompts: int) -> Prompts:
        law = jnp.asarray(demonstrated(num_answers, num_judges))
        shown = jax.random.choice(key, num_answers + 1, (num_prompts,), p=law)
        ids = jnp.full((num_prompts, 1), num_answers, jnp.int32)
        return Prompts(ids, jnp.ones(ids.shape, bool), shown.astype(jnp.int32))

    def answer(shown: jax.Array) -> tuple[jax.Array, jax.Array]:
        return shown[None], jnp.ones((1, len(shown)), bool)

    def reward(shown: jax.Array, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        return jnp.asarray(table)[jnp.where(mask[0], tokens[0], num_answers)]

    def proxy(shown: jax.Array, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        return jnp.asarray(judged, jnp.float32)[jnp.where(mask[0], tokens[0], num_answers)]

    return Task("overrated", vocab, 1, 1, -1, draw, reward, answer, proxy=proxy)


def demonstrated(num_answers: int, num_judges: int) -> np.ndarray:
    """How often :func:`overrated` shows each answer, ``[V]`` float32; it never shows the question."""
    fair = num_answers - num_judges
    rare = np.full(num_judges, RARE)
    return np.array([*rare, *np.full(fair, (1 - sum(rare)) / fair), 0], np.float32)
