"""All texts of a small vocabulary: expectations and gradients without sampling, for proofs and toy problems.

A policy is a table of logits ``[N, V]``, a row for each prefix that is not finished. Every quantity of a language
model's training is then a finite sum, differentiable and exact to rounding::

    sequences = all_sequences(vocab_size=3, max_tokens=3, stop_token=2)         # Y = 15 of them, N = 7 prefixes
    gradient = jax.grad(lambda logits: expectation(sequences, logits, reward))(logits)

A mean over a batch, differentiated, holds the distribution of the batch fixed. That is :func:`sample_mean`, and what it
differs in from the gradient of an :func:`expectation` is the error of many a loss.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

MAX_SEQUENCES = 1_000_000
_Text = tuple[tuple[int, ...], tuple[int, ...]]  # its tokens, and the rows of the prefixes before them


class Sequences(NamedTuple):
    """All Y sequences that end with the stop token or at the token limit, time-major, over N unfinished prefixes."""

    tokens: np.ndarray  # [T, Y] int32, 0 after the end
    mask: np.ndarray  # [T, Y] bool, True up to the stop token, which counts
    prefix: np.ndarray  # [T, Y] int32, row in [0, N) of what was there before the token; 0 after the end

    @property
    def num_prefixes(self) -> int:
        """N, rows of a policy's table. Row 0 is the empty prefix."""
        return int(self.prefix.max()) + 1


def all_sequences(vocab_size: int, max_tokens: int, stop_token: int) -> Sequences:
    """All sequences of a vocabulary: ``Y = N + (V - 1)^T`` of them, over ``N = sum_{t<T} (V - 1)^t`` prefixes.

    Args:
        vocab_size: V, at least 2, the stop token included.
        max_tokens: T, at least 1; a sequence that long ends with or without a stop token.
        stop_token: in 0..V-1; or -1 for none, and then all V^T sequences have length T.

    Returns:
        the sequences, shorter ones first.

    Raises:
        ValueError: if an argument is out of its range, or there are more than a million sequences.
    """
    if vocab_size < 2 or max_tokens < 1 or not -1 <= stop_token < vocab_size:
        raise ValueError(
            f"all_sequences: vocab_size={vocab_size} must be at least 2, max_tokens={max_tokens} at least 1 and "
            f"stop_token={stop_token} one of the vocabulary, or -1 for none."
        )
    if (vocab_size - (stop_token >= 0)) ** max_tokens > MAX_SEQUENCES:
        raise ValueError(
            f"all_sequences: a vocabulary of {vocab_size} has more than {MAX_SEQUENCES} sequences of {max_tokens} "
            "tokens; take fewer tokens or a smaller vocabulary."
        )
    finished: list[_Text] = []
    unfinished: list[_Text] = [((), ())]
    num_prefixes = 0
    for _ in range(max_tokens):
        longer: list[_Text] = []
        for tokens, rows in unfinished:
            for token in range(vocab_size):
                (finished if token == stop_token else longer).append(((*tokens, token), (*rows, num_prefixes)))
            num_prefixes += 1
        unfinished = longer
    all_tokens, all_rows = zip(*finished, *unfinished, strict=True)
    mask = np.arange(max_tokens)[:, None] < np.array([len(tokens) for tokens in all_tokens])
    return Sequences(_padded(all_tokens, max_tokens), mask, _padded(all_rows, max_tokens))


def token_log_probs(sequences: Sequences, logits: jax.Array) -> jax.Array:
    """Log-probability of every token given its prefix: ``log pi(y_t | y_<t)``, ``[T, Y]``; 0 after the end.

    Args:
        sequences: of T tokens at most.
        logits: ``[N, V]``.

    Returns:
        ``[T, Y]``.
    """
    chex.assert_axis_dimension(logits, 0, sequences.num_prefixes)
    log_prob = jax.nn.log_softmax(logits)[sequences.prefix, sequences.tokens]
    return jnp.where(sequences.mask, log_prob, 0)


def log_probs(sequences: Sequences, logits: jax.Array) -> jax.Array:
    """Log-probability of every sequence: ``log pi(y) = sum_t log pi(y_t | y_<t)``, ``[Y]``. They sum to 1.

    Args:
        sequences: all of them.
        logits: ``[N, V]``.

    Returns:
        ``[Y]``.
    """
    return jnp.sum(token_log_probs(sequences, logits), axis=0)


def expectation(sequences: Sequences, logits: jax.Array, value: jax.Array) -> jax.Array:
    """Expectation under the policy: ``E_pi[f(y)] = sum_y pi(y) f(y)``; its gradient is that of both factors.

    Args:
        sequences: all of them.
        logits: ``[N, V]``.
        value: ``[..., Y]``.

    Returns:
        ``[...]``.
    """
    return jnp.sum(jnp.exp(log_probs(sequences, logits)) * value, axis=-1)


def sample_mean(sequences: Sequences, logits: jax.Array, value: jax.Array) -> jax.Array:
    """Mean over infinitely many samples of the policy: ``sum_y sg(pi(y)) f(y)``; its gradient is that of f alone.

    Args:
        sequences: all of them.
        logits: ``[N, V]``, of the policy that sampled.
        value: ``[..., Y]``.

    Returns:
        ``[...]``.
    """
    return expectation(sequences, jax.lax.stop_gradient(logits), value)


def policy_gradient(sequences: Sequences, logits: jax.Array, value: jax.Array) -> jax.Array:
    """Exact policy gradient: ``grad E_pi[f(y)] = E_pi[f(y) grad log pi(y)]`` of a function without parameters.

    Args:
        sequences: all of them.
        logits: ``[N, V]``.
        value: ``[Y]``.

    Returns:
        ``[N, V]``.
    """
    chex.assert_rank(value, 1)
    return jax.grad(expectation, argnums=1)(sequences, logits, value)


def kl(sequences: Sequences, logits: jax.Array, ref_logits: jax.Array) -> jax.Array:
    """KL divergence of two policies' sequences: ``KL(pi ; ref) = sum_y pi(y) log(pi(y) / ref(y))``.

    Args:
        sequences: all of them.
        logits: ``[N, V]``.
        ref_logits: ``[N, V]``.

    Returns:
        ``[]``, at least 0. It is the sum over prefixes of their chance times the KL of the next token.
    """
    return expectation(sequences, logits, log_probs(sequences, logits) - log_probs(sequences, ref_logits))


def prefix_probs(sequences: Sequences, logits: jax.Array) -> jax.Array:
    """Probability that a text begins with a prefix: ``sum_{y begins with x} pi(y)``, ``[N]``; 1 for the empty one.

    Args:
        sequences: all of them.
        logits: ``[N, V]``.

    Returns:
        ``[N]``.
    """
    return _prefix_sums(sequences, jnp.exp(log_probs(sequences, logits)))


def prefix_values(sequences: Sequences, logits: jax.Array, value: jax.Array) -> jax.Array:
    """Value of every prefix, an exact process reward model: ``E_pi[f(y) | y begins with x]``, ``[N]``.

    Args:
        sequences: all of them.
        logits: ``[N, V]``, all finite.
        value: ``[Y]``, of the finished sequences, such as an outcome reward.

    Returns:
        ``[N]``.
    """
    distribution = jnp.exp(log_probs(sequences, logits))
    return _prefix_sums(sequences, distribution * value) / _prefix_sums(sequences, distribution)


def logits_of(sequences: Sequences, log_prob: jax.Array) -> jax.Array:
    """The policy of a given distribution: ``pi(v | x) = sum_{y begins with xv} p(y) / sum_{y begins with x} p(y)``.

    A table can express every distribution, so a closed form over whole sequences, such as
    :func:`purerl.kernels.language.kl.optimum`, has one that training should arrive at.

    Args:
        sequences: all of them.
        log_prob: ``[Y]``, log-probabilities that sum to 1, all finite.

    Returns:
        ``[N, V]`` logits; they are log-probabilities.
    """
    shape = (sequences.num_prefixes, int(sequences.tokens.max()) + 1)
    through = jnp.where(sequences.mask, jnp.exp(log_prob), 0)
    joint = jnp.zeros(shape, log_prob.dtype).at[sequences.prefix, sequences.tokens].add(through)
    return jnp.log(joint) - jnp.log(jnp.sum(joint, axis=1, keepdims=True))


def _prefix_sums(sequences: Sequences, x: jax.Array) -> jax.Array:
    """``[Y] -> [N]``, the sum of x over the sequences that begin with a prefix."""
    per_token = jnp.where(sequences.mask, x, 0)
    return jnp.zeros(sequences.num_prefixes, x.dtype).at[sequences.prefix].add(per_token)


def _padded(rows: tuple[tuple[int, ...], ...], length: int) -> np.ndarray:
    """Rows of different lengths as the columns of an array, 0 where there is nothing."""
    return np.array([(*row, *(0,) * (length - len(row))) for row in rows], np.int32).T
