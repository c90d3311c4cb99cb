"""Replay as a list of steps that forgets the oldest, and n-step returns as loops over it."""

import collections

import numpy as np


class StepDeque:
    """The last steps of several environments; step t, whatever it holds, is kept in row t modulo ``num_rows``."""

    def __init__(self, num_rows):
        self.num_rows, self.num_steps = num_rows, 0
        self.steps = collections.deque(maxlen=num_rows)

    def add(self, rollout):
        """Append each of the T steps ``[B, ...]`` of a rollout."""
        for step in rollout:
            self.steps.append((self.num_steps, step))
            self.num_steps += 1

    def starts(self, length, period):
        """Times at which a sequence starts that is kept to its last step."""
        times = [time for time, _ in self.steps]
        return [t for t in times if t % period == 0 and t + length - 1 in times]


def n_step(steps, start, env, n, gamma):
    """Discounted sum of at most n rewards of one episode, the discount of what follows, and the last step's time.

    Steps are dicts of ``reward, terminated, truncated``, each ``[B]``, by time.
    """
    total, discount = 0.0, 1.0
    for time in range(start, start + n):
        step = steps[time]
        total += discount * step["reward"][env]
        discount *= gamma
        if step["terminated"][env]:
            return total, 0.0, time
        if step["truncated"][env] or time + 1 not in steps:
            return total, discount, time
    return total, discount, time


def prioritized(mass, alpha, beta):
    """Probabilities and importance weights of all items, by the definition; nan where never drawn."""
    power = np.where(mass > 0, np.power(np.maximum(mass, 1e-300), alpha), 0)
    probability = power / power.sum()
    with np.errstate(divide="ignore"):
        weight = np.power(len(mass) * probability, -beta)
    return probability, weight
