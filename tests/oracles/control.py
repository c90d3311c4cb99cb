"""Learning control as the textbook's loops: one step, one pair, one table entry at a time, in float64.

A history is a list of steps in the order in which they were taken, with the fields of the learners' ``Step``. A
``policy`` maps a row of values ``[A]`` to probabilities ``[A]``. Learners return the table ``[S, A]`` after each step.
"""

import numpy as np


def epsilon_greedy(row, epsilon):
    """Uniform by a share epsilon; the rest to the best, shared by ties."""
    best = row == row.max()
    return (1 - epsilon) * best / best.sum() + epsilon / len(row)


def boltzmann(row, temperature):
    weight = np.exp((row - row.max()) / temperature)
    return weight / weight.sum()


def upper_confidence(row, count, bonus):
    """Untried actions first, else the highest bound."""
    if (count == 0).any():
        return (count == 0) / (count == 0).sum()
    index = row + bonus * np.sqrt(np.log(count.sum()) / count)
    return (index == index.max()) / (index == index.max()).sum()


def episodes(steps):
    """The history cut where episodes end; the last may still go on."""
    whole, part = [], []
    for step in steps:
        part.append(step)
        if step.terminated or step.truncated:
            whole.append(part)
            part = []
    return whole + [part] if part else whole


def bootstrap(q, step, policy, kind):
    """Value of where a step led to: of the action taken there, or of the policy's mean."""
    if step.terminated:
        return 0.0
    if kind == "taken" and not step.truncated:
        return q[step.next_obs, step.next_action]
    return policy(q[step.next_obs]) @ q[step.next_obs]


def one_step(q, steps, policy, gamma, kind):
    """SARSA where ``kind`` is "taken"; Expected SARSA, and of a greedy policy Q-learning, where it is "mean"."""
    tables, q = [], q.copy()
    for step in steps:
        target = step.reward + gamma * bootstrap(q, step, policy, kind)
        q[step.obs, step.action] += step.step_size * (target - q[step.obs, step.action])
        tables.append(q.copy())
    return tables


def two_tables(q, steps, policy, gamma):
    """Double learning; returns both tables, ``[2, S, A]``."""
    tables, q = [], np.stack([q, q])
    for step in steps:
        mine, other = (0, 1) if step.uniform < 0.5 else (1, 0)
        target = step.reward
        if not step.terminated:
            target += gamma * policy(q[mine, step.next_obs]) @ q[other, step.next_obs]
        q[mine, step.obs, step.action] += step.step_size * (target - q[mine, step.obs, step.action])
        tables.append(q.copy())
    return tables


def q_sigma_return(q, steps, policy, gamma, sigma):
    """The return as the first value plus a sum of errors, not as a recursion."""
    total, weight = q[steps[0].obs, steps[0].action], 1.0
    for k, step in enumerate(steps):
        if k > 0:
            weight *= gamma * (sigma + (1 - sigma) * policy(q[step.obs])[step.action])
        sampled, mean = (bootstrap(q, step, policy, kind) for kind in ("taken", "mean"))
        target = step.reward + gamma * (sigma * sampled + (1 - sigma) * mean)
        total += weight * (target - q[step.obs, step.action])
    return total


def ratio(q, steps, policy):
    """Target over behaviour of all actions after the first, the one after the last step included."""
    product = 1.0
    for step in steps:
        if not (step.terminated or step.truncated):
            product *= policy(q[step.next_obs])[step.next_action] / step.next_probability
    return product


def n_step(q, steps, policy, gamma, n, sigma, off_policy=False):
    """At time t the pair of time t - n + 1; at the episode's end all the rest, with targets from one table."""
    tables, q = [], q.copy()
    for episode in episodes(steps):
        for t, last in enumerate(episode):
            ended = last.terminated or last.truncated
            first = t - n + 1
            due = range(max(first, 0), t + 1) if ended else range(first, first + 1) if first >= 0 else ()
            updates = []
            for tau in due:
                window = episode[tau : t + 1]
                size = window[0].step_size * (ratio(q, window, policy) if off_policy else 1.0)
                updates.append((window[0], size, q_sigma_return(q, window, policy, gamma, sigma)))
            for step, size, target in updates:
                q[step.obs, step.action] += size * (target - q[step.obs, step.action])
            tables.append(q.copy())
    return tables


def traces(q, steps, policy, gamma, lambda_, trace, kind):
    """Backward view, entry by entry; where ``kind`` is "mean", cut where the policy would not have gone on so."""
    tables, q, z = [], q.copy(), np.zeros_like(q)
    for step in steps:
        error = step.reward + gamma * bootstrap(q, step, policy, kind) - q[step.obs, step.action]
        keeps = kind == "taken" or policy(q[step.next_obs])[step.next_action] > 0
        here = (step.obs, step.action)
        z[here] = {"accumulating": z[here] + step.step_size, "replacing": step.step_size}[trace]
        for pair in np.ndindex(*q.shape):
            q[pair] += error * z[pair]
            z[pair] *= gamma * lambda_ * keeps * (not (step.terminated or step.truncated))
        tables.append(q.copy())
    return tables


def online_lambda_return(q, steps, policy, gamma, lambda_):
    """At every time h the episode is learned anew from its beginning, with all that is known at h."""
    tables = []
    for episode in episodes(steps):
        start, diagonal = q, [q]  # the table before each step
        for h in range(1, len(episode) + 1):
            now = start.copy()
            for k in range(h):
                target, rewards = 0.0, 0.0
                for n in range(1, h - k + 1):
                    last = episode[k + n - 1]
                    rewards += gamma ** (n - 1) * last.reward
                    n_step_return = rewards + gamma**n * bootstrap(diagonal[k + n - 1], last, policy, "taken")
                    share = 1.0 if n == h - k else 1 - lambda_
                    target += share * lambda_ ** (n - 1) * n_step_return
                here = (episode[k].obs, episode[k].action)
                now[here] += episode[k].step_size * (target - now[here])
            diagonal.append(now)
            tables.append(now)
        q = diagonal[-1]
    return tables


def monte_carlo(q, steps, policy, gamma, step_size, step_decay, first_visit=True, off_policy=False):
    """Backwards through each episode that is over."""
    tables, q, total = [], q.copy(), np.zeros_like(q)
    for episode in episodes(steps):
        tables += [q.copy() for _ in episode]
        last = episode[-1]
        if not (last.terminated or last.truncated):
            break
        earned, weight = bootstrap(q, last, policy, "mean"), 1.0
        weighted, weights = np.zeros_like(q), np.zeros_like(q)
        for t in reversed(range(len(episode))):
            step = episode[t]
            earned = step.reward + gamma * earned
            pair = (step.obs, step.action)
            if not first_visit or pair not in [(s.obs, s.action) for s in episode[:t]]:
                weighted[pair] += weight * earned
                weights[pair] += weight
            if off_policy:
                weight *= policy(q[step.obs])[step.action] / step.probability
        total += weights
        for pair in np.argwhere(weights > 0):
            pair = tuple(pair)
            share = min(1.0, step_size * weights[pair] / total[pair] ** step_decay)
            q[pair] += share * (weighted[pair] / weights[pair] - q[pair])
        tables[-1] = q.copy()
    return tables
