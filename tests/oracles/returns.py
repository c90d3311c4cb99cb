"""Returns, advantages and targets by their forward definitions: float64 sums over an episode, step by step.

Arrays are ``[T, B]``; every function loops over steps and lanes, and none uses a recursion over time.
"""

import numpy as np


def steps_to_end(terminated, truncated):
    """Number of steps, this one included, until the episode or the rollout ends, ``[T, B]``."""
    T, B = terminated.shape
    ends = terminated | truncated
    ends[-1] = True
    return np.array([[1 + np.argmax(ends[t:, b]) for b in range(B)] for t in range(T)])


def n_step_return(reward, next_value, terminated, truncated, gamma, n, t, b):
    """Sum of at most n rewards of this episode, then the discounted value of where it stopped."""
    m = min(n, steps_to_end(terminated, truncated)[t, b])
    rewards = sum(gamma**k * reward[t + k, b] for k in range(m))
    last = t + m - 1
    return rewards + (0.0 if terminated[last, b] else gamma**m * next_value[last, b])


def n_step_returns(reward, next_value, terminated, truncated, gamma, n):
    return each(reward, lambda t, b: n_step_return(reward, next_value, terminated, truncated, gamma, n, t, b))


def lambda_returns(reward, next_value, terminated, truncated, gamma, lambda_):
    """Mixture of n-step returns: weight (1 - lambda) lambda^(n-1), and all that is left on the longest."""
    lambda_ = np.broadcast_to(lambda_, reward.shape)
    length = steps_to_end(terminated, truncated)

    def mixture(t, b):
        total, left = 0.0, 1.0
        for n in range(1, length[t, b] + 1):
            share = left if n == length[t, b] else left * (1 - lambda_[t + n - 1, b])
            total += share * n_step_return(reward, next_value, terminated, truncated, gamma, n, t, b)
            left -= share
        return total

    return each(reward, mixture)


def td_errors(reward, value, next_value, terminated, gamma):
    return reward + gamma * np.where(terminated, 0.0, next_value) - value


def weighted_errors(errors, weight, terminated, truncated, gamma):
    """``sum_s gamma^(s-t) weight(t, s, b) errors[s]`` over the rest of the episode."""
    length = steps_to_end(terminated, truncated)
    return each(
        errors,
        lambda t, b: sum(gamma ** (s - t) * weight(t, s, b) * errors[s, b] for s in range(t, t + length[t, b])),
    )


def gae(reward, value, next_value, terminated, truncated, gamma, lambda_):
    lambda_ = np.broadcast_to(lambda_, reward.shape)
    errors = td_errors(reward, value, next_value, terminated, gamma)
    return weighted_errors(errors, lambda t, s, b: np.prod(lambda_[t:s, b]), terminated, truncated, gamma)


def vtrace(reward, value, next_value, ratio, terminated, truncated, gamma, lambda_, clip_rho, clip_c, clip_pg_rho):
    """Targets by the sum of the paper's (1); advantages from the mixed target of the next state."""
    lambda_ = np.broadcast_to(lambda_, reward.shape)
    coefficient = lambda_ * np.minimum(ratio, clip_c)
    errors = np.minimum(ratio, clip_rho) * td_errors(reward, value, next_value, terminated, gamma)
    target = value + weighted_errors(errors, lambda t, s, b: np.prod(coefficient[t:s, b]), terminated, truncated, gamma)
    length = steps_to_end(terminated, truncated)

    def bootstrap(t, b):
        if terminated[t, b]:
            return 0.0
        if length[t, b] == 1:
            return next_value[t, b]
        return lambda_[t, b] * target[t + 1, b] + (1 - lambda_[t, b]) * next_value[t, b]

    advantage = np.minimum(ratio, clip_pg_rho) * (reward + gamma * each(reward, bootstrap) - value)
    return target, advantage


def retrace(reward, q_taken, next_value, ratio, terminated, truncated, gamma, lambda_):
    coefficient = np.broadcast_to(lambda_, reward.shape) * np.minimum(ratio, 1.0)
    errors = td_errors(reward, q_taken, next_value, terminated, gamma)
    return q_taken + weighted_errors(
        errors, lambda t, s, b: np.prod(coefficient[t + 1 : s + 1, b]), terminated, truncated, gamma
    )


def each(like, function):
    """``function(t, b)`` for every step and lane."""
    return np.array([[function(t, b) for b in range(like.shape[1])] for t in range(like.shape[0])])
