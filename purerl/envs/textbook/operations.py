"""Two businesses as exact Markov decision processes.

Sources: Sutton and Barto 2018, "Reinforcement Learning: An Introduction", 2nd edition, by the number of the example.
"""

import math

import numpy as np

from purerl.mdp import MDP, make

MOST_MOVED = 5  # cars a night
RENT = 10.0  # for a car rented
MOVING = 2.0  # the cost of a car moved


def car_rental(
    capacity: int = 20,
    requests: tuple[float, float] = (3.0, 4.0),
    returns: tuple[float, float] = (3.0, 2.0),
    gamma: float = 0.9,
) -> MDP:
    """Jack's car rental: two locations, up to 5 cars moved between them overnight at 2 each, 10 for each car rented.

    A night's move comes first, then the day's requests, then its returns, which cannot be rented on the same day; all
    are Poisson and exact, not cut off. Cars beyond ``capacity`` leave the business. States: ``(capacity + 1) n1 + n2``
    for the cars at the two locations at the end of a day; action ``a`` moves ``a - 5`` cars from the first to the
    second, or as many as there are. The reward is its mean given state and action. Starts uniformly.
    Source: Example 4.2.

    Args:
        capacity: at least 1; the most cars at one location.
        requests: mean requests a day, by location.
        returns: mean returns a day, by location.
        gamma: [0, 1).
    """
    size = capacity + 1
    first, second = (cars.ravel()[:, None] for cars in np.indices((size, size)))
    moved = np.clip(np.arange(-MOST_MOVED, MOST_MOVED + 1), -second, first)  # [S, A]
    morning = [np.minimum(cars, capacity) for cars in (first - moved, second + moved)]
    days = [_day(capacity, *means) for means in zip(requests, returns, strict=True)]
    (first_evening, first_rented), (second_evening, second_rented) = days
    evening = first_evening[morning[0]][..., :, None] * second_evening[morning[1]][..., None, :]
    rented = first_rented[morning[0]] + second_rented[morning[1]]
    return make(evening.reshape(*moved.shape, size**2), RENT * rented - MOVING * np.abs(moved), gamma=gamma)


def access_control(
    servers: int = 10,
    payments: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0),
    freed: float = 0.06,
    gamma: float = 0.99,
) -> MDP:
    """Access-control queue before some servers: the customer at its head is accepted, and pays, or is rejected.

    Each busy server, also one taken just now, becomes free with probability ``freed`` a step. With no server free every
    customer is rejected. States: ``len(payments) free + customer``; actions reject, accept. Starts with all servers
    free. The book's criterion is the average reward, which ``(1 - gamma) V`` tends to for ``gamma -> 1``.
    Source: Example 10.2.

    Args:
        servers: at least 1.
        payments: what each kind of customer pays; each kind is as likely.
        freed: [0, 1].
        gamma: [0, 1).
    """
    kinds = len(payments)
    free, customer = (axis.ravel() for axis in np.indices((servers + 1, kinds)))
    accepted = (free > 0)[:, None] & np.array([False, True])  # [S, A]
    free_then = _released(servers, freed)[free[:, None] - accepted]  # [S, A, servers + 1]
    transition = np.repeat(free_then / kinds, kinds, axis=-1)
    reward = np.where(accepted, np.asarray(payments)[customer][:, None], 0.0)
    return make(transition, reward, gamma=gamma, start=(free == servers) / kinds)


def _day(capacity: int, requests: float, returns: float) -> tuple[np.ndarray, np.ndarray]:
    """One location's day, by the number of cars in the morning.

    Returns:
        ``[capacity + 1, capacity + 1]``, the distribution of cars in the evening, and ``[capacity + 1]``, the expected
        number of cars rented.
    """
    cars = np.arange(capacity + 1)
    wanted, returned = _poisson(requests, capacity), _poisson(returns, capacity)
    rented = np.stack([_at_most(wanted, n) for n in range(capacity + 1)])  # [cars in the morning, cars rented]
    brought = np.stack([_at_most(returned, capacity - n) for n in range(capacity + 1)])  # [cars left, cars returned]
    left = np.stack([rented[n, np.abs(n - cars)] * (cars <= n) for n in cars])
    added = np.stack([brought[n, np.abs(cars - n)] * (cars >= n) for n in cars])
    return left @ added, rented @ cars


def _poisson(mean: float, largest: int) -> np.ndarray:
    """``[largest + 1]`` chances of 0, 1, ..., ``largest``; what is missing from 1 lies beyond."""
    return np.array([math.exp(-mean) * mean**n / math.factorial(n) for n in range(largest + 1)])


def _at_most(chances: np.ndarray, most: int) -> np.ndarray:
    """The distribution of ``min(N, most)``, of the shape of ``chances``, for ``N`` of the distribution ``chances``."""
    cut = np.where(np.arange(chances.size) < most, chances, 0.0)
    cut[most] = 1 - cut.sum()
    return cut


def _released(servers: int, freed: float) -> np.ndarray:
    """``[servers + 1, servers + 1]``: of each number of free servers, the distribution of their number a step later."""
    free = np.arange(servers + 1)
    chances = np.zeros((servers + 1, servers + 1))
    for now in free:
        busy = servers - now
        for more in range(busy + 1):
            chances[now, now + more] = math.comb(busy, more) * freed**more * (1 - freed) ** (busy - more)
    return chances
