"""CFR against OpenSpiel's iterates and plain recursion, its samples against all that could be drawn, its equilibria."""

import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purerl
from purerl.algorithms.games import cfr as module
from purerl.algorithms.games.cfr import DISCOUNTED, LINEAR, PLUS, VANILLA, CFRConfig, CFRHypers, cfr
from purerl.driver.hypers import sweep
from purerl.envs.games import Game
from purerl.games import sequence_form
from purerl.spaces import Box, Discrete
from tests.oracles import openspiel_values, poker
from tests.support import kuhn
from tests.support.cut_game import cut_game
from tests.support.pgx_games import named, tree

OPENSPIEL = json.loads(openspiel_values.PATH.read_text())
FAMILY = jax.tree.map(lambda *x: jnp.array(x), VANILLA, PLUS, LINEAR, DISCOUNTED)
NAMES = {True: ("CFR", "CFR+", "linear", "discounted"), False: ("simultaneous", "simultaneous plus")}


def begin(game):
    """The state before the first iteration."""
    sides = tree(game).sides
    zeros = [jnp.zeros(side.legal.shape) for side in sides], [jnp.zeros(side.num_sequences) for side in sides]
    return module.CFRState(regret=tuple(zeros[0]), plan_sum=tuple(zeros[1]), count=jnp.zeros(()))


@functools.cache
def runner(game, alternating):
    """``(hypers, state, number of iterations) -> (state, NashConv)`` of the whole family, compiled once."""
    config = CFRConfig(alternating=alternating)

    def run(hypers, state, number):
        def body(_, carry):
            return module.iterate(tree(game), config, hypers, carry, None)[0]

        state, _ = jax.lax.fori_loop(0, number, body, (state, module.play(tree(game), state.regret)))
        plans = [total / total[0] for total in state.plan_sum]
        return state, sequence_form.nash_conv(tree(game), plans)

    return jax.jit(jax.vmap(run, (0, 0, None)))


@pytest.mark.covers("nash", "self-play")
@pytest.mark.parametrize(
    ("game", "peer", "alternating"),
    [("kuhn_poker",) * 2 + (True,), ("kuhn_poker",) * 2 + (False,), ("leduc_holdem", "leduc_poker", True)],
    ids=["kuhn", "kuhn-simultaneous", "leduc"],
)
def test_iterates_are_those_of_openspiel(x64, game, peer, alternating):
    """NashConv of the average after 1, 10, 100, 1000 and 10,000 iterations, the four members of the family side by side
    in one program: to 9 digits up to 100, later to 5, for where regrets are equal the order of a sum decides."""
    run = runner(game, alternating)
    state = jax.tree.map(lambda x: jnp.stack([x] * 4), begin(game))
    done, compared = 0, 0
    for number in (1, 10, 30, 100, 1000, 10_000)[: 4 if game == "leduc_holdem" else 6]:
        state, distance = run(FAMILY, state, number - done)
        done = number
        for name, ours in zip(NAMES[alternating], distance, strict=False):
            if str(number) in OPENSPIEL[peer][name]:
                close = 1e-9 if number <= 100 else 1e-5
                np.testing.assert_allclose(ours, OPENSPIEL[peer][name][str(number)], rtol=close, err_msg=name)
                compared += 1
    assert compared == {"kuhn_poker": 18 if alternating else 8, "leduc_holdem": 12}[game]


@pytest.mark.covers("nash")
def test_policies_are_those_of_openspiel(x64):
    """Kuhn after 10 iterations: in every information set the average policy of each member of the family."""
    run = runner("kuhn_poker", True)
    state, _ = run(FAMILY, jax.tree.map(lambda x: jnp.stack([x] * 4), begin("kuhn_poker")), 10)
    for i, name in enumerate(NAMES[True]):
        tables = module.average_policies(tree("kuhn_poker"), jax.tree.map(lambda x, i=i: x[i], state))
        for player, table in enumerate(tables):
            for (card, history), bet in kuhn.as_dict(table, player).items():
                np.testing.assert_allclose(bet, OPENSPIEL["policies"][name][f"{card}{history}"], atol=1e-12)


@pytest.mark.covers("nash")
def test_it_finds_an_equilibrium_of_kuhns_family(x64):
    """10,000 iterations of CFR+: the second player's equilibrium is the only one, the first bets a king three times as
    often as a jack, and the value is -1/18."""
    state, distance = runner("kuhn_poker", True)(
        FAMILY, jax.tree.map(lambda x: jnp.stack([x] * 4), begin("kuhn_poker")), 10_000
    )
    assert distance.max() < 3e-4
    plus = jax.tree.map(lambda x: x[1], state)
    first, second = (kuhn.as_dict(t, i) for i, t in enumerate(module.average_policies(tree("kuhn_poker"), plus)))
    alpha = first[0, ""]
    assert 0 <= alpha <= 1 / 3
    expected = poker.equilibrium(alpha)
    for where, bet in expected[1].items():
        np.testing.assert_allclose(second[where], bet, atol=2e-3)
    for where in [(1, ""), (2, ""), (0, "pb"), (1, "pb"), (2, "pb")]:
        np.testing.assert_allclose(first[where], expected[0][where], atol=2e-3)
    np.testing.assert_allclose(poker.expected((first, second)), -1 / 18, atol=1e-4)


@pytest.mark.covers("nash")
@pytest.mark.parametrize("player", [0, 1])
def test_mean_of_all_samples_is_the_truth(x64, player):
    """Random policies in Kuhn: every deal, every pure policy of the other and, for outcome sampling, every one of one's
    own, weighted by the chance that they are drawn. The mean of what they give is what each sequence earns, and of the
    regrets what plain recursion has."""
    theirs = kuhn.random_policies(player)
    tables = [kuhn.as_table(policy, i) for i, policy in enumerate(theirs)]
    side, policy = tree("kuhn_poker").sides[player], tables[player]
    moves = jnp.array(list(itertools.product((0, 1), repeat=6)))  # [64, 6]

    def chance(table):
        return jnp.prod(jnp.take_along_axis(table[None], moves[..., None], axis=-1)[..., 0], axis=-1)

    over_moves = jax.vmap(lambda d, m: module.external_sample(tree("kuhn_poker"), player, d, m), (None, 0))
    samples = jax.jit(jax.vmap(over_moves, (0, None)))(jnp.arange(6), moves)  # [6, 64, L]
    external = jnp.einsum("dms,m->s", samples, chance(tables[1 - player])) / 6
    plan = sequence_form.realization_plan(tree("kuhn_poker").sides[1 - player], tables[1 - player])
    exact = sequence_form.end_values(side, plan)
    np.testing.assert_allclose(external, exact, atol=1e-14)

    behaviour = module.exploring(side, policy, 0.3)
    np.testing.assert_allclose(behaviour, 0.7 * policy + 0.15, rtol=1e-12)
    weights = jax.vmap(lambda m: module.importance(side, behaviour, m))(moves)  # [64, L]
    np.testing.assert_allclose(chance(behaviour) @ weights, 1, rtol=1e-12)
    # One line of play: of a deal and both players' moves a single end is met.
    lines = samples[:, :, None] * weights[None, None]
    assert np.all(np.count_nonzero(lines, axis=-1) <= 1)
    outcome = jnp.einsum("dmos,m,o->s", lines, chance(tables[1 - player]), chance(behaviour)) / 6
    np.testing.assert_allclose(outcome, exact, atol=1e-13)

    def regrets(value):
        q, _ = sequence_form.counterfactual_values(side, value, policy)
        return q - jnp.sum(policy * q, axis=-1, keepdims=True)

    every = jax.vmap(jax.vmap(regrets))(samples)  # [6, 64, I, A]
    mean = jnp.einsum("dmia,m->ia", every, chance(tables[1 - player])) / 6
    expected = poker.regrets(theirs, player)
    np.testing.assert_allclose(mean, [expected[where] for where in kuhn.places(player)], atol=1e-13)


@pytest.mark.parametrize("sampling", ["external", "outcome"])
def test_sampled_draws_are_as_likely_as_they_should_be(sampling):
    """The mean of 20,000 draws of an update's random numbers is the exact value of every sequence within five standard
    errors, for both players."""
    game, config = tree("kuhn_poker"), CFRConfig(num_iterations=20_000, sampling=sampling)
    tables = [kuhn.as_table(policy, i) for i, policy in enumerate(kuhn.random_policies(5))]
    plans = [sequence_form.realization_plan(side, table) for side, table in zip(game.sides, tables, strict=True)]
    uniform = module.draws(game, config, jax.random.key(0), jnp.float32)
    hypers, now = CFRHypers(), module.Play(tables, plans)

    @jax.jit
    @jax.vmap
    def sample(uniform):
        return [module.end_values(game, config, hypers, i, tables[i], now, uniform) for i in (0, 1)]

    for i, drawn in enumerate(sample(uniform)):
        exact = sequence_form.end_values(game.sides[i], plans[1 - i])
        error = drawn.std(0) / np.sqrt(len(drawn))
        assert np.all(np.abs(drawn.mean(0) - exact) <= 5 * error + 1e-7)
        assert error.max() > 1e-3


@pytest.mark.covers("nash", "self-play")
def test_a_sweep_over_the_family_and_over_seeds():
    """One program trains CFR+ and discounted CFR with external sampling, two seeds each, by the driver: they differ,
    and all come near an equilibrium."""
    algorithm = cfr(named("kuhn_poker"), CFRConfig(num_iterations=500, sampling="external"))
    result = purerl.train(
        algorithm,
        sweep.points(DISCOUNTED, [vars(PLUS), vars(DISCOUNTED)]),
        jax.random.key(1),
        num_env_steps=10_000,
        num_seeds=2,
        eval_every=0,
        progress=False,
    )
    distance = result.metrics["nash_conv"][-1].ravel()
    assert len(np.unique(distance)) == 4
    assert distance.max() < 0.1


def test_act_draws_from_the_average_policy():
    """8000 draws where the second player holds a queen and faces a bet: as often as the average policy has it, which
    the observation is enough to find."""
    algorithm = cfr(named("kuhn_poker"))
    state = jax.jit(algorithm.update)(VANILLA, algorithm.init(VANILLA, jax.random.key(0)), jax.random.key(1))[0]
    side = tree("kuhn_poker").sides[1]
    place = kuhn.places(1).index((1, "b"))
    bet = module.average_policies(tree("kuhn_poker"), state)[1][place, 0]
    seen = purerl.types.Seen(jnp.tile(side.obs[place], (8000, 1)))
    _, action = algorithm.act(VANILLA, state, (), seen, jax.random.key(2))
    assert abs(np.mean(action == 0) - bet) < 5 * np.sqrt(bet * (1 - bet) / 8000)
    assert 0.2 < bet < 0.5


def test_what_cannot_be_solved_is_refused():
    """An environment for one, a game too large, and one whose observations do not tell one's own moves."""
    with pytest.raises(ValueError, match="CartPole-v1 is not a game of two players, and CFR needs one"):
        cfr(purerl.envs.make("CartPole-v1"))
    with pytest.raises(ValueError, match="more than max_nodes = 20 nodes: 82 were reached"):
        cfr(named("tic_tac_toe"), CFRConfig(max_nodes=20))
    forgetful = cut_game(behind=0.0, forced=False)
    forgetful = forgetful._replace(legal=lambda moves: jnp.array([True, True]), step=_ends_at_three(forgetful.step))
    with pytest.raises(ValueError, match="cut: observations do not tell all that was seen and done"):
        cfr(forgetful)
    assert isinstance(forgetful, Game) and forgetful.action_space == Discrete(2)
    assert forgetful.observation_space == Box(0.0, 1.0, (5,))


def _ends_at_three(step):
    def ended(key, moves, action):
        obs, after, reward, terminated, truncated, info = step(key, moves, action)
        return obs, after, reward, terminated | (after >= 3), truncated, info

    return ended


def test_discount_at_its_limits():
    """Infinite exponents keep all or nothing from the first iteration on; 0 halves; 1 is t / (t + 1)."""
    regret = jnp.array([2.0, -3.0])
    for count in (1.0, 5.0):
        np.testing.assert_array_equal(module.discounted(regret, jnp.array(count), jnp.inf, jnp.inf), regret)
        np.testing.assert_array_equal(module.discounted(regret, jnp.array(count), jnp.inf, -jnp.inf), [2, 0])
        np.testing.assert_allclose(
            module.discounted(regret, jnp.array(count), 1.0, 0.0), [2 * count / (count + 1), -1.5], rtol=1e-6
        )
