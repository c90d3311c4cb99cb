"""Exploration from action values: policies as probabilities, and how to sample from them.

A policy that is a vector of probabilities can be enumerated, weighed, and drawn from with a single uniform number.
"""

import jax
import jax.numpy as jnp

from purerl.types import Scalar


def greedy(value: jax.Array) -> jax.Array:
    """Greedy policy, ties split: the actions of highest value, all as likely.

    ``pi(a) = 1[q_a = max q] / |argmax q|``

    Args:
        value: ``[..., A]``; infinite where an action must come first.

    Returns:
        ``[..., A]`` probabilities.
    """
    # A compiler may compute a value twice, once for the maximum and once to compare it, and round it differently. Then
    # nothing equals the maximum; one action must be best nevertheless.
    first = jnp.arange(value.shape[-1]) == jnp.argmax(value, axis=-1, keepdims=True)
    best = (first | (value == jnp.max(value, axis=-1, keepdims=True))).astype(value.dtype)
    return best / jnp.sum(best, axis=-1, keepdims=True)


def uniform(legal: jax.Array) -> jax.Array:
    """Uniform policy over the legal actions, over all where none is: ``pi(a) = 1[a is legal] / number of these``.

    Args:
        legal: ``[..., A]`` bool.

    Returns:
        ``[..., A]`` probabilities.
    """
    weight = (legal | ~jnp.any(legal, axis=-1, keepdims=True)).astype(jnp.result_type(float))
    return weight / jnp.sum(weight, axis=-1, keepdims=True)


def epsilon_greedy(value: jax.Array, epsilon: Scalar, legal: jax.Array | None = None) -> jax.Array:
    """Epsilon-greedy policy.

    ``pi(a) = (1 - epsilon) greedy(a) + epsilon / A``

    Args:
        value: ``[..., A]``; -inf where an action is not legal.
        epsilon: share of uniform actions, in [0, 1]; broadcasts to ``[..., 1]``.
        legal: ``[..., A]`` bool, among which the uniform actions are, A being their number; None: all.

    Returns:
        ``[..., A]`` probabilities.

    Source: Sutton & Barto 2018, section 2.2; ties share what the greedy action gets.
    """
    others = epsilon / value.shape[-1] if legal is None else epsilon * uniform(legal)
    return (1 - epsilon) * greedy(value) + others


def boltzmann(value: jax.Array, temperature: Scalar) -> jax.Array:
    """Boltzmann (softmax) policy: ``pi(a) = exp(q_a / temperature) / sum_b exp(q_b / temperature)``.

    Args:
        value: ``[..., A]``.
        temperature: in units of value, > 0; broadcasts to ``[..., 1]``.

    Returns:
        ``[..., A]`` probabilities.

    Source: Sutton & Barto 2018, (2.11).
    """
    return jax.nn.softmax(value / temperature, axis=-1)


def upper_confidence(value: jax.Array, count: jax.Array, bonus: Scalar) -> jax.Array:
    """Upper confidence bound (UCB1): ``q_a + bonus sqrt(ln n / N_a)``, with ``n`` the sum of the counts.

    :func:`greedy` in it is optimism in the face of uncertainty, an action that was never taken before any other.

    Args:
        value: ``[..., A]``.
        count: ``[..., A]``, how often each action was taken, at least 0.
        bonus: in units of value, at least 0.

    Returns:
        ``[..., A]``, infinite for an action that was never taken.

    Source: Auer, Cesa-Bianchi and Fischer 2002, figure 1; Sutton & Barto 2018, (2.10).
    """
    total = jnp.sum(count, axis=-1, keepdims=True)
    width = jnp.sqrt(jnp.log(jnp.maximum(total, 1)) / jnp.maximum(count, 1))
    return jnp.where(count == 0, jnp.inf, value + bonus * width)


def power_decay(initial: Scalar, count: jax.Array, exponent: Scalar) -> jax.Array:
    """Power decay of a step size or an exploration rate: ``initial * count^-exponent``.

    Constant at exponent 0, harmonic at 1.

    An exploration rate ``epsilon / t`` and a step size ``1 / N`` are of this form. As a step size it satisfies the
    conditions of Robbins and Monro for exponents in (1/2, 1].

    Args:
        initial: value at count 1.
        count: ``[...]``, at least 1.
        exponent: at least 0.

    Returns:
        ``[...]``.
    """
    return initial * jnp.asarray(count, jnp.result_type(float)) ** -exponent


def linear_decay(initial: Scalar, final: Scalar, count: jax.Array, duration: Scalar) -> jax.Array:
    """Linear decay, then constant: ``x_0 + (x_1 - x_0) min(count / duration, 1)``.

    Args:
        initial: value at count 0.
        final: value from count ``duration`` on.
        count: ``[...]``, at least 0; a negative one has wrapped, and is past every end.
        duration: at least 0; with 0 it is ``final`` throughout.

    Returns:
        ``[...]``, between the two.
    """
    begun = (count >= 0) & (count < duration)
    elapsed = jnp.where(begun, count / jnp.maximum(duration, 1), 1)
    return initial + (final - initial) * elapsed


def spread(epsilon: Scalar, exponent: Scalar, number: int) -> jax.Array:
    """Ape-X epsilons of actors that explore differently: ``epsilon_i = epsilon^(1 + exponent i / (number - 1))``.

    The first has epsilon itself, each other one less; with an exponent of 0 all are alike.

    Args:
        epsilon: share of uniform actions of the first, in [0, 1].
        exponent: at least 0; 7 in the paper, with epsilon 0.4.
        number: how many, at least 1.

    Returns:
        ``[number]`` in [0, 1].

    Source: Horgan et al. 2018 (arXiv 1803.00933), section 4.1.
    """
    return epsilon ** jnp.linspace(1.0, 1.0 + exponent, number)


def coloured_noise(noise: jax.Array, normal: jax.Array, theta: Scalar, std: Scalar) -> jax.Array:
    """Noise that forgets: one step of an Ornstein-Uhlenbeck process, or of white noise where ``theta`` is 1.

    ``x' = (1 - theta) x + std sqrt(1 - (1 - theta)^2) z``, so that ``std`` is its deviation in the long run, and
    ``(1 - theta)^k`` the correlation of two values k steps apart

    Args:
        noise: x, ``[...]``; 0 at the start of an episode.
        normal: z, standard normal, ``[...]``.
        theta: share that a step forgets, in (0, 1].
        std: in units of the action, at least 0.

    Returns:
        ``[...]``.

    Source: Uhlenbeck & Ornstein 1930; Lillicrap et al. 2016, section 3, whose sigma is ``std sqrt(1 - (1 - theta)^2)``.
    """
    kept = 1 - theta
    return (kept * noise + std * jnp.sqrt(1 - kept**2) * normal).astype(noise.dtype)


def sample(probability: jax.Array, uniform: jax.Array) -> jax.Array:
    """Sample an action by the inverse of the cumulative distribution; one of probability 0 never.

    ``min {a : p_a > 0, p_0 + ... + p_a > u}``

    Args:
        probability: ``[..., A]``, with a positive sum, which need not be 1.
        uniform: ``[...]`` in [0, 1).

    Returns:
        ``[...]`` int32.
    """
    # A prefix sum that is computed in parallel now and then falls, or rises where it passes a 0: the steps below, not
    # their order, must say what is possible. The largest of them is always above, whatever a product rounds to.
    step = jnp.where(probability > 0, jnp.cumsum(probability, axis=-1), 0)
    whole = jnp.max(step, axis=-1, keepdims=True)
    above = (step > uniform[..., None] * whole) | (step == whole)
    num_actions = probability.shape[-1]
    return jnp.min(jnp.where(above, jnp.arange(num_actions, dtype=jnp.int32), num_actions - 1), axis=-1)
