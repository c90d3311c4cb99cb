"""Targets of Q-learning: the value of the next observation, and one Bellman step back from it.

A target is ``td_target(reward, discount, next_value)``, where ``next_value`` is one of the functions of ``q [..., A]``
below: DQN, Double DQN, expected SARSA and soft Q-learning differ in this alone.

One convention for n steps: ``reward`` is the discounted sum of k rewards, ``discount`` is ``gamma^k (1 - terminated)``,
where k is n or, where the episode ends sooner, smaller. An episode that was truncated keeps its discount.

No gradient is stopped here. Q-learning follows a *semi*-gradient: what depends on the parameters that are being
learned, the whole target, must be stopped by the caller.
"""

import chex
import jax
import jax.numpy as jnp

from purerl.types import Scalar


def select_action_value(x: jax.Array, action: jax.Array) -> jax.Array:
    """Value of the action that was taken: ``x_a``, or its atoms where the return's distribution is learned.

    Args:
        x: ``[..., A]`` or ``[..., A, N]``.
        action: ``[...]`` int in 0..A-1; its axes tell which axis of ``x`` is A.

    Returns:
        ``[...]`` or ``[..., N]``.
    """
    axis = action.ndim
    chex.assert_equal_shape_prefix((x, action), axis)
    chex.assert_rank(x, {axis + 1, axis + 2})
    index = action.reshape(*action.shape, *(1,) * (x.ndim - axis))
    return jnp.take_along_axis(x, index, axis=axis).squeeze(axis)


def td_target(reward: jax.Array, discount: jax.Array, next_value: jax.Array) -> jax.Array:
    """Temporal-difference target, one Bellman step back: ``r + d V'``.

    Args:
        reward: ``[...]``, of one step, or the discounted sum of several.
        discount: ``[...]`` in [0, 1], ``gamma^k (1 - terminated)`` after k steps.
        next_value: ``[...]``, value of the observation the last of these steps led to, before any reset. Ignored where
            the discount is 0.

    Returns:
        ``[...]``.

    Source: Sutton & Barto 2018, (6.1) and (7.1); Hessel et al. 2018, "Multi-step learning".
    """
    chex.assert_equal_shape((reward, discount, next_value))
    return reward + discount * jnp.where(discount == 0, 0, next_value)


def max_value(q: jax.Array) -> jax.Array:
    """Greedy value, the bootstrap of Q-learning and DQN: ``max_a q_a``.

    With noise in ``q`` it is too high on average, since ``E[max q] >= max E[q]``.

    Args:
        q: ``[..., A]``; -inf where an action is illegal.

    Returns:
        ``[...]``.

    Source: Watkins 1989; Mnih et al. 2015, with the target network's ``q``.
    """
    return jnp.max(q, axis=-1)


def double_value(q: jax.Array, selector: jax.Array) -> jax.Array:
    """Double Q-learning and Double DQN value, greedy in other estimates: ``q_b`` with ``b = argmax_a selector_a``.

    Never above :func:`max_value`. Of two independent estimates it is not too high on average, and may be too low; an
    online and a target network are not independent, so in Double DQN the excess is smaller, not gone.

    Args:
        q: ``[..., A]``, estimates that value; the target network's in Double DQN.
        selector: ``[..., A]``, estimates that choose; the online network's in Double DQN. First of equals wins.

    Returns:
        ``[...]``.

    Source: van Hasselt 2010; van Hasselt et al. 2016, section "Double DQN".
    """
    chex.assert_equal_shape((q, selector))
    return select_action_value(q, jnp.argmax(selector, axis=-1))


def expected_value(q: jax.Array, policy: jax.Array) -> jax.Array:
    """Expected value under a policy, the bootstrap of Expected SARSA: ``sum_a pi_a q_a``, with ``0 * inf = 0``.

    Args:
        q: ``[..., A]``; anything where the policy never goes.
        policy: ``[..., A]`` probabilities.

    Returns:
        ``[...]``.

    Source: Sutton & Barto 2018, (6.9), expected SARSA.
    """
    chex.assert_equal_shape((q, policy))
    return jnp.sum(policy * jnp.where(policy > 0, q, 0), axis=-1)


def soft_value(q: jax.Array, temperature: Scalar) -> jax.Array:
    """Soft value of maximum-entropy reinforcement learning: a smooth maximum, ``logsumexp`` with a temperature.

    ``tau log sum_a exp(q_a / tau) = max_pi sum_a pi_a (q_a - tau log pi_a)``, reached by ``pi = softmax(q / tau)``

    Between ``max q`` and ``max q + tau log A``.

    Args:
        q: ``[..., A]``; -inf where an action is illegal.
        temperature: tau, in units of value, at least 0; at 0 it is :func:`max_value`.

    Returns:
        ``[...]``.

    Source: Haarnoja et al. 2017 (arXiv 1702.08165), (3).
    """
    highest = max_value(q)
    # Any positive number will do at tau = 0, since the logarithm below is then multiplied by 0.
    scale = jnp.where(jnp.asarray(temperature) > 0, temperature, 1)
    return highest + temperature * jax.nn.logsumexp((q - highest[..., None]) / scale, axis=-1)


def double_soft_value(q: jax.Array, selector: jax.Array, temperature: Scalar) -> jax.Array:
    """Soft value of the policy that other estimates make, as :func:`double_value` is of :func:`max_value`.

    ``sum_a pi_a (q_a - tau log pi_a)`` with ``pi = softmax(selector / tau)``

    Never above :func:`soft_value` of ``q``, and the same where both estimates are. Of two independent noisy estimates
    it is not too high on average.

    Args:
        q: ``[..., A]``, finite estimates that value.
        selector: ``[..., A]``, finite estimates that make the policy.
        temperature: tau, in units of value, at least 0; at 0 the policy is greedy, ties split.

    Returns:
        ``[...]``.

    Source: Haarnoja et al. 2017, (3), with two estimates as in van Hasselt 2010.
    """
    chex.assert_equal_shape((q, selector))
    scaled_log_policy = selector - soft_value(selector, temperature)[..., None]  # tau log pi
    below = selector - max_value(selector)[..., None]
    policy = jax.nn.softmax(below / jnp.maximum(temperature, jnp.finfo(q.dtype).tiny), axis=-1)
    return expected_value(q - scaled_log_policy, policy)


def munchausen_bonus(
    q: jax.Array, action: jax.Array, temperature: Scalar, alpha: Scalar, lowest: Scalar = -1.0
) -> jax.Array:
    """Munchausen bonus: the scaled log-probability of the action taken, added to the reward.

    ``alpha clip(tau log pi(a), lowest, 0)`` with ``pi = softmax(q / tau)``, so ``tau log pi(a) = q_a - soft_value(q)``

    The target's next value is then :func:`soft_value` at the same temperature. ``alpha = 0`` is soft Q-learning; at
    ``tau = 0`` the bonus is a share of the advantage ``q_a - max q``: advantage learning.

    Args:
        q: ``[..., A]``, the target network's values of the observation *acted upon*.
        action: ``[...]`` int.
        temperature: tau, in units of value, at least 0; 0.03 in the paper.
        alpha: share of the log-probability, in [0, 1]; 0.9 in the paper.
        lowest: bound on ``tau log pi``, below 0, which an action the policy never takes would make infinite.

    Returns:
        ``[...]``, at most 0.

    Source: Vieillard et al. 2020 (arXiv 2007.14430).
    """
    return alpha * jnp.clip(select_action_value(q, action) - soft_value(q, temperature), lowest, 0)


def conservative_penalty(q: jax.Array, action: jax.Array) -> jax.Array:
    """Conservative Q-learning (CQL) penalty: ``log sum_a exp(q_a) - q_b``, b the action in the data.

    At least 0, and ``-log softmax(q)_b``: its gradient ``softmax(q) - onehot(b)`` pushes high values down and those of
    the data up. With ``alpha`` times it beside half the squared error, where data of a policy beta have every
    action, Q-learning leads to ``Q = T Q - alpha (softmax(Q) / beta - 1)``.

    Args:
        q: ``[..., A]``; -inf where an action is illegal.
        action: b, the one in the data, ``[...]`` int.

    Returns:
        ``[...]``.

    Source: Kumar et al. 2020 (arXiv 2006.04779), (4).
    """
    return jax.nn.logsumexp(q, axis=-1) - select_action_value(q, action)


def rescale(value: jax.Array, epsilon: Scalar = 1e-3) -> jax.Array:
    """Value rescaling h(x) of R2D2 and MuZero: close to linear around 0, a square root far out.

    ``h(x) = sign(x) (sqrt(|x| + 1) - 1) + epsilon x``, written without cancellation as ``x / (sqrt(|x| + 1) + 1) +
    epsilon x``. A target in this scale is ``h(r + d h^-1(V'))``.

    Args:
        value: ``[...]``.
        epsilon: slope that is left far out, at least 0.

    Returns:
        ``[...]``.

    Source: Pohlen et al. 2018 (arXiv 1805.11593), proposition A.2.
    """
    return value * (1 / (jnp.sqrt(jnp.abs(value) + 1) + 1) + epsilon)


def rescale_inverse(scaled: jax.Array, epsilon: Scalar = 1e-3) -> jax.Array:
    """Inverse of the value rescaling h(x), :func:`rescale`.

    ``h^-1(y) = t (|t| + 2)``, where ``t = sign(x) (sqrt(|x| + 1) - 1)`` solves ``epsilon t (|t| + 2) + t = y``

    The root is taken in the form that subtracts nothing: the printed formula loses all digits of small values in
    float32, and divides by epsilon.

    Args:
        scaled: ``[...]``.
        epsilon: that of :func:`rescale`.

    Returns:
        ``[...]``.

    Source: Pohlen et al. 2018, proposition A.2.
    """
    slope = 1 + 2 * epsilon
    t = 2 * scaled / (slope + jnp.sqrt(slope**2 + 4 * epsilon * jnp.abs(scaled)))
    return t * (jnp.abs(t) + 2)
