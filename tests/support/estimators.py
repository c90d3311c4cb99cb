"""The library's kernels under an exact expectation: weighted sums over all trajectories or all (s, a)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from purerl.kernels.distributions import categorical
from purerl.kernels.returns import discounted_returns
from purerl.kernels.surrogates import policy_gradient, ppo_kl
from tests.oracles.mdp import Trajectories


def expected_gradient(theta: np.ndarray, paths: Trajectories, weight: np.ndarray) -> np.ndarray:
    """``E[sum_t score_t w_t]`` of a softmax table, ``weight [T, K] -> [S, A]``."""

    def expected_objective(theta: jax.Array) -> jax.Array:
        log_prob = categorical.log_prob(theta[paths.state[:-1]], jnp.asarray(paths.action))
        return jnp.sum(paths.probability * policy_gradient(log_prob, jnp.asarray(weight)))

    return np.asarray(jax.grad(expected_objective)(jnp.asarray(theta)))


def returns_to_go(paths: Trajectories, gamma: float) -> np.ndarray:
    """``G_t = sum_{k>=t} g^{k-t} r_k`` of episodes that terminate with their last step, ``[T, K]``."""
    no_value, truncated = jnp.zeros(paths.reward.shape), jnp.zeros(paths.reward.shape, bool)
    terminated = truncated.at[-1].set(True)
    return np.asarray(discounted_returns(jnp.asarray(paths.reward), no_value, terminated, truncated, gamma))


def discounts(gamma: float, num_steps: int) -> np.ndarray:
    """``g^t`` as a column, ``[T, 1]``."""
    return gamma ** np.arange(num_steps)[:, None]


def importance_weighted(log_ratio: jax.Array, advantage: jax.Array) -> jax.Array:
    """``ratio * A``: PPO-KL without its penalty."""
    return ppo_kl(log_ratio, advantage, jnp.zeros_like(log_ratio), 0.0)


def log_policy(theta: jax.Array) -> jax.Array:
    """``log pi[s, a]`` of every state and action, ``[S, A]``."""
    num_states, num_actions = theta.shape
    logits = jnp.broadcast_to(theta[:, None, :], (num_states, num_actions, num_actions))
    actions = jnp.broadcast_to(jnp.arange(num_actions), (num_states, num_actions))
    return categorical.log_prob(logits, actions)


def expected_surrogate(objective: Callable, old_theta: np.ndarray, weight: np.ndarray) -> Callable:
    """``theta -> sum_{s,a} w[s, a] objective(log pi/pi_old)[s, a]``, to be evaluated or differentiated."""

    def expectation(theta: jax.Array) -> jax.Array:
        return jnp.sum(weight * objective(log_policy(theta) - log_policy(jnp.asarray(old_theta))))

    return expectation
