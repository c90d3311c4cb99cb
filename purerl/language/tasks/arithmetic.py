"""Sums in single digits, written with the lowest digit first."""

import jax
import jax.numpy as jnp

from purerl.language.policy import Prompts
from purerl.language.tasks.task import Task, encode
from purerl.language.tasks.verifiers import exact_match
from purerl.recipes import recorded

ARITHMETIC = (*"0123456789+=", ".")
STOP = ARITHMETIC.index(".")


@recorded
def addition() -> Task:
    """One-digit sums: ``3+9=`` is answered by ``21.``, the digits of 12 with the lowest first, and the stop token.

    An answer is worth 1 if it is that and no more, and 0 otherwise. Prompts are uniform over the hundred sums.
    """

    def draw(key: jax.Array, num_prompts: int) -> Prompts:
        a, b = jax.random.randint(key, (2, num_prompts), 0, 10)
        plus, equals = (jnp.full(num_prompts, ARITHMETIC.index(sign)) for sign in "+=")
        ids = jnp.stack([a, plus, b, equals], axis=1).astype(jnp.int32)
        return Prompts(ids, jnp.ones(ids.shape, bool), a + b)

    def reward(total: jax.Array, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        return exact_match(*total_digits(total), tokens, mask)

    return Task("addition", ARITHMETIC, 4, 3, STOP, draw, reward, total_digits)


def total_digits(total: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sums ``[B]`` from 0 to 18 as :func:`addition` has them answered, ``tokens, mask [3, B]``."""
    stop = jnp.full_like(total, STOP)
    long = total >= 10
    tokens = jnp.stack([total % 10, jnp.where(long, total // 10, stop), jnp.where(long, stop, 0)])
    return tokens, jnp.stack([total >= 0, total >= 0, long])


@recorded
def two_plus_two() -> Task:
    """The smallest task: ``2+2=`` is answered by one token, which is worth 1 if it is ``4`` and 0 otherwise."""

    def draw(key: jax.Array, num_prompts: int) -> Prompts:
        ids = jnp.broadcast_to(jnp.array(encode(ARITHMETIC, "2+2="), jnp.int32), (num_prompts, 4))
        return Prompts(ids, jnp.ones(ids.shape, bool), jnp.full(num_prompts, 4, jnp.int32))

    def answer(total: jax.Array) -> tuple[jax.Array, jax.Array]:
        return total[None], jnp.ones((1, len(total)), bool)

    def reward(total: jax.Array, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        return exact_match(*answer(total), tokens, mask)

    return Task("two_plus_two", ARITHMETIC, 4, 1, -1, draw, reward, answer)
