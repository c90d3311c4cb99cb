"""Normal-form games against loops over all outcomes, and the two games that every book begins with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.envs import matrix_games
from purerl.kernels import normal_form as nf
from tests.oracles import games as oracle


def random_game(seed, sizes):
    """Payoffs and a profile."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(sizes), *sizes)), tuple(rng.dirichlet(np.ones(size)) for size in sizes)


def pure(payoffs, *actions):
    return tuple(jnp.eye(size)[a] for size, a in zip(payoffs.shape[1:], actions, strict=True))


@pytest.mark.covers("nfg", "markov-game")
def test_values_and_nash_conv_are_those_of_enumeration(x64):
    """Action values, utilities, best responses and NashConv of random games of two and three players with unequal
    numbers of actions: as loops over all outcomes have them."""
    for seed, sizes in enumerate([(2, 3), (4, 2), (3, 2, 4)]):
        payoffs, profile = random_game(seed, sizes)
        for ours, theirs in zip(
            nf.action_values(jnp.asarray(payoffs), profile), oracle.action_values(payoffs, list(profile)), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)
        np.testing.assert_allclose(nf.utilities(jnp.asarray(payoffs), profile), oracle.utilities(payoffs, profile))
        np.testing.assert_allclose(
            nf.nash_conv(jnp.asarray(payoffs), profile), oracle.nash_conv(payoffs, list(profile)), rtol=1e-12
        )
        answers = nf.best_response(jnp.asarray(payoffs), profile)
        for i, (answer, q) in enumerate(zip(answers, oracle.action_values(payoffs, list(profile)), strict=True)):
            assert answer.argmax() == q.argmax() and answer.max() == 1
            better = oracle.utilities(payoffs, [*profile[:i], np.asarray(answer), *profile[i + 1 :]])[i]
            np.testing.assert_allclose(
                better - oracle.utilities(payoffs, profile)[i],
                nf.deviation_gains(jnp.asarray(payoffs), profile)[i],
                rtol=1e-12,
            )


@pytest.mark.covers("nfg")
def test_many_games_at_once():
    """A batch by vmap is its games one at a time."""
    games, profiles = zip(*(random_game(seed, (3, 2)) for seed in range(4)), strict=True)
    together = jax.vmap(nf.nash_conv)(jnp.stack(games), jax.tree.map(lambda *x: jnp.stack(x), *profiles))
    alone = [oracle.nash_conv(game, list(profile)) for game, profile in zip(games, profiles, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-4)


@pytest.mark.covers("pd", "nash")
def test_prisoners_dilemma():
    """Defection strictly dominates, so it alone survives elimination; both defecting is the only pure equilibrium, and
    the only outcome that another one, both cooperating, improves for both."""
    game = matrix_games.prisoners_dilemma()
    np.testing.assert_array_equal(game[:, 0, 0], [-1, -1])
    np.testing.assert_array_equal(game[:, 0, 1], [-3, 0])
    for left, gone in zip(nf.undominated(game), nf.dominated(game), strict=True):
        np.testing.assert_array_equal(left, [False, True])
        np.testing.assert_array_equal(gone, [True, False])
    stable = [[float(nf.nash_conv(game, pure(game, a, b))) for b in range(2)] for a in range(2)]
    np.testing.assert_array_equal(stable, [[2, 1], [1, 0]])
    np.testing.assert_array_equal(nf.pareto_front(game), [[True, True], [True, False]])
    assert jnp.all(game[:, 0, 0] > game[:, 1, 1])


@pytest.mark.covers("rps", "nash")
def test_rock_paper_scissors():
    """Nothing is dominated, every outcome is on the front, the uniform profile is an equilibrium of value 0 against
    which everything is a best response, and each side of every pure profile but a draw's winner can gain: against a
    pure strategy 1 above the value."""
    game = matrix_games.rock_paper_scissors()
    mixed = nf.uniform(game)
    assert all(bool(left.all()) for left in nf.undominated(game))
    assert bool(nf.pareto_front(game).all())
    np.testing.assert_allclose(nf.nash_conv(game, mixed), 0, atol=1e-7)
    np.testing.assert_allclose(nf.utilities(game, mixed), 0, atol=1e-7)
    for answer in nf.best_response(game, mixed):
        np.testing.assert_allclose(answer, 1 / 3, rtol=1e-6)
    for a in range(3):
        # Who plays it against the equilibrium loses nothing, and is exploited by 1.
        gains = nf.deviation_gains(game, (jnp.eye(3)[a], mixed[1]))
        np.testing.assert_allclose(gains, [0, 1], atol=1e-6)


@pytest.mark.covers("rps", "nash", "self-play")
def test_best_responses_go_round_in_three():
    """Each answering the other's last action has period 3 from every common start, and no fixed point; a profile is a
    fixed point of the set of best responses if and only if its NashConv is 0."""
    game = matrix_games.rock_paper_scissors()
    for start in range(3):
        profile, seen = pure(game, start, start), []
        for _ in range(6):
            profile = nf.best_response(game, profile)
            seen.append(int(profile[0].argmax()))
        assert seen[:3] == seen[3:] and len(set(seen[:3])) == 3
    biased = matrix_games.rock_paper_scissors(0.25, 0.5, 0.05)
    solution = (jnp.array([1, 10, 5]) / 16,) * 2
    np.testing.assert_allclose(nf.nash_conv(biased, solution), 0, atol=1e-6)
    assert nf.nash_conv(biased, nf.uniform(biased)) > 0.1


@pytest.mark.covers("nfg")
def test_elimination_does_not_depend_on_the_order():
    """On random games with small whole payoffs, many of them with dominated actions: what remains is what is left when
    they are eliminated one at a time in any order; weak dominance against loops, on the whole games."""
    rng = np.random.default_rng(0)
    eliminate, weakly = jax.jit(nf.undominated), jax.jit(lambda game: nf.dominated(game, strict=False))
    eliminated = 0
    for _ in range(60):
        game = rng.integers(0, 4, (2, 4, 3))
        left = eliminate(jnp.asarray(game, jnp.float32))
        for ours, theirs in zip(left, oracle.undominated(game, rng), strict=True):
            np.testing.assert_array_equal(ours, theirs)
            eliminated += not theirs.all()
        every = [np.ones(4, bool), np.ones(3, bool)]
        for i, ours in enumerate(weakly(jnp.asarray(game, jnp.float32))):
            n = len(every[i])
            theirs = [any(oracle.dominates(game, every, i, b, a, False) for b in range(n) if b != a) for a in range(n)]
            np.testing.assert_array_equal(ours, theirs)
    assert eliminated > 20


@pytest.mark.covers("nfg")
def test_logit_response_lies_between_uniform_and_best():
    """Far above the payoffs' scale it is uniform, far below it is the best response; at temperature 1 by hand."""
    game = matrix_games.stag_hunt()
    profile = (jnp.array([0.5, 0.5]), jnp.array([0.9, 0.1]))
    for answer in nf.logit_response(game, profile, 1e6):
        np.testing.assert_allclose(answer, 0.5, atol=1e-5)
    for answer, best in zip(nf.logit_response(game, profile, 1e-3), nf.best_response(game, profile), strict=True):
        np.testing.assert_allclose(answer, best, atol=1e-6)
    value = np.array([3.6, 2.9])
    np.testing.assert_allclose(nf.logit_response(game, profile, 1.0)[0], np.exp(value) / np.exp(value).sum(), rtol=1e-5)


@pytest.mark.covers("nfg")
def test_what_is_no_game_is_refused():
    """Payoffs of unequal shapes, one that is not finite, by its place, and a profile of another game."""
    with pytest.raises(ValueError, match=r"payoffs of the shapes \(2, 2\) and \(2, 3\): both must be \[A, K\]"):
        nf.bimatrix(np.zeros((2, 2)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"column\[1, 0\] = nan: payoffs must be finite"):
        nf.bimatrix(np.zeros((2, 2)), [[0, 0], [np.nan, 0]])
    with pytest.raises(ValueError, match=r"payoffs of the shape \(2, 3, 3\) and strategies of the shapes \(\(2,\),"):
        nf.nash_conv(matrix_games.rock_paper_scissors(), (jnp.ones(2), jnp.ones(3)))
    with pytest.raises(ValueError, match="a game of n players"):
        nf.nash_conv(jnp.zeros((2, 3)), (jnp.ones(3), jnp.ones(3)))
