"""The textbook's problems: their exact answers, their tables beside gymnasium's, and their pictures.

Answers are computed here, in NumPy and float64, by linear solves, sweeps and policy iteration.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from gymnasium.envs import toy_text

from purerl import envs
from purerl.envs import textbook
from purerl.envs.textbook import maps
from purerl.mdp import MDP

pytestmark = pytest.mark.usefixtures("x64")


def uniform(mdp: MDP) -> np.ndarray:
    num_states, num_actions, _ = mdp.transition.shape
    return np.full((num_states, num_actions), 1 / num_actions)


def one_hot(actions: Sequence[int] | np.ndarray, mdp: MDP) -> np.ndarray:
    return np.eye(mdp.transition.shape[1])[np.asarray(actions)]


def arrays(mdp: MDP) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Transitions, expected rewards ``[S, A]``, ends, gamma."""
    transition, reward = np.asarray(mdp.transition), np.asarray(mdp.reward)
    return transition, (transition * reward).sum(-1), np.asarray(mdp.terminal), float(mdp.gamma)


def evaluate(mdp: MDP, policy: np.ndarray) -> np.ndarray:
    """``V = (I - g P_pi)^-1 r_pi`` over the states that are not terminal."""
    transition, reward, terminal, gamma = arrays(mdp)
    inner = np.flatnonzero(~terminal)
    moves = np.einsum("sa,saz->sz", policy, transition)[np.ix_(inner, inner)]
    values = np.zeros(len(terminal))
    values[inner] = np.linalg.solve(np.eye(inner.size) - gamma * moves, (policy * reward).sum(-1)[inner])
    return values


def action_values(mdp: MDP, values: np.ndarray) -> np.ndarray:
    transition, reward, _, gamma = arrays(mdp)
    return reward + gamma * transition @ values


def sweep(mdp: MDP, num_sweeps: int = 20_000, tolerance: float = 1e-13) -> np.ndarray:
    """Value iteration from 0, until it settles."""
    transition, reward, terminal, gamma = arrays(mdp)
    flat, values = transition.reshape(-1, len(terminal)), np.zeros(len(terminal))
    for _ in range(num_sweeps):
        q = reward + gamma * (flat @ values).reshape(reward.shape)
        before, values = values, np.where(terminal, 0.0, q.max(1))
        if np.abs(values - before).max() < tolerance:
            break
    return values


def iterate(mdp: MDP) -> tuple[np.ndarray, np.ndarray]:
    """Policy iteration for ``gamma < 1``: the optimal values and actions."""
    policy = np.zeros(mdp.transition.shape[0], int)
    while True:
        values = evaluate(mdp, one_hot(policy, mdp))
        q = action_values(mdp, values)
        better = q.max(1) > q[np.arange(policy.size), policy] + 1e-9
        if not better.any():
            return values, policy
        policy = np.where(better, q.argmax(1), policy)


def at_start(mdp: MDP, values: np.ndarray) -> float:
    return float(np.asarray(mdp.start) @ values)


def cost_to_go(mdp: MDP) -> MDP:
    """The same world with reward -1 a step and no discount, whose values count steps."""
    cost = np.where(np.asarray(mdp.terminal)[:, None, None], 0.0, -1.0)
    return mdp.replace(reward=np.broadcast_to(cost, mdp.reward.shape), gamma=1.0)


# --- gridworlds -------------------------------------------------------------------------------------------


def test_gridworld_4x4_has_the_published_values():
    """The random policy's values in the 4 x 4 grid, by a linear solve, are the integers of the book's Figure 4.1."""
    mdp = textbook.gridworld_4x4()
    known = [[0, -14, -20, -22], [-14, -18, -20, -20], [-20, -20, -18, -14], [-22, -20, -14, 0]]
    np.testing.assert_allclose(evaluate(mdp, uniform(mdp)).reshape(4, 4), known, atol=1e-9)


def test_gridworld_5x5_has_the_published_values():
    """In the 5 x 5 grid with jumps the random policy's values and the optimal ones are known to 6 decimals."""
    mdp = textbook.gridworld_5x5()
    random = [
        [3.308996, 8.789292, 4.427619, 5.322368, 1.492179],
        [1.521588, 2.992318, 2.250140, 1.907572, 0.547403],
        [0.050822, 0.738171, 0.673113, 0.358186, -0.403141],
        [-0.973592, -0.435495, -0.354882, -0.585605, -1.183075],
        [-1.857701, -1.345231, -1.229267, -1.422918, -1.975179],
    ]
    optimal = [
        [21.977485, 24.419428, 21.977485, 19.419428, 17.477485],
        [19.779737, 21.977485, 19.779737, 17.801763, 16.021587],
        [17.801763, 19.779737, 17.801763, 16.021587, 14.419428],
        [16.021587, 17.801763, 16.021587, 14.419428, 12.977485],
        [14.419428, 16.021587, 14.419428, 12.977485, 11.679737],
    ]
    np.testing.assert_allclose(evaluate(mdp, uniform(mdp)).reshape(5, 5), random, atol=6e-7)
    values, _ = iterate(mdp)
    np.testing.assert_allclose(values.reshape(5, 5), optimal, atol=6e-7)
    assert values[1] == pytest.approx(10 / (1 - 0.9**5), abs=1e-9)


@pytest.mark.parametrize(
    ("moves", "steps"), [(maps.FOUR_MOVES, 15), (maps.KINGS_MOVES, 7), (maps.KINGS_MOVES_AND_STAY, 7)]
)
def test_windy_gridworld_takes_the_known_number_of_steps(moves, steps):
    """Through the wind the shortest way takes 15 steps with four moves, 7 with a king's, by value iteration."""
    mdp = textbook.windy_gridworld(moves)
    assert at_start(mdp, sweep(mdp)) == -steps


def corridor(row: int) -> np.ndarray:
    """Cliff Walking's policy along one row: into that row, right along it, down at the last column."""
    rows, columns = np.divmod(np.arange(48), 12)
    up, right, down = 0, 1, 2
    return np.select([columns == 11, rows > row, rows < row], [down, up, down], right)


@pytest.mark.covers("cliff")
@pytest.mark.parametrize(("row", "plain", "explored"), [(2, -13, -51.81), (1, -15, -21.05), (0, -17, -22.27)])
def test_cliff_walking_corridors(row, plain, explored):
    """The returns of the three corridors along the cliff, greedy and with exploration 0.1, by linear solves."""
    mdp = textbook.cliff_walking()
    greedy = one_hot(corridor(row), mdp)
    assert at_start(mdp, evaluate(mdp, greedy)) == pytest.approx(plain, abs=1e-9)
    assert at_start(mdp, evaluate(mdp, 0.9 * greedy + 0.1 * uniform(mdp))) == pytest.approx(explored, abs=5e-3)


@pytest.mark.covers("cliff")
def test_cliff_walking_is_best_along_the_edge():
    """The optimal return of Cliff Walking is -13, and -1 a step from every cell that one can stand on."""
    mdp = textbook.cliff_walking()
    rows, columns = np.divmod(np.arange(48), 12)
    steps = np.where(columns == 11, 3 - rows, np.where(rows < 3, 14 - rows - columns, 13))
    np.testing.assert_allclose(sweep(mdp), np.where(maps.where(maps.CLIFF, "C"), 0, -steps), atol=1e-9)


@pytest.mark.parametrize(
    ("mdp", "steps"),
    [
        (textbook.maze, 14),
        (textbook.blocking_maze, 10),
        (lambda: textbook.blocking_maze(changed=True), 16),
        (textbook.shortcut_maze, 16),
        (lambda: textbook.shortcut_maze(changed=True), 10),
    ],
)
def test_mazes_have_the_known_shortest_paths(mdp, steps):
    """The value of a maze's start is ``gamma^(steps - 1)`` for its shortest path, by policy iteration."""
    mdp = mdp()
    assert at_start(mdp, iterate(mdp)[0]) == pytest.approx(0.95 ** (steps - 1), abs=1e-12)
    assert at_start(mdp, sweep(cost_to_go(mdp))) == -steps


def test_dyna_maze_takes_a_random_walker_869_steps():
    """The expected first episode in the Dyna maze, walked at random, is 868.73 steps, by a linear solve."""
    mdp = cost_to_go(textbook.maze())
    assert at_start(mdp, evaluate(mdp, uniform(mdp))) == pytest.approx(-868.73, abs=5e-3)


@pytest.mark.parametrize(("gamma", "value"), [(1.0, 14 / 17), (0.99, 0.5420259), (0.95, 0.1804716), (0.9, 0.0688909)])
def test_frozen_lake_has_the_known_values(gamma, value):
    """The value of the slippery 4 x 4 lake's start, by value iteration; at gamma = 1 the probability of success."""
    mdp = textbook.frozen_lake(gamma=gamma)
    assert at_start(mdp, sweep(mdp)) == pytest.approx(value, abs=1e-7)


def test_frozen_lake_with_a_limit_with_luck_and_without_ice():
    """100 steps are enough with chance 0.7441903; the large lake can surely be crossed; without ice 14 moves do it."""

    def value(num_sweeps: int = 20_000, **kwargs) -> float:
        mdp = textbook.frozen_lake(**kwargs)
        return at_start(mdp, sweep(mdp, num_sweeps))

    assert value(100, gamma=1.0) == pytest.approx(0.7441903, abs=5e-8)
    assert value(size=8, gamma=1.0) == pytest.approx(1.0, abs=1e-6)
    assert value(slippery=False) == pytest.approx(0.99**5, abs=1e-12)
    assert value(size=8, slippery=False) == pytest.approx(0.99**13, abs=1e-12)


def test_taxi_has_the_known_values():
    """Over Taxi's 300 starts the best return is 7.93 on average, 3 at least, 15 at most; discounted values too."""
    mdp = textbook.taxi(gamma=1.0)
    values, starts = sweep(mdp), np.asarray(mdp.start) > 0
    assert (len(values), starts.sum(), np.asarray(mdp.terminal).sum()) == (500, 300, 100)
    assert at_start(mdp, values) == pytest.approx(7.93, abs=1e-9)
    assert (values[starts].min(), values[starts].max()) == (3, 15)
    for gamma, known in ((0.99, 6.327464), (0.9, -1.263323)):
        discounted = mdp.replace(gamma=gamma)
        assert at_start(discounted, sweep(discounted)) == pytest.approx(known, abs=6e-7)


# --- beside gymnasium -------------------------------------------------------------------------------------


def gymnasium_tables(toy: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Transitions, expected rewards, and the chance that a pair ends the episode."""
    num_states, num_actions = len(toy.P), len(toy.P[0])
    transition, reward = np.zeros((num_states, num_actions, num_states)), np.zeros((num_states, num_actions))
    ends = np.zeros((num_states, num_actions))
    for s, a in itertools.product(range(num_states), range(num_actions)):
        for chance, after, gain, ended in toy.P[s][a]:
            transition[s, a, after] += chance
            reward[s, a] += chance * gain
            ends[s, a] += chance * ended
    return transition, reward, ends


@pytest.mark.covers("cliff")
@pytest.mark.parametrize(
    ("build", "build_toy"),
    [
        (textbook.cliff_walking, toy_text.CliffWalkingEnv),
        (textbook.taxi, toy_text.TaxiEnv),
        (textbook.frozen_lake, toy_text.FrozenLakeEnv),
        (lambda: textbook.frozen_lake(slippery=False), lambda: toy_text.FrozenLakeEnv(is_slippery=False)),
        (lambda: textbook.frozen_lake(8), lambda: toy_text.FrozenLakeEnv(map_name="8x8")),
    ],
    ids=["cliff", "taxi", "lake", "lake without ice", "large lake"],
)
def test_tables_are_those_of_gymnasium(build, build_toy):
    """Transitions, rewards, starts and ends equal gymnasium's in every state that an episode can be in."""
    mdp, toy = build(), build_toy()
    transition, reward, terminal, _ = arrays(mdp)
    known_transition, known_reward, known_ends = gymnasium_tables(toy)
    inner = ~terminal
    np.testing.assert_allclose(transition[inner], known_transition[inner], atol=1e-12)
    np.testing.assert_allclose(reward[inner], known_reward[inner], atol=1e-12)
    np.testing.assert_allclose(np.asarray(mdp.start), toy.initial_state_distrib, atol=1e-12)
    np.testing.assert_allclose((transition @ terminal)[inner], known_ends[inner], atol=1e-12)


# --- chains -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "left"), [(5, 0.0), (19, -1.0)])
def test_random_walk_has_linear_values(length, left):
    """The random walk's values lie on the line between its ends, 1/6 ... 5/6 and -0.9 ... 0.9, by a linear solve."""
    mdp = textbook.random_walk(length, left)
    line = np.linspace(left, 1.0, length + 2)
    np.testing.assert_allclose(evaluate(mdp, uniform(mdp))[1:-1], line[1:-1], atol=1e-12)
    assert at_start(mdp, line) == pytest.approx((left + 1) / 2)


def test_short_corridor_has_the_published_return():
    """Without telling states apart, right with chance p earns -2 (2-p) / (p (1-p)), at best -(6 + 4 sqrt 2)."""
    mdp = textbook.short_corridor()
    for p in (0.05, 0.5, 2 - 2**0.5, 0.95):
        earned = at_start(mdp, evaluate(mdp, np.tile([1 - p, p], (4, 1))))
        assert earned == pytest.approx(-2 * (2 - p) / (p * (1 - p)), abs=1e-9)
        assert earned <= -(6 + 4 * 2**0.5) + 1e-9
    assert at_start(mdp, sweep(mdp)) == -3  # who tells them apart walks straight


@pytest.mark.covers("mdp3")
@pytest.mark.parametrize(("high", "low"), [(1.0, -1.0), (1.0, -7 / 3), (2.0, -9.0)])
def test_three_states_have_their_closed_form(high, low):
    """``V = p q / (1 - g (1-p))``, its slope ``q (1-g) / (1 - g (1-p))^2`` and ``V* = max(0, q)``, by linear solves."""
    mdp, gamma, q = textbook.three_states(high, low), 0.9, 0.7 * high + 0.3 * low

    def value(p: float) -> float:
        return evaluate(mdp, np.tile([p, 1 - p], (3, 1)))[0]

    for p in (0.1, 0.5, 1.0):
        assert value(p) == pytest.approx(p * q / (1 - gamma * (1 - p)), abs=1e-12)
        slope = (value(p + 1e-5) - value(p - 1e-5)) / 2e-5
        assert slope == pytest.approx(q * (1 - gamma) / (1 - gamma * (1 - p)) ** 2, abs=1e-6)
    assert sweep(mdp)[0] == pytest.approx(max(0.0, q), abs=1e-12)


# --- games of chance --------------------------------------------------------------------------------------


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


# --- businesses -------------------------------------------------------------------------------------------


def rental_day(morning: int, requests: float, returns: float) -> tuple[np.ndarray, float]:
    """One location's evening and its expected rentals, by enumerating up to 39 requests and returns."""
    evening, rentals = np.zeros(21), 0.0
    counts = np.arange(40)
    asked, brought = scipy.stats.poisson.pmf(counts, requests), scipy.stats.poisson.pmf(counts, returns)
    for wanted, returned in itertools.product(counts, counts):
        chance, rented = asked[wanted] * brought[returned], min(wanted, morning)
        evening[min(morning - rented + returned, 20)] += chance
        rentals += chance * rented
    return evening, rentals


@pytest.mark.parametrize(
    ("first", "second", "action", "mornings", "moved"),
    [(12, 7, 8, (9, 10), 3), (2, 20, 10, (0, 20), 2), (18, 4, 0, (20, 0), 4), (0, 0, 5, (0, 0), 0)],
)
def test_car_rental_rows_by_enumeration(first, second, action, mornings, moved):
    """A row of Jack's car rental and its reward, moves cut to the cars there are, by enumerating a day's events."""
    mdp = textbook.car_rental()
    transition, reward, _, _ = arrays(mdp)
    one, rented_one = rental_day(mornings[0], requests=3, returns=3)
    two, rented_two = rental_day(mornings[1], requests=4, returns=2)
    state = 21 * first + second
    np.testing.assert_allclose(transition[state, action].reshape(21, 21), np.outer(one, two), atol=1e-12)
    assert reward[state, action] == pytest.approx(10 * (rented_one + rented_two) - 2 * moved, abs=1e-9)


def test_car_rental_has_a_policy_like_the_published_one():
    """The optimal moves of Jack's car rental, by policy iteration, run from 5 to -4 cars as in the book's Figure 4.2;
    more cars at a location never mean that fewer leave it; nothing is moved between equals."""
    mdp = textbook.car_rental()
    values, _ = iterate(mdp)
    q, moves = action_values(mdp, values), np.arange(-5, 6)
    fewest = np.where(q > q.max(1, keepdims=True) - 1e-6, np.abs(moves), 99).argmin(1)
    policy = moves[fewest].reshape(21, 21)  # by the cars at the first, then at the second
    assert (policy.max(), policy.min(), policy[20, 0], policy[0, 20]) == (5, -4, 5, -4)
    assert (np.diff(policy, axis=0) >= 0).all()
    assert (np.diff(policy, axis=1) <= 0).all()
    assert not policy.diagonal().any()
    assert (values.argmin(), values.argmax()) == (0, 440)


def test_access_control_rows_by_the_binomial():
    """Free servers after a customer is accepted: each busy one, the new one too, is freed with chance 0.06."""
    mdp = textbook.access_control()
    transition, reward, _, _ = arrays(mdp)
    for free, customer in ((10, 3), (4, 0), (1, 2)):
        after = np.zeros(11)
        after[free - 1 :] = scipy.stats.binom.pmf(np.arange(12 - free), 11 - free, 0.06)
        np.testing.assert_allclose(transition[4 * free + customer, 1], np.repeat(after / 4, 4), atol=1e-12)
        np.testing.assert_allclose(reward[4 * free + customer], [0, 2**customer], atol=1e-12)
    np.testing.assert_array_equal(transition[:4, 0], transition[:4, 1])  # with none free all are rejected
    assert not reward[:4].any()


def test_access_control_has_the_average_reward_of_its_linear_programme():
    """For gamma near 1 the optimal policy earns, on average, the value of the average-reward linear programme."""
    mdp = textbook.access_control(gamma=0.9999)
    transition, reward, _, _ = arrays(mdp)
    _, policy = iterate(mdp)
    chain = transition[np.arange(44), policy]
    flow = np.linalg.lstsq(np.vstack([chain.T - np.eye(44), np.ones(44)]), np.append(np.zeros(44), 1), rcond=None)[0]
    earned = flow @ reward[np.arange(44), policy]
    # min g  subject to  g + h(s) >= r(s, a) + sum_z P(s, a, z) h(z)
    rows = (transition - np.eye(44)[:, None]).reshape(-1, 44)
    bounds = np.column_stack([-np.ones(88), rows])
    best = scipy.optimize.linprog(np.eye(45)[0], A_ub=bounds, b_ub=-reward.ravel(), bounds=(None, None))
    assert earned == pytest.approx(best.fun, rel=1e-7)
    np.testing.assert_array_equal(policy.reshape(11, 4)[1:, 3], 1)  # the best customer is never turned away
    assert (np.diff(policy.reshape(11, 4)[1:], axis=0) >= 0).all()  # the more servers are free, the more are accepted


# --- all of them ------------------------------------------------------------------------------------------


def test_a_problem_is_an_environment_by_name():
    """envs.make() by name, with the problem's arguments: check_env has no complaint and steps follow the tables."""
    mdp, env = textbook.blackjack("pays 1.5"), envs.make("Blackjack", natural="pays 1.5")
    assert envs.check_env(env, num_steps=20).errors == ()
    assert (env.name, env.observation_space.n, env.action_space.n) == ("Blackjack", 214, 2)
    obs, state = env.reset(jax.random.key(0))
    assert mdp.start[obs] > 0
    after, _, reward, terminated, _, _ = env.step(jax.random.key(1), state, 0)
    assert mdp.transition[obs, 0, after] > 0
    assert reward == mdp.reward[obs, 0, after]
    assert terminated


def test_every_problem_is_registered():
    """Each problem is listed by envs.registered(), and a limit of steps given to make() truncates."""
    assert set(textbook.TEXTBOOK) <= set(envs.registered())
    env = envs.make("Gridworld5x5", max_steps=1)
    _, state = env.reset(jax.random.key(0))
    *_, terminated, truncated, _ = env.step(jax.random.key(1), state, 0)
    assert bool(truncated)
    assert not terminated


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: textbook.frozen_lake(5), "sizes 4 and 8"),
        (lambda: textbook.random_walk(4), "odd"),
        (lambda: textbook.maze(("S..", "..")), "one length"),
        (lambda: textbook.maze(("S..",)), "'G'"),
        (lambda: textbook.gambler(1.5), r"\[0, 1\]"),
        (lambda: textbook.gambler(goal=1), "at least 2"),
        (lambda: textbook.blackjack("none"), "beats 21"),
    ],
)
def test_bad_arguments_are_named(build, message):
    """An argument that makes no problem raises ValueError that says what is possible."""
    with pytest.raises(ValueError, match=message):
        build()
