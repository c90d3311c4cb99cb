"""Sequence form against plain recursion over Kuhn's rules, and equilibria that are known to many digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.games import sequence_form as sf
from tests.oracles import poker
from tests.support import kuhn
from tests.support.pgx_games import tree


def plans_of(name, policies):
    return [sf.realization_plan(side, policy) for side, policy in zip(tree(name).sides, policies, strict=True)]


@jax.jit
def of_kuhn(policies):
    """Everything about a pair of policies."""
    sides, plans = tree("kuhn_poker").sides, plans_of("kuhn_poker", policies)
    values = [sf.end_values(side, plan) for side, plan in zip(sides, plans[::-1], strict=True)]
    return {
        "plans": plans,
        "behaviour": [sf.behaviour(side, plan) for side, plan in zip(sides, plans, strict=True)],
        "values": [sf.counterfactual_values(s, v, p) for s, v, p in zip(sides, values, policies, strict=True)],
        "best": [sf.best_response(side, value) for side, value in zip(sides, values, strict=True)],
        "expected": sf.expected_payoff(tree("kuhn_poker"), plans),
        "nash_conv": sf.nash_conv(tree("kuhn_poker"), plans),
    }


@pytest.mark.covers("nash", "markov-game")
def test_kuhn_is_its_rules(x64):
    """Random policies: expected payoff, counterfactual regrets and NashConv as recursion over the rules has them, the
    last by trying all 64 pure policies of each player; best responses earn what they say, plans are products, and
    behaviour is the way back."""
    for seed in range(3):
        theirs = kuhn.random_policies(seed)
        tables = [kuhn.as_table(policy, player) for player, policy in enumerate(theirs)]
        ours = of_kuhn(tables)
        np.testing.assert_allclose(ours["expected"], poker.expected(theirs), rtol=1e-12)
        np.testing.assert_allclose(ours["nash_conv"], poker.nash_conv(theirs), rtol=1e-12)
        for player, (table, (q, earned)) in enumerate(zip(tables, ours["values"], strict=True)):
            np.testing.assert_allclose(earned, poker.expected(theirs) * (1, -1)[player], rtol=1e-12)
            regret = q - (table * q).sum(-1, keepdims=True)
            expected = poker.regrets(theirs, player)
            np.testing.assert_allclose(regret, [expected[where] for where in kuhn.places(player)], atol=1e-14)
            np.testing.assert_allclose(ours["behaviour"][player], table, rtol=1e-12)
            for (card, history), reached in zip(
                kuhn.places(player), ours["plans"][player][1:].reshape(6, 2).sum(-1), strict=True
            ):
                cards = (card, 0) if player == 0 else (0, card)
                np.testing.assert_allclose(reached, poker.reach(cards, history, theirs, player), rtol=1e-12)
            answer, earned = ours["best"][player]
            pair = [kuhn.as_dict(answer, player) if i == player else theirs[i] for i in (0, 1)]
            np.testing.assert_allclose(earned, poker.expected(pair) * (1, -1)[player], rtol=1e-12)


@pytest.mark.covers("nash")
def test_kuhns_family_of_equilibria(x64):
    """For alpha from 0 to 1/3: value -1/18 and NashConv 0; beyond, and with another reply to a bet, it is not 0."""
    for alpha in (0.0, 0.1, 1 / 3):
        ours = of_kuhn([kuhn.as_table(policy, i) for i, policy in enumerate(poker.equilibrium(alpha))])
        np.testing.assert_allclose(ours["expected"], -1 / 18, rtol=1e-12)
        np.testing.assert_allclose(ours["nash_conv"], 0, atol=1e-14)
    first, second = poker.equilibrium(0.2)
    first[1, "pb"] += 0.1
    assert of_kuhn([kuhn.as_table(first, 0), kuhn.as_table(second, 1)])["nash_conv"] > 0.01


@pytest.mark.covers("nash")
@pytest.mark.parametrize(
    ("name", "value", "uniform"),
    [("kuhn_poker", -1 / 18, 11 / 12), ("leduc_holdem", -0.085606424078, 4.747222222222222)],
)
def test_values_of_poker_by_linear_programme(x64, name, value, uniform):
    """The value of the game to ten digits, and a profile with NashConv 0; NashConv of uniform play, and 2 of folding
    wherever one can, as OpenSpiel has them; the payoff matrix says the same as the lists of ends."""
    game = tree(name)
    found = sf.equilibrium(game)
    np.testing.assert_allclose(found.value, value, rtol=1e-10)
    # The last action is to pass or fold, where it is legal, the first to check.
    timid = [jnp.eye(side.legal.shape[1])[np.where(side.legal[:, -1], -1, 0)] for side in game.sides]
    profiles = [found.plans, plans_of(name, map(sf.uniform, game.sides)), plans_of(name, timid)]
    both = [jnp.stack(plans) for plans in zip(*profiles, strict=True)]
    distances = jax.jit(jax.vmap(lambda *plans: sf.nash_conv(game, plans)))(*both)
    np.testing.assert_allclose(distances, [0, uniform, 2], atol=1e-9)
    x, y = profiles[1]
    matrix = sf.payoff_matrix(game)
    np.testing.assert_allclose(x @ matrix @ y, sf.expected_payoff(game, (x, y)), rtol=1e-12)
    np.testing.assert_allclose(x @ matrix, -sf.end_values(game.sides[1], x), atol=1e-14)


def test_what_is_not_reached_is_played_evenly():
    """The behaviour of a plan that never gets somewhere is uniform there, and deals can be weighed apart."""
    side = tree("kuhn_poker").sides[0]
    plan = sf.realization_plan(side, jnp.asarray([[1.0, 0.0]] * 6))
    behaviour = sf.behaviour(side, plan)
    np.testing.assert_array_equal(behaviour[:3], [[1, 0]] * 3)
    np.testing.assert_array_equal(behaviour[3:], [[0.5, 0.5]] * 3)
    y = sf.realization_plan(tree("kuhn_poker").sides[1], sf.uniform(tree("kuhn_poker").sides[1]))
    parts = jax.vmap(lambda weight: sf.end_values(side, y, weight))(jnp.eye(6))
    np.testing.assert_allclose(parts.sum(0), sf.end_values(side, y), atol=1e-7)
