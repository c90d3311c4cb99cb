"""Monte Carlo tree search in one tree of nodes that point at each other, by recursion, in float64.

A model here is ``(state, action) -> (reward, discount, state)`` with ``logits(state)`` and ``value(state)``; a score is
``(node, depth) -> [A]``, and the first of its highest is taken.
"""

import dataclasses
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass
class Model:
    step: Callable
    logits: Callable
    value: Callable


@dataclasses.dataclass
class Node:
    state: int
    logits: np.ndarray
    raw_value: float
    over: bool = False  # the episode ended here
    born: int = -1  # in which simulation
    returns: list = dataclasses.field(default_factory=list)  # of each action, all that its simulations returned
    children: dict = dataclasses.field(default_factory=dict)

    @property
    def visits(self):
        return np.asarray([len(r) for r in self.returns], float)

    @property
    def q(self):
        return np.asarray([np.mean(r) if r else 0.0 for r in self.returns])

    @property
    def value(self):
        """The mean of all that was returned here, the model's own estimate being the first."""
        return np.mean([self.raw_value, *[g for r in self.returns for g in r]])

    @property
    def prior(self):
        weights = np.exp(self.logits - np.max(self.logits))
        return weights / weights.sum()


def new_node(model, state, over=False, born=-1):
    logits = np.asarray(model.logits(state), float)
    return Node(state, logits, float(model.value(state)), over, born, [[] for _ in logits])


def search(model, node, num_simulations, score, root_score=None, max_depth=np.inf, evaluate=None):
    """Let a tree grow by simulations; ``evaluate(state)`` is the value of a new state, the model's unless given."""
    evaluate = evaluate or model.value

    def simulate(node, depth, number):
        action = int(np.argmax((root_score if root_score and depth == 0 else score)(node, depth)))
        reward, discount, state = model.step(node.state, action)
        child = node.children.get(action)
        if child is None or child.over or depth + 1 >= max_depth:
            node.children.setdefault(action, new_node(model, state, discount == 0, number))
            value = evaluate(state)
        else:
            value = simulate(child, depth + 1, number)
        returned = reward + discount * value
        node.returns[action].append(returned)
        return returned

    for number in range(num_simulations):
        simulate(node, 0, number)
    return node


# --- scores -----------------------------------------------------------------------------------------------


def only_allowed(node, score):
    return np.where(node.logits > -np.inf, score, -np.inf)


def uct(node, depth=0, exploration=2**0.5):
    n = node.visits
    with np.errstate(divide="ignore", invalid="ignore"):
        bound = node.q + exploration * np.sqrt(np.log(max(n.sum(), 1)) / n)
    return only_allowed(node, np.where(n == 0, np.inf, bound))


def by_siblings(node):
    """MuZero's rescaled values, the extremes being the node's own."""
    taken = node.visits > 0
    known = [node.value, *node.q[taken]]
    return np.where(taken, (node.q - min(known)) / max(max(known) - min(known), 1e-8), 0.0)


def puct(node, depth=0, value=by_siblings, c_init=1.25, c_base=19652):
    n = 1 + node.visits.sum()
    c = c_init + np.log((n + c_base + 1) / c_base)
    return only_allowed(node, value(node) + c * node.prior * np.sqrt(n) / (1 + node.visits))


def mixed_value(node):
    taken = node.visits > 0
    if not taken.any():
        return node.raw_value
    average = np.average(node.q[taken], weights=np.maximum(node.prior[taken], 1e-300))
    return (node.raw_value + node.visits.sum() * average) / (1 + node.visits.sum())


def completed(node, value_scale=0.1, visit_offset=50):
    """sigma(completed Q) of Gumbel MuZero."""
    q = np.where(node.visits > 0, node.q, mixed_value(node))
    q = (q - q.min()) / max(np.ptp(q), 1e-8)
    return (visit_offset + node.visits.max()) * value_scale * q


def improved_policy(node):
    logits = node.logits + completed(node)
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def improved(node, depth=0):
    return only_allowed(node, improved_policy(node) - node.visits / (1 + node.visits.sum()))


def halving(gumbel, num_considered, num_simulations):
    """Sequential halving, turn by turn: in each, the best of those who had the last turn go one after another.

    Returns a score for the root of one tree, to be asked once a simulation.
    """
    num_rounds = max(1, int(np.ceil(np.log2(num_considered))))

    def turns(node):
        had_a_turn, num_left = list(np.flatnonzero(node.logits > -np.inf)), num_considered
        while True:
            for _ in range(max(1, num_simulations // (num_rounds * num_left))):
                waiting, had_a_turn = had_a_turn, []
                for _ in range(num_left):
                    ahead = gumbel + node.logits + completed(node)
                    waiting.remove(best := max(waiting, key=ahead.__getitem__))
                    had_a_turn.append(best)
                    yield best
            num_left = max(min(2, num_considered), num_left // 2)

    order = []

    def score(node, depth):
        if not order:
            order.append(turns(node))
        return np.arange(len(node.logits)) == next(order[0])

    return score


def by_chance(node, depth):
    return node.prior / (1 + node.visits)


def highest_averages(shares, num_seats):
    """The method of Jefferson and d'Hondt: each seat goes to the highest share per seat, the new one included."""
    seats = np.zeros(len(shares))
    for _ in range(num_seats):
        seats[np.argmax(np.asarray(shares) / (1 + seats))] += 1
    return seats
