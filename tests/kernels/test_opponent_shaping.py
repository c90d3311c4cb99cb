"""LOLA: exact values against long sums, and gradients against finite differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.envs import matrix_games
from purerl.kernels import opponent_shaping as kernel

GAMMA = 0.96


def tables(seed, num_first=2, num_second=2, scale=1.0):
    """Logits of both players."""
    rng = np.random.default_rng(seed)
    num_obs = 1 + num_first * num_second
    return tuple(jnp.asarray(scale * rng.normal(size=(num_obs, n))) for n in (num_first, num_second))


def values(logits):
    return kernel.iterated_values(matrix_games.prisoners_dilemma(), logits, GAMMA)


@pytest.mark.covers("pd", "markov-game")
def test_values_are_sums_of_discounted_payoffs(x64):
    """A game of two and three actions: 3000 steps of the distribution over pairs of actions, payoff by payoff; always
    defecting earns -2 a step, always cooperating -1."""
    payoffs = np.random.default_rng(0).normal(size=(2, 2, 3))
    logits = tables(1, 2, 3)
    policies = [np.asarray(jax.nn.softmax(table, axis=-1)) for table in logits]
    joint = np.einsum("oa,ob->oab", *policies).reshape(7, 6)
    chance, total = joint[0], np.zeros(2)
    for t in range(3000):
        total += GAMMA**t * payoffs.reshape(2, 6) @ chance
        chance = chance @ joint[1:]
    np.testing.assert_allclose(kernel.iterated_values(jnp.asarray(payoffs), logits, GAMMA), total, rtol=1e-10)
    for action, each in ((0, -1), (1, -2)):
        always = (jnp.full((5, 2), -40.0).at[:, action].set(40.0),) * 2
        np.testing.assert_allclose(values(always) * (1 - GAMMA), each, rtol=1e-9)


@pytest.mark.covers("markov-game")
def test_gradients_are_finite_differences(x64):
    """Naive: of one's own value. LOLA: of one's own value after the other's naive step, to first order in it, the rest
    held constant; along three directions. With a step of 0 it is naive."""
    logits, step = tables(2, scale=0.7), 0.3
    naive = jax.jit(functools.partial(kernel.naive_gradients, values))(logits)
    learn = jax.jit(functools.partial(kernel.lola_gradients, values))
    lola = learn(logits, step)
    still = learn(logits, 0.0)
    rng, width = np.random.default_rng(3), 1e-5
    for player in (0, 1):
        np.testing.assert_allclose(still[player], naive[player], rtol=1e-9)
        other = logits[1 - player]

        def pair(own, theirs, player=player):
            return (own, theirs) if player == 0 else (theirs, own)

        matters = jax.grad(lambda theirs, pair=pair, i=player: values(pair(logits[i], theirs))[i])

        @jax.jit
        @jax.vmap
        def shaped(own, pair=pair, player=player, matters=matters, other=other):
            value = values(pair(own, other))[player]
            theirs = kernel.naive_gradients(values, pair(own, other))[1 - player]
            return value, value + step * jnp.sum(matters(other) * theirs)

        directions = rng.normal(size=(3, *logits[player].shape))
        up, down = (shaped(logits[player] + sign * width * directions) for sign in (1, -1))
        for gradient, high, low in zip((naive, lola), up, down, strict=True):
            slope = (high - low) / (2 * width)
            np.testing.assert_allclose(jnp.sum(gradient[player] * directions, axis=(1, 2)), slope, rtol=1e-6)
