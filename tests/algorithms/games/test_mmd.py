"""Magnetic mirror descent: one step by plain recursion, where it settles, and that it goes round without its magnet."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.games import mmd as module
from purerl.algorithms.games.mmd import PURE, MMDHypers, MMDState
from purerl.games import sequence_form
from tests.oracles import poker
from tests.support import kuhn
from tests.support.pgx_games import tree


@functools.cache
def runner():
    """``(hypers, state) -> (state, NashConv [T])`` of 3000 iterations of many hypers, compiled once."""
    game = tree("kuhn_poker")

    def run(hypers, state):
        def body(state, _):
            state = module.iterate(game, hypers, state)
            plans = list(map(sequence_form.realization_plan, game.sides, state.policy))
            return state, sequence_form.nash_conv(game, plans)

        return jax.lax.scan(body, state, length=3000)

    return jax.jit(jax.vmap(run, in_axes=(0, None)))


def run(*hypers):
    first, second = map(sequence_form.uniform, tree("kuhn_poker").sides)
    return runner()(jax.tree.map(lambda *x: jnp.array(x), *hypers), MMDState((first, second), jnp.zeros(())))


@pytest.mark.covers("self-play", "nash")
def test_a_step_is_the_formula():
    """The fourth iteration from random policies, with counterfactual values of the oracle's recursion: regret plus what
    is earned here shifts all values of a place alike, and changes nothing."""
    policies = kuhn.random_policies(0)
    hypers = MMDHypers(temperature=0.8, temperature_decay=0.5, step_size=3.0, step_decay=0.25)
    before = MMDState(tuple(kuhn.as_table(policies[i], i) for i in (0, 1)), jnp.float32(3.0))
    after = module.iterate(tree("kuhn_poker"), hypers, before)
    tau, eta = 0.8 / 2, 3 / 4**0.25
    assert after.count == 4
    for player in (0, 1):
        regrets = poker.regrets(policies, player)
        for row, place in zip(after.policy[player], kuhn.places(player), strict=True):
            old = np.array([policies[player][place], 1 - policies[player][place]])
            expected = (old * 0.5 ** (eta * tau) * np.exp(eta * np.array(regrets[place]))) ** (1 / (1 + eta * tau))
            np.testing.assert_allclose(row, expected / expected.sum(), rtol=1e-5)


@pytest.mark.covers("self-play", "nash")
def test_with_a_magnet_the_last_policy_converges_and_without_it_goes_round():
    """Kuhn's poker, 3000 iterations: with a falling temperature NashConv is below .005; at constant ones it settles,
    the lower the closer, .02 at a temperature of .01; without any it is still above .3 now and then."""
    constant = MMDHypers(temperature_decay=0.0, step_size=1.0, step_decay=0.0)
    settings = MMDHypers(), constant.replace(temperature=0.1), constant.replace(temperature=0.01), PURE
    state, distance = run(*settings)
    assert distance[0, -1] < 0.005
    np.testing.assert_allclose(distance[1:3, -1], distance[1:3, -200], rtol=0.02)
    assert distance[2, -1] < 0.02 < 0.15 < distance[1, -1]
    assert distance[3, -1000:].max() > 0.3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


@pytest.mark.covers("nash")
def test_at_a_constant_temperature_it_settles_where_nobody_would_rather_move():
    """There each policy is the soft answer to the counterfactual values: ``pi ~ exp(q / temperature)``."""
    game = tree("kuhn_poker")
    settings = MMDHypers(temperature=0.1, temperature_decay=0.0, step_size=1.0, step_decay=0.0)
    state, _ = run(settings, settings, settings, settings)  # of the shape that is compiled
    policies = [table[0] for table in state.policy]
    plans = list(map(sequence_form.realization_plan, game.sides, policies))
    for player, side in enumerate(game.sides):
        q, _ = sequence_form.counterfactual_values(
            side, sequence_form.end_values(side, plans[1 - player]), policies[player]
        )
        np.testing.assert_allclose(policies[player], jax.nn.softmax(q / 0.1), atol=1e-4)
