"""How players learn games: what is kept, what converges, and what goes round."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.envs import matrix_games
from purerl.kernels import game_dynamics as dynamics
from purerl.kernels import normal_form as nf


@functools.partial(jax.jit, static_argnums=(2, 3))
def trajectory(payoffs, start, step, num_steps):
    """Everything that a step ``(payoffs, carry) -> (carry, seen)`` has shown, ``[T, ...]``."""
    return jax.lax.scan(lambda carry, _: step(payoffs, carry), start, length=num_steps)


def fictitious(payoffs, counts):
    counts = dynamics.fictitious_play(payoffs, counts)
    return counts, nf.nash_conv(payoffs, tuple(n / n.sum() for n in counts))


def matching(plus, payoffs, carry):
    regret, total = carry
    profile = tuple(dynamics.regret_matching(r) for r in regret)
    values = nf.action_values(payoffs, profile)
    regret = tuple(dynamics.add_regret(r, q, x, plus=plus) for r, q, x in zip(regret, values, profile, strict=True))
    total = tuple(t + x for t, x in zip(total, profile, strict=True))
    average = tuple(t / t.sum() for t in total)
    return (regret, total), (nf.nash_conv(payoffs, average), nf.nash_conv(payoffs, profile), [r.max() for r in regret])


def mirrored(temperature, step_size, payoffs, carry):
    profile, total = carry
    values = nf.action_values(payoffs, profile)
    profile = tuple(
        dynamics.mirror_step(x, q, jnp.full_like(x, 1 / len(x)), temperature, step_size)
        for x, q in zip(profile, values, strict=True)
    )
    total = tuple(t + x for t, x in zip(total, profile, strict=True))
    average = tuple(t / t.sum() for t in total)
    return (profile, total), (nf.nash_conv(payoffs, average), nf.nash_conv(payoffs, profile))


# Functions that jit is to know again.
MATCHING, PLUS = functools.partial(matching, False), functools.partial(matching, True)
HEDGE, MAGNET = functools.partial(mirrored, 0.0, 0.05), functools.partial(mirrored, 0.3, 0.2)


def evolving(payoffs, profile):
    profile = dynamics.replicator_step(payoffs, profile, 0.05)
    return profile, profile


@pytest.mark.covers("rps", "self-play", "nash")
def test_fictitious_play_finds_the_equilibrium_by_its_average(x64):
    """Rock, paper, scissors from rock and from paper: NashConv times the square root of the number of rounds stays
    between 1 and 2 from the hundredth on, and every action comes to a third."""
    game = matrix_games.rock_paper_scissors()
    for start in ((0, 0), (0, 1)):
        counts, distance = trajectory(game, tuple(jnp.eye(3)[a] for a in start), fictitious, 20_000)
        scaled = np.asarray(distance) * np.sqrt(np.arange(1, 20_001))
        assert scaled[100:].min() > 0.5 and scaled[100:].max() < 2
        for n in counts:
            np.testing.assert_allclose(n / n.sum(), 1 / 3, atol=0.01)


@pytest.mark.covers("nash", "rps")
@pytest.mark.parametrize("step", [MATCHING, PLUS], ids=["regret-matching", "plus"])
def test_regret_is_the_distance_of_the_average_from_equilibrium(x64, step):
    """Zero-sum games: NashConv of the average profile is at most the sum of both players' largest regrets divided by
    the number of rounds, after every round; without the plus they are equal wherever regrets are positive. What is
    played last is far from equilibrium where the average is near it."""
    game = nf.zero_sum(np.random.default_rng(3).normal(size=(4, 3)))
    zeros = (jnp.zeros(4), jnp.zeros(3))
    _, (average, _, regret) = trajectory(game, (zeros, zeros), step, 2000)
    bound = (np.asarray(regret[0]) + np.asarray(regret[1])) / np.arange(1, 2001)
    assert np.all(average <= bound + 1e-12)
    if step is MATCHING:
        np.testing.assert_allclose(average, bound, atol=1e-12)
    assert average[-1] < 0.05
    rps = matrix_games.rock_paper_scissors(0.25, 0.5, 0.05)
    start = (jnp.array([0.3, 0.1, 0.0]), jnp.array([0.0, 0.2, 0.1]))
    _, (average, last, _) = trajectory(rps, (start, (jnp.zeros(3), jnp.zeros(3))), step, 2000)
    assert average[-1] < 0.03 and last[-200:].max() > 5 * average[-1]


@pytest.mark.covers("rps", "self-play")
def test_hedge_converges_on_average_and_a_magnet_in_the_last_iterate(x64):
    """Rock, paper, scissors from (.6, .3, .1): multiplicative weights go outwards while their average comes to the
    equilibrium; with a magnet the last iterate converges linearly. In a biased game it stops at the logit equilibrium
    of its temperature, a fixed point of the logit response that is no Nash equilibrium."""
    game = matrix_games.rock_paper_scissors()
    start = (jnp.array([0.6, 0.3, 0.1]), jnp.array([0.2, 0.5, 0.3]))
    zeros = (jnp.zeros(3), jnp.zeros(3))
    (profile, _), (average, last) = trajectory(game, (start, zeros), HEDGE, 4000)
    assert average[-1] < 0.05 and last[-1] > last[0] > 0.5
    (profile, _), (_, last) = trajectory(game, (start, zeros), MAGNET, 400)
    assert last[-1] < 1e-9 and last[200] < 1e-4 * last[0]
    biased = matrix_games.rock_paper_scissors(1.0, 2.0, 0.5)
    (profile, _), (_, last) = trajectory(biased, (start, zeros), MAGNET, 4000)
    for x, answer in zip(profile, nf.logit_response(biased, profile, 0.3), strict=True):
        np.testing.assert_allclose(x, answer, atol=1e-9)
    assert last[-1] > 0.1


@pytest.mark.covers("rps")
def test_replicators_go_round_and_keep_their_product(x64):
    """Rock, paper, scissors, both populations alike: x1 x2 x3 is the same after 6000 steps of .05 up to the rounding of
    the method, the orbit never comes near the centre, and its average over time does; probabilities stay such."""
    game = matrix_games.rock_paper_scissors()
    start = jnp.array([0.5, 0.25, 0.25])
    _, (x, other) = trajectory(game, (start, start), evolving, 6000)
    np.testing.assert_array_equal(x, other)
    np.testing.assert_allclose(x.prod(axis=-1), start.prod(), rtol=1e-6)
    np.testing.assert_allclose(x.sum(axis=-1), 1, rtol=1e-12)
    assert np.abs(x - 1 / 3).max(axis=-1).min() > 0.1
    np.testing.assert_allclose(x.mean(axis=0), 1 / 3, atol=2e-3)


@pytest.mark.covers("pd", "nash")
def test_dominated_actions_die_out(x64):
    """Replicators of the prisoner's dilemma, from cooperation almost everywhere, all defect; the velocity by hand."""
    game = matrix_games.prisoners_dilemma()
    start = (jnp.array([0.99, 0.01]),) * 2
    velocity = dynamics.replicator(game, start)[0]
    value = np.array([-1 * 0.99 - 3 * 0.01, -2 * 0.01])
    np.testing.assert_allclose(velocity, start[0] * (value - start[0] @ value), rtol=1e-12)
    (last, _), _ = trajectory(game, start, evolving, 1000)
    assert last[1] > 1 - 1e-9


@pytest.mark.covers("nfg")
def test_regret_matching_by_hand():
    """In proportion to what is positive; uniform over the legal actions where nothing is; illegal ones never."""
    regret = jnp.array([[3.0, -1.0, 1.0], [-1.0, 0.0, -2.0], [5.0, 1.0, 1.0]])
    legal = jnp.array([[True, True, True], [True, True, False], [False, True, True]])
    np.testing.assert_allclose(
        dynamics.regret_matching(regret, legal), [[0.75, 0, 0.25], [0.5, 0.5, 0], [0, 0.5, 0.5]], rtol=1e-6
    )
    np.testing.assert_allclose(dynamics.regret_matching(regret[1]), 1 / 3, rtol=1e-6)
    value, policy = jnp.array([1.0, 0.0, 2.0]), jnp.array([0.5, 0.5, 0.0])
    np.testing.assert_allclose(dynamics.add_regret(regret[0], value, policy), [3.5, -1.5, 2.5])
    np.testing.assert_allclose(dynamics.add_regret(regret[0], value, policy, plus=True), [3.5, 0, 2.5])
