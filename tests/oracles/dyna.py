"""Dyna as the textbook writes it, in NumPy float64 and plain loops, for worlds without chance.

A world is two tables ``[S, A]``, ``after`` and ``reward``, the flags ``terminal [S]`` and the state ``start``. All that
is random is handed in: ``action_uniforms [T]`` choose actions, ``plan_uniforms [T, n]`` choose pairs.
"""

import itertools

import numpy as np


def epsilon_greedy(q: np.ndarray, epsilon: float, uniform: float) -> int:
    """The action whose share of [0, 1) holds the uniform number, the best ones sharing 1 - epsilon."""
    best = q == q.max()
    shares = np.cumsum((1 - epsilon) * best / best.sum() + epsilon / len(q))
    return int(np.sum(shares <= uniform * shares[-1]))


def q_learning(after, reward, terminal, start, action_uniforms, step_size, gamma, epsilon) -> np.ndarray:
    """``Q(s, a) += alpha (r + gamma max Q(s', .) - Q(s, a))`` along one life of many episodes, ``[S, A]``."""
    q, state = np.zeros(after.shape), start
    for uniform in action_uniforms:
        action = epsilon_greedy(q[state], epsilon, uniform)
        arrived = after[state, action]
        target = reward[state, action] + gamma * (0.0 if terminal[arrived] else q[arrived].max())
        q[state, action] += step_size * (target - q[state, action])
        state = start if terminal[arrived] else arrived
    return q


def dyna_q(
    after,
    reward,
    terminal,
    start,
    action_uniforms,
    plan_uniforms,
    step_size,
    gamma,
    epsilon,
    kappa=0.0,
    plan_untried=False,
) -> np.ndarray:
    """Dyna-Q, and with kappa and untried actions Dyna-Q+; ``[S, A]``."""
    q, state = np.zeros(after.shape), start
    model: dict[tuple[int, int], tuple[float, int]] = {}
    tried_at: dict[tuple[int, int], int] = {}

    def worth(arrived: int) -> float:
        return 0.0 if terminal[arrived] else q[arrived].max()

    for t, uniform in enumerate(action_uniforms, start=1):
        action = epsilon_greedy(q[state], epsilon, uniform)
        r, arrived = reward[state, action], int(after[state, action])
        q[state, action] += step_size * (r + gamma * worth(arrived) - q[state, action])
        if plan_untried and (state, 0) not in model:
            for untried in range(after.shape[1]):
                model[state, untried], tried_at[state, untried] = (0.0, state), 0
        model[state, action], tried_at[state, action] = (r, arrived), t
        for u in plan_uniforms[t - 1]:
            s, a = list(model)[int(u * len(model))]
            r, then = model[s, a]
            bonus = kappa * np.sqrt(t - tried_at[s, a])
            q[s, a] += step_size * (r + bonus + gamma * worth(then) - q[s, a])
        state = start if terminal[arrived] else arrived
    return q


def prioritized(after, reward, terminal, start, action_uniforms, num_planning_steps, step_size, gamma, epsilon, theta):
    """Prioritised sweeping that looks at every known pair for the one that is most wrong; ``Q [S, A]`` and the number
    of backups after each real step."""
    q, state, backups = np.zeros(after.shape), start, [0]
    model: dict[tuple[int, int], tuple[float, int]] = {}

    def error(pair: tuple[int, int]) -> float:
        r, then = model[pair]
        return r + gamma * (0.0 if terminal[then] else q[then].max()) - q[pair]

    for uniform in action_uniforms:
        action = epsilon_greedy(q[state], epsilon, uniform)
        arrived = int(after[state, action])
        model[state, action] = (reward[state, action], arrived)
        backups.append(backups[-1])
        for _ in range(num_planning_steps):
            worst = max(sorted(model), key=lambda pair: abs(error(pair)))
            if abs(error(worst)) <= theta:
                break
            q[worst] += step_size * error(worst)
            backups[-1] += 1
        state = start if terminal[arrived] else arrived
    return q, np.array(backups[1:])


def trajectory_law(transition: np.ndarray, start: np.ndarray, horizon: int) -> np.ndarray:
    """Probability of every ``(s_0, ..., s_H)``, ``[S^(H + 1)]``, by enumeration."""
    paths = np.array(list(itertools.product(range(len(start)), repeat=horizon + 1)))
    return start[paths[:, 0]] * transition[paths[:, :-1], paths[:, 1:]].prod(-1)
