"""Games of chance as exact Markov decision processes.

Sources: Sutton and Barto 2018, "Reinforcement Learning: An Introduction", 2nd edition, by the number of the example.
"""

import functools
from typing import Literal, NamedTuple, get_args

import numpy as np

from purerl.mdp import MDP, make

Natural = Literal["beats 21", "counts as 21", "pays 1.5"]


def gambler(heads: float = 0.4, goal: int = 100, gamma: float = 1.0) -> MDP:
    """Gambler's problem: stake part of one's capital on heads until it is ``goal``, reward 1, or nothing.

    ``V(s)`` is the probability of reaching the goal; for ``heads <= 1/2`` bold play, staking as much as is useful, is
    optimal, and far from alone in that. States: the capital 0 to ``goal``; action ``a`` stakes ``a + 1``, or if that is
    more than is useful, ``min(s, goal - s)``. A stake of nothing is left out: it never helps, and without it every
    policy ends. Starts uniformly on 1 to ``goal - 1``. Source: Example 4.3.

    Args:
        heads: [0, 1], probability of winning the stake.
        goal: at least 2.
        gamma: [0, 1].

    Raises:
        ValueError: if ``heads`` is no probability or ``goal < 2``.
    """
    if not 0 <= heads <= 1 or goal < 2:
        raise ValueError(f"gambler(heads={heads}, goal={goal}): heads must lie in [0, 1] and goal be at least 2.")
    capital = np.arange(goal + 1)
    stake = np.minimum(np.arange(goal // 2) + 1, np.minimum(capital, goal - capital)[:, None])  # [S, A]
    won, lost = (np.eye(goal + 1)[capital[:, None] + sign * stake] for sign in (1, -1))
    return make(
        heads * won + (1 - heads) * lost,
        (capital == goal).astype(float)[None, None, :],
        gamma=gamma,
        terminal=np.isin(capital, [0, goal]),
    )


class BlackjackStates(NamedTuple):
    """What the states of :func:`blackjack` are, for pictures and for looking one up; each ``[S]``."""

    player: np.ndarray  # 12 to 21, the player's sum; 0 in an end
    dealer: np.ndarray  # 1 to 10, the dealer's card, 1 an ace; 0 in an end
    usable_ace: np.ndarray  # bool
    natural: np.ndarray  # bool, an ace and a ten as the first two cards


def blackjack_states() -> BlackjackStates:
    """The states of :func:`blackjack`: 100 without a usable ace, 100 with one, 10 naturals, 4 ends.

    The first two hundreds are ordered by the player's sum, then by the dealer's card. The ends are, by their reward,
    lost, drawn, won, and won with a bonus.
    """
    ace, player, dealer = (
        axis.ravel() for axis in np.meshgrid([False, True], np.arange(12, 22), np.arange(1, 11), indexing="ij")
    )
    none, cards = np.zeros(4, int), np.arange(1, 11)
    return BlackjackStates(
        player=np.concatenate([player, np.full(10, 21), none]),
        dealer=np.concatenate([dealer, cards, none]),
        usable_ace=np.concatenate([ace, np.ones(10, bool), none > 0]),
        natural=np.concatenate([np.zeros(200, bool), np.ones(10, bool), none > 0]),
    )


def blackjack(natural: Natural = "beats 21", gamma: float = 1.0) -> MDP:
    """Blackjack against a dealer who draws to 17, cards drawn with replacement.

    Reward 1 for winning, -1 for losing, 0 for a draw, at the end. States: :func:`blackjack_states`, the ends of which
    keep the four outcomes apart, so that a sampled reward is the game's and not its mean. Actions stick, hit. Below 12
    the player has nothing to decide and hits: the start is the deal up to the first decision; for exploring starts
    replace it. Source: Example 5.1; the other rules are gymnasium's Blackjack-v1.

    Args:
        natural: what an ace and a ten as the first two cards are. "beats 21": they win against all but another natural
            (the book's rule; gymnasium's ``sab=True``). "counts as 21": nothing special (gymnasium's default).
            "pays 1.5": a winning natural has reward 1.5, though it only draws with any 21 (``natural=True``).
        gamma: [0, 1].

    Raises:
        ValueError: if there is no such rule.
    """
    if natural not in get_args(Natural):
        raise ValueError(f"blackjack(natural={natural!r}): the rules are {', '.join(map(repr, get_args(Natural)))}.")
    states = blackjack_states()
    outcome = np.eye(4)  # lost, drawn, won, won with a bonus
    transition = np.zeros((214, 2, 214))
    transition[210:, :, 210:] = outcome[:, None, :]
    for state in range(210):
        player, dealer = int(states.player[state]), int(states.dealer[state])
        hand = _Hand(player, bool(states.usable_ace[state]))
        transition[state, 0, 210:] = _showdown(player, dealer, bool(states.natural[state]), natural)
        for card, chance in _DECK.items():
            drawn = _draw(hand, card)
            transition[state, 1, 210 if drawn.total > 21 else _index(drawn, dealer)] += chance
    return make(
        transition,
        np.concatenate([np.zeros(210), [-1.0, 0.0, 1.0, 1.5]])[None, None, :],
        gamma=gamma,
        terminal=np.arange(214) >= 210,
        start=_deal(),
    )


class _Hand(NamedTuple):
    total: int
    usable_ace: bool  # an ace that counts as 11


_DECK = {card: 4 / 13 if card == 10 else 1 / 13 for card in range(1, 11)}
_NO_CARDS = _Hand(0, False)


def _index(hand: _Hand, dealer: int) -> int:
    return 100 * hand.usable_ace + 10 * (hand.total - 12) + dealer - 1


def _draw(hand: _Hand, card: int) -> _Hand:
    """One more card. An ace counts as 11 where it can, and turns into 1 where the hand would be bust."""
    as_eleven = card == 1 and hand.total + 11 <= 21
    total, usable_ace = hand.total + (11 if as_eleven else card), hand.usable_ace or as_eleven
    return _Hand(total - 10, False) if total > 21 and usable_ace else _Hand(total, usable_ace)


@functools.cache
def _hit_below(limit: int, hand: _Hand) -> np.ndarray:
    """``[2, 23]`` chances of (usable ace, total) once the hand is at least ``limit``, the last column being bust."""
    if hand.total >= limit:
        chances = np.zeros((2, 23))
        chances[int(hand.usable_ace), min(hand.total, 22)] = 1.0
        return chances
    after = [chance * _hit_below(limit, _draw(hand, card)) for card, chance in _DECK.items()]
    return np.sum(after, axis=0)


def _showdown(player: int, dealer: int, player_natural: bool, rule: Natural) -> np.ndarray:
    """``[4]`` chances of lost, drawn, won, won with a bonus, when the player sticks."""
    totals = _hit_below(17, _draw(_NO_CARDS, dealer)).sum(axis=0)
    lost, drawn = totals[player + 1 : 22].sum(), totals[player]
    if player_natural and rule == "beats 21":
        lost, drawn = 0.0, {1: _DECK[10], 10: _DECK[1]}.get(dealer, 0.0)
    won = 1 - lost - drawn
    return np.array([lost, drawn, 0.0, won] if player_natural and rule == "pays 1.5" else [lost, drawn, won, 0.0])


def _deal() -> np.ndarray:
    """``[214]`` chances of the states in which the player decides for the first time."""
    hands = _hit_below(12, _NO_CARDS)[:, 12:22].copy()
    natural = 2 * _DECK[1] * _DECK[10]
    hands[1, -1] -= natural
    return np.concatenate([np.outer([*hands.ravel(), natural], list(_DECK.values())).ravel(), np.zeros(4)])
