"""Games of chance of the textbook: their exact answers."""

import numpy as np
import pytest

from purerl.envs import textbook
from tests.support.solutions import action_values, at_start, evaluate, one_hot, sweep

pytestmark = pytest.mark.usefixtures("x64")


def test_gambler_has_the_published_values_and_policies():
    """At 0.4 the values at 25, 50, 75 are 0.16, 0.4, 0.64; bold play is optimal; the smallest optimal stakes are the
    book's peaks."""
    mdp = textbook.gambler()
    values, capital = sweep(mdp), np.arange(101)
    np.testing.assert_allclose(values[[25, 50, 75]], [0.16, 0.4, 0.64], atol=1e-9)
    bold = np.maximum(np.minimum(capital, 100 - capital), 1) - 1
    np.testing.assert_allclose(evaluate(mdp, one_hot(bold, mdp)), values, atol=1e-9)
    q = action_values(mdp, values)
    smallest = 1 + (q > q.max(1, keepdims=True) - 1e-9).argmax(1)
    ramp = np.minimum(np.arange(25), np.arange(25, 0, -1))  # 0, 1, ..., 12, 12, ..., 1
    book = np.concatenate([[[25, 50, 25][i // 25 - 1] if i % 25 == 0 else ramp[i % 25]] for i in range(1, 100)])
    np.testing.assert_array_equal(smallest[1:100], book)


@pytest.mark.parametrize("heads", [0.5, 0.55])
def test_gambler_with_good_odds_is_timid(heads):
    """For fair and for good odds staking 1 earns what the ruin formula says, and no stake is better."""
    mdp = textbook.gambler(heads)
    ratio, capital = (1 - heads) / heads, np.arange(101)
    ruin = capital / 100 if heads == 0.5 else (1 - ratio**capital) / (1 - ratio**100)
    ruin = np.where(capital == 100, 0.0, ruin)  # nothing more is earned at the goal
    np.testing.assert_allclose(evaluate(mdp, one_hot(np.zeros(101, int), mdp)), ruin, atol=1e-9)
    np.testing.assert_allclose(action_values(mdp, ruin).max(1), ruin, atol=1e-9)


@pytest.mark.parametrize(("natural", "value"), [("counts as 21", -0.0465560), ("beats 21", -0.0431131)])
def test_blackjack_has_the_known_optimal_value(natural, value):
    """The optimal value of a deal, under both rules for naturals, by value iteration."""
    mdp = textbook.blackjack(natural)
    assert at_start(mdp, sweep(mdp)) == pytest.approx(value, abs=6e-8)


def test_blackjack_sticking_on_20_has_the_known_value():
    """The policy of the book's Example 5.1, sticking on 20 and 21, earns -0.3535540, by a linear solve."""
    mdp = textbook.blackjack("counts as 21")
    hits = (textbook.blackjack_states().player < 20).astype(int)
    assert at_start(mdp, evaluate(mdp, one_hot(hits, mdp))) == pytest.approx(-0.3535540, abs=6e-8)


def test_blackjack_is_played_by_basic_strategy():
    """The optimal policy: hard 12 against 4-6, 13-16 against 2-6, 17 always; soft 18 unless against 9, 10, an ace."""
    mdp, states = textbook.blackjack(), textbook.blackjack_states()
    q = action_values(mdp, sweep(mdp))
    player, dealer, ace = (np.asarray(field)[:200] for field in states[:3])
    against_weak = (dealer >= 2) & (dealer <= 6)
    hard = (player >= 17) | ((player >= 13) & against_weak) | ((player == 12) & against_weak & (dealer >= 4))
    soft = (player >= 19) | ((player == 18) & (dealer >= 2) & (dealer <= 8))
    np.testing.assert_array_equal(q[:200].argmax(1) == 0, np.where(ace, soft, hard))


def hands_of_dealer() -> dict[tuple[int, bool], float]:
    """Chance of each final (total or 22 for bust, natural), by enumerating every sequence of cards."""
    chances: dict[tuple[int, bool], float] = {}
    pending = [((card,), 4 / 13 if card == 10 else 1 / 13) for card in range(1, 11)]
    while pending:
        cards, chance = pending.pop()
        total = sum(cards) + (10 if 1 in cards and sum(cards) <= 11 else 0)
        if total >= 17:
            outcome = (min(total, 22), sorted(cards) == [1, 10])
            chances[outcome] = chances.get(outcome, 0.0) + chance
        else:
            pending += [((*cards, card), chance * (4 / 13 if card == 10 else 1 / 13)) for card in range(1, 11)]
    return chances


def test_blackjack_rules_differ_by_what_naturals_win():
    """What the rules for naturals add to the value is the chance of the hands they change, by enumeration of cards."""
    dealt, values = 8 / 169, {}
    for natural in ("counts as 21", "beats 21", "pays 1.5"):
        mdp = textbook.blackjack(natural)
        values[natural] = at_start(mdp, sweep(mdp))
    dealer = hands_of_dealer()
    slow_21, not_21 = dealer[21, False], 1 - dealer[21, False] - dealer[21, True]
    assert values["beats 21"] - values["counts as 21"] == pytest.approx(dealt * slow_21, abs=1e-12)
    assert values["pays 1.5"] - values["counts as 21"] == pytest.approx(dealt * not_21 / 2, abs=1e-12)


def test_blackjack_deals_what_cards_give():
    """The first decisions' chances add up to 1, those of naturals to 8/169, and the dealer's cards are as in a deck."""
    start, states = np.asarray(textbook.blackjack().start), textbook.blackjack_states()
    assert start.sum() == pytest.approx(1.0, abs=1e-12)
    assert start[states.natural].sum() == pytest.approx(8 / 169, abs=1e-12)
    shown = [start[states.dealer == card].sum() for card in range(1, 11)]
    np.testing.assert_allclose(shown, [1 / 13] * 9 + [4 / 13], atol=1e-12)
