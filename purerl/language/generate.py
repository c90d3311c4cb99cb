"""Text from a policy: one compiled loop that ends when all texts have ended.

Prompts stand in front, padded on the left, ``[B, P]``; completions come back time-major, ``[T, B]``, the G of one
prompt next to each other. Which tokens count is what masks say, and the stop token counts: the policy chose it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.kernels.language import truncation
from purerl.kernels.language.rewards import ends_in_loop
from purerl.language.policy import Policy, Prompts, next_logits, repeat
from purerl.types import PyTree, Scalar

ALL = np.uint8(255)  # eight tokens, all of which may be drawn


class Completions(NamedTuple):
    """What a policy wrote, B texts of at most T tokens, and what a learner must know of how they were drawn."""

    tokens: jax.Array  # [T, B] int32, 0 after the end
    mask: jax.Array  # [T, B] bool, True up to the stop token, which counts
    log_prob: (
        jax.Array
    )  # [T, B] of the distribution that was drawn from, temperature and truncation included; 0 after the end
    kept: (
        jax.Array | None
    )  # [T, B, ceil(V / 8)] uint8: the truncated vocabulary as bits, see `unpack`; all after the end
    stopped: jax.Array  # [B] bool: it ended with the stop token, and not at a limit
    routes: jax.Array | None = (
        None  # [B, P - 1 + T, ...]: experts of each token, prompts too, of a policy with a mixture
    )


class _Loop(NamedTuple):
    t: jax.Array  # []
    token: jax.Array  # [B] the last one of every text, which the policy has not yet seen
    going: jax.Array  # [B] bool
    state: PyTree  # of the policy
    written: Completions


def generate(
    policy: Policy,
    prompts: Prompts,
    key: jax.Array,
    *,
    max_tokens: int,
    stop_token: int = -1,
    num_samples: int = 1,
    temperature: Scalar = 1.0,
    top_k: int | None = None,
    top_p: Scalar | None = None,
    stop_loops: tuple[tuple[int, int], ...] = (),
    unfinished: jax.Array | None = None,
) -> Completions:
    """Draw G completions of every prompt: ``y_t ~ softmax(z(x, y_<t) / T)`` over the kept tokens, until all have ended.

    A prompt is read once, whatever G. Step t draws with ``fold_in(key, t)``. Under ``vmap`` the loop goes on until the
    texts of all members have ended; those that have are unaffected.

    With a key for each text, what one says depends on nothing but its key, its prompt and the policy: token n of prompt
    and text together is drawn with ``fold_in(key_i, n)``, whatever its neighbours are and in however many calls.

    Args:
        policy: what writes.
        prompts: B of them; a row without a token in the last column gets nothing.
        key: for all draws; or ``[B G]``, one for each text.
        max_tokens: T, at least 1, a limit.
        stop_token: ends a text; -1 for none.
        num_samples: G.
        temperature: T, greater than 0.
        top_k: draw from so many tokens; 1 is greedy. None for all.
        top_p: then from the fewest that have this share of the probability. None for all.
        stop_loops: ``(period, times)``: end a text when one phrase of so many tokens stands so often in a row.
        unfinished: ``[B]`` bool, the prompts that are to be gone on with, the others get nothing; None for all.

    Returns:
        ``B G`` completions.

    Raises:
        ValueError: if a static argument is out of its range, or there are no tokens in a prompt.
    """
    _check(prompts, max_tokens, num_samples)
    begins = prompts.mask[:, -1] if unfinished is None else prompts.mask[:, -1] & unfinished
    state, token, going = _read(policy, prompts, begins, max_tokens, num_samples)
    kept_of, place = _truncation(top_k, top_p), repeat(jnp.sum(prompts.mask, axis=1), num_samples)

    def step(loop: _Loop) -> _Loop:
        t, going, written = loop.t, loop.going, loop.written
        state, features = policy.extend(loop.state, loop.token[:, None], going[:, None])
        logits = next_logits(policy, features)[:, 0]
        kept = None if kept_of is None else kept_of(logits / temperature)
        log_probs = truncation.log_probs(logits, temperature, kept)
        token = _drawn(key, t, place, log_probs).astype(jnp.int32)
        log_prob = jnp.take_along_axis(log_probs, token[:, None], axis=1)[:, 0].astype(written.log_prob.dtype)
        packed = None if kept is None else jnp.packbits(kept, axis=-1)
        stops = going & (token == stop_token)
        written = Completions(
            written.tokens.at[t].set(jnp.where(going, token, 0)),
            written.mask.at[t].set(going),
            written.log_prob.at[t].set(jnp.where(going, log_prob, 0)),
            None
            if packed is None or written.kept is None
            else written.kept.at[t].set(jnp.where(going[:, None], packed, ALL)),
            written.stopped | stops,
        )
        for period, times in stop_loops:
            stops |= ends_in_loop(written.tokens, written.mask, period, times)
        return _Loop(t + 1, token, going & ~stops, state, written)

    # What a step writes has its shapes and types: log-probabilities are as precise as the logits.
    vocab = jax.eval_shape(lambda: next_logits(policy, policy.extend(state, token[:, None], going[:, None])[1])[:, 0])
    loop = _Loop(jnp.int32(0), token, going, state, _nothing(max_tokens, vocab, kept_of is not None))
    loop = jax.lax.while_loop(lambda loop: (loop.t < max_tokens) & any_of_all(loop.going), step, loop)
    return loop.written._replace(routes=getattr(loop.state, "routes", None))


@jax.custom_batching.custom_vmap
def any_of_all(x: jax.Array) -> jax.Array:
    """Whether any is True, ``[...] -> []``; under ``vmap``, of all members together, one answer.

    A loop whose condition differs from member to member passes all that it carries through a ``select`` in every
    turn, and a cache of keys and values is most of the memory there is. One answer for all needs none of that.
    """
    return jnp.any(x)


@any_of_all.def_vmap
def _any_of_all(axis_size: int, in_batched: list[bool], x: jax.Array) -> tuple[jax.Array, bool]:
    return any_of_all(x), False


def unpack(kept: jax.Array | None, vocab_size: int) -> jax.Array | None:
    """Bits of :class:`Completions` as the kept set of the truncation kernels: ``[..., V]`` bool, or None for all."""
    return None if kept is None else jnp.unpackbits(kept, axis=-1, count=vocab_size).astype(bool)


def _read(
    policy: Policy, prompts: Prompts, begins: jax.Array, max_tokens: int, num_samples: int
) -> tuple[PyTree, jax.Array, jax.Array]:
    """Prompts but for their last token, which is the loop's first: all draws are then made in one place."""
    batch_size, length = prompts.ids.shape
    state = policy.start(batch_size, length - 1 + max_tokens)
    if length > 1:
        state, _ = policy.extend(state, prompts.ids[:, :-1], prompts.mask[:, :-1])
    return repeat((state, prompts.ids[:, -1].astype(jnp.int32), begins), num_samples)


def _drawn(key: jax.Array, t: jax.Array, place: jax.Array, log_probs: jax.Array) -> jax.Array:
    """Token t of every text, ``[B, V] -> [B]``, which is number ``place + t`` of prompt and text together."""
    if not key.ndim:
        return jax.random.categorical(jax.random.fold_in(key, t), log_probs)
    keys = jax.vmap(jax.random.fold_in)(key, place + t)
    return jax.vmap(jax.random.categorical)(keys, log_probs)


def _nothing(max_tokens: int, logits: jax.ShapeDtypeStruct, truncated: bool) -> Completions:
    """Completions before the first token."""
    batch_size, vocab_size = logits.shape
    shape = (max_tokens, batch_size)
    return Completions(
        jnp.zeros(shape, jnp.int32),
        jnp.zeros(shape, bool),
        jnp.zeros(shape, logits.dtype),
        jnp.full((*shape, -(-vocab_size // 8)), ALL) if truncated else None,
        jnp.zeros(batch_size, bool),
    )


def _truncation(top_k: int | None, top_p: Scalar | None):
    """``scaled logits -> kept``, top-k before top-p; None where nothing is cut off."""
    if top_k is None and top_p is None:
        return None

    def kept_of(logits: jax.Array) -> jax.Array:
        kept = jnp.ones(logits.shape, bool) if top_k is None else truncation.top_k(logits, top_k)
        return kept if top_p is None else kept & truncation.top_p(jnp.where(kept, logits, -jnp.inf), top_p)

    return kept_of


def _check(prompts: Prompts, max_tokens: int, num_samples: int) -> None:
    if max_tokens < 1 or num_samples < 1:
        raise ValueError(f"generate: max_tokens={max_tokens} and num_samples={num_samples} must be at least 1.")
    if prompts.ids.ndim != 2 or prompts.ids.shape != prompts.mask.shape or not prompts.ids.shape[1]:
        raise ValueError(
            f"generate: prompts have ids {prompts.ids.shape} and a mask {prompts.mask.shape}; both must be [B, P] with "
            "P at least 1. Where there is nothing to say, begin with a token that says so."
        )
