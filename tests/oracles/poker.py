"""Kuhn's poker by plain recursion over its rules: expected payoffs, regrets, and best responses by trying everything.

A policy is a dict from ``(card, history)`` to the probability of a bet, histories being words of b and p. Calling is to
bet after a bet, folding to pass.
"""

import itertools

CARDS = list(itertools.permutations(range(3), 2))
HISTORIES = (("", "pb"), ("b", "p"))  # at which each player is to move


def payoff(cards, history):
    """What the first player gets at the end of a game; None if it is not over."""
    higher = 1 if cards[0] > cards[1] else -1
    return {"bb": 2 * higher, "pp": higher, "bp": 1, "pbb": 2 * higher, "pbp": -1}.get(history)


def value(cards, history, policies):
    """Expected payoff of the first player from a history on."""
    end = payoff(cards, history)
    if end is not None:
        return end
    player = len(history) % 2
    bet = policies[player][cards[player], history]
    return bet * value(cards, history + "b", policies) + (1 - bet) * value(cards, history + "p", policies)


def expected(policies):
    """Expected payoff of the first player."""
    return sum(value(cards, "", policies) for cards in CARDS) / len(CARDS)


def reach(cards, history, policies, player):
    """Probability that a player's own moves lead to a history."""
    chance = 1.0
    for number, move in enumerate(history):
        if number % 2 == player:
            bet = policies[player][cards[player], history[:number]]
            chance *= bet if move == "b" else 1 - bet
    return chance


def regrets(policies, player):
    """Counterfactual regrets of (bet, pass) in each of a player's information sets."""
    sign = 1 if player == 0 else -1
    found = {}
    for card, history in itertools.product(range(3), HISTORIES[player]):
        total = [0.0, 0.0]
        for cards in CARDS:
            if cards[player] == card:
                weight = sign * reach(cards, history, policies, 1 - player) / len(CARDS)
                here = value(cards, history, policies)
                for i, move in enumerate("bp"):
                    total[i] += weight * (value(cards, history + move, policies) - here)
        found[card, history] = total
    return found


def pure_policies(player):
    """All 64 policies of a player that never mix."""
    places = list(itertools.product(range(3), HISTORIES[player]))
    for bets in itertools.product((0.0, 1.0), repeat=len(places)):
        yield dict(zip(places, bets, strict=True))


def nash_conv(policies):
    """What both would gain by the best of all pure policies."""
    best = max(expected((policy, policies[1])) for policy in pure_policies(0))
    worst = min(expected((policies[0], policy)) for policy in pure_policies(1))
    return best - worst


def equilibrium(alpha):
    """Kuhn's family of equilibria: the first player bets a jack with alpha in [0, 1/3], a king with 3 alpha."""
    first = {
        (0, ""): alpha,
        (1, ""): 0.0,
        (2, ""): 3 * alpha,
        (0, "pb"): 0.0,
        (1, "pb"): alpha + 1 / 3,
        (2, "pb"): 1.0,
    }
    second = {(0, "b"): 0.0, (1, "b"): 1 / 3, (2, "b"): 1.0, (0, "p"): 1 / 3, (1, "p"): 0.0, (2, "p"): 1.0}
    return first, second
