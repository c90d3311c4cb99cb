"""Log-probabilities of given text under a policy, in one pass: what a learner does after a generator."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from purerl.kernels.language import truncation
from purerl.language.generate import unpack
from purerl.language.policy import Policy, Prompts, extended, next_logits
from purerl.types import Scalar


class Score(NamedTuple):
    """Of each token of B completions; 0 outside their masks."""

    log_prob: jax.Array  # [T, B]
    entropy: jax.Array  # [T, B] of the distribution that the token was drawn from


def score(
    policy: Policy,
    prompts: Prompts,
    tokens: jax.Array,
    mask: jax.Array,
    *,
    kept: jax.Array | None = None,
    temperature: Scalar = 1.0,
    steps_at_once: int | None = None,
) -> Score:
    """Score completions: ``log pi(y_t | x, y_<t)`` at the sampler's temperature, over the tokens that *it* kept.

    Of the policy that generated them it is what :func:`~purerl.language.generate.generate` returned, to rounding: the
    ratio of the first gradient step is 1.

    Args:
        policy: whose probabilities; with the ``routes`` of the generator, if it has experts.
        prompts: one for each completion, ``[B, P]``; see :func:`~purerl.language.policy.repeat`.
        tokens: ``[T, B]`` int, the completions.
        mask: ``[T, B]`` bool, which of them are there; the others are not seen by later ones, whatever they are.
        kept: ``[T, B, ceil(V / 8)]`` uint8, of the generator, if it truncated.
        temperature: T, greater than 0, that of the sampler.
        steps_at_once: of how many time steps logits are held at once, for large vocabularies: they are computed
            again in the backward pass. None for all.

    Returns:
        their score.
    """

    def of_step(step: tuple) -> Score:
        features, token, mask, kept = step
        logits = next_logits(policy, features)
        log_probs = truncation.log_probs(logits, temperature, unpack(kept, logits.shape[-1]))
        chosen = jnp.take_along_axis(log_probs, token[..., None], axis=-1)[..., 0]
        # What is not kept has log-probability -inf and adds nothing, to the gradient neither.
        possible = jnp.isfinite(log_probs)
        finite = jnp.where(possible, log_probs, 0)
        entropy = -jnp.sum(jnp.where(possible, jnp.exp(finite) * finite, 0), axis=-1)
        return Score(jnp.where(mask, chosen, 0), jnp.where(mask, entropy, 0))

    steps = (features(policy, prompts, tokens, mask), tokens, mask, kept)
    if steps_at_once is None:
        return of_step(steps)
    return jax.lax.map(jax.checkpoint(of_step), steps, batch_size=steps_at_once)


def features(policy: Policy, prompts: Prompts, tokens: jax.Array, mask: jax.Array, after: bool = False) -> jax.Array:
    """What the policy makes of the text before each token of the completions, ``[T, B, ...]``: its logits are of it.

    Heads of other kinds read them too: values before a token, and, with ``after``, what is said of the text up to it
    and with it, such as rewards.
    """
    ids, there, _ = extended(prompts, tokens, mask)
    first = prompts.ids.shape[1] - (not after)
    end = first + len(tokens)
    _, read = policy.extend(policy.start(len(ids), end), ids[:, :end], there[:, :end])
    return jnp.moveaxis(read[:, first:], 1, 0)
