"""Prediction as the textbook writes it: float64 loops over one episode at a time.

An episode is ``(state [T + 1], reward [T], terminated)``. Every function returns the values after it.
"""

import numpy as np


def worth(value, episode, t):
    """Value of the t-th state; 0 at the end of an episode that terminated."""
    state, reward, terminated = episode
    return 0.0 if terminated and t == len(reward) else value[state[t]]


def n_step_return(episode, gamma, t, n, values):
    """``r_t + ... + gamma^(n-1) r_{t+n-1} + gamma^n V(S_{t+n})``, ``values`` giving V by the step it is needed at."""
    end = min(t + n, len(episode[1]))
    earned = sum(gamma ** (k - t) * episode[1][k] for k in range(t, end))
    return earned + gamma ** (end - t) * worth(values(end), episode, end)


def earned(episode, gamma, value):
    """Every step's return to the end."""
    return [n_step_return(episode, gamma, t, len(episode[1]), lambda _: value) for t in range(len(episode[1]))]


def returns_of_visits(episodes, gamma, value, first_visit):
    """A list of returns for each state, over all episodes."""
    lists: list[list[float]] = [[] for _ in value]
    for episode in episodes:
        for t, g in enumerate(earned(episode, gamma, value)):
            if not (first_visit and episode[0][t] in episode[0][:t]):
                lists[episode[0][t]].append(g)
    return lists


def n_step_td(value, episode, gamma, n, step_size):
    """The state n steps back is updated as soon as its return is known, the last n after the end."""
    value, (state, reward, _) = value.copy(), episode
    for now in range(len(reward) + n - 1):
        t = now - n + 1
        if 0 <= t < len(reward):
            target = n_step_return(episode, gamma, t, n, lambda _: value)
            value[state[t]] += step_size * (target - value[state[t]])
    return value


def lambda_target(episode, gamma, lambda_, t, horizon, values):
    """``(1 - lambda) sum_n lambda^(n-1) G^(n)``, all that is left on the return that ends at the horizon."""
    longest = horizon - t
    weights = [(1 - lambda_) * lambda_ ** (n - 1) for n in range(1, longest)] + [lambda_ ** (longest - 1)]
    return sum(w * n_step_return(episode, gamma, t, n + 1, values) for n, w in enumerate(weights))


def lambda_return(value, episode, gamma, lambda_, step_size):
    """After the episode, one state after the other, targets made of the values before it."""
    before, value, steps = value, value.copy(), len(episode[1])
    for t in range(steps):
        target = lambda_target(episode, gamma, lambda_, t, steps, lambda _: before)
        value[episode[0][t]] += step_size * (target - value[episode[0][t]])
    return value


def online_lambda_return(value, episode, gamma, lambda_, step_size):
    """At every step begin anew and make all updates so far with targets that end here.

    What is bootstrapped from at step k are the values that step k - 1 ended with.
    """
    after = [value]
    for horizon in range(1, len(episode[1]) + 1):
        again = value.copy()
        for t in range(horizon):
            target = lambda_target(episode, gamma, lambda_, t, horizon, lambda k: after[k - 1])
            again[episode[0][t]] += step_size * (target - again[episode[0][t]])
        after.append(again)
    return after[-1]


def td_lambda(value, episode, gamma, lambda_, step_size, replacing):
    """The backward view, traces in plain units."""
    value, trace = value.copy(), np.zeros_like(value)
    for t, reward in enumerate(episode[1]):
        trace *= gamma * lambda_
        trace[episode[0][t]] = 1.0 if replacing else trace[episode[0][t]] + 1.0
        error = reward + gamma * worth(value, episode, t + 1) - value[episode[0][t]]
        value = value + step_size * error * trace
    return value


def off_policy_means(episodes, ratios, gamma, num_states, max_steps):
    """Every-visit estimates from episodes that terminated: ordinary, per-decision, weighted, and weighted per decision.

    Plain sums over all visits, each reward with the product of the ratios up to it. States never visited are NaN.
    """
    visits: list[list] = [[] for _ in range(num_states)]
    for (state, reward, _), ratio in zip(episodes, ratios, strict=True):
        for t in range(len(reward)):
            weights = np.cumprod(np.append(ratio[t:], np.ones(max_steps)))[:max_steps]
            visits[state[t]].append((weights, np.append(reward[t:], np.zeros(max_steps))[:max_steps]))
    discounts = gamma ** np.arange(max_steps)
    estimates: dict[str, list] = {"ordinary": [], "per-decision": [], "weighted": [], "weighted per decision": []}
    for of_state in visits:
        w, r = (np.array([visit[i] for visit in of_state]).reshape(-1, max_steps) for i in (0, 1))
        with np.errstate(invalid="ignore"):
            estimates["ordinary"].append((w[:, -1] * (r @ discounts)).sum() / np.float64(len(w)))
            estimates["per-decision"].append(((w * r) @ discounts).sum() / np.float64(len(w)))
            estimates["weighted"].append((w[:, -1] * (r @ discounts)).sum() / w[:, -1].sum())
            estimates["weighted per decision"].append(((w * r).sum(0) / w.sum(0)) @ discounts)
    return {name: np.array(values) for name, values in estimates.items()}


def certainty_equivalence(episodes, gamma, num_states):
    """Values of the process that the episodes are likeliest in: frequencies of steps, means of rewards. NaN: not seen.

    Every episode must have terminated.
    """
    steps, rewards = np.zeros((num_states, num_states)), np.zeros(num_states)
    visits = np.zeros(num_states)
    for state, reward, _ in episodes:
        for t, r in enumerate(reward):
            visits[state[t]] += 1
            rewards[state[t]] += r
            if t + 1 < len(reward):
                steps[state[t], state[t + 1]] += 1
    seen = np.maximum(visits, 1)
    value = np.linalg.solve(np.eye(num_states) - gamma * steps / seen[:, None], rewards / seen)
    return np.where(visits > 0, value, np.nan)
