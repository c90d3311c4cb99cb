"""A game against somebody: whose moves are whose, what is earned, and that it is an ordinary environment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import rollout
from purerl.agent import Agent
from purerl.envs.games import Game
from purerl.games.against import against
from purerl.games.players import random_player
from purerl.spaces import Box, Discrete
from tests.oracles import poker
from tests.support import kuhn
from tests.support.pgx_games import named

MOVERS = jnp.array([0, 1, 1, 0, 1, 0])  # who makes each move; the game ends after five


def long_game():
    """Every move wins its number from the other player; what is seen is how many moves there were."""

    def reset(key):
        return jnp.zeros(1), jnp.int32(0)

    def step(key, count, action):
        after = count + 1
        return after[None].astype(float), after, action.astype(float), after >= 5, jnp.array(False), {}

    legal, player = lambda count: jnp.ones(8, bool), lambda count: MOVERS[count]
    return Game("long", reset, step, Box(0.0, 5.0, (1,)), Discrete(8), legal, player, None, str)


def counting():
    """Plays 1, then 2, and so on, by its memory."""
    return Agent(lambda: jnp.int32(1), lambda carry, seen, key: (carry + 1, carry))


@pytest.mark.covers("self-play", "markov-game")
def test_steps_go_from_one_own_move_to_the_next():
    """The opponent moves twice in a row, remembers, and moves before a second player's first step, which pays for it;
    the return is what was won less what was lost, and after the end nobody moves."""
    key = jax.random.key(0)
    env = against(long_game(), counting())  # what the seat is stands in the state
    reset, step = jax.jit(jax.vmap(env.reset)), jax.jit(env.step)
    obs, state = reset(jax.random.split(key, 64))
    assert 16 < state.seat.sum() < 48
    np.testing.assert_array_equal(state.carry, 1 + state.seat)
    places = [int(jnp.argmax(state.seat == seat)) for seat in (0, 1)]
    start = [jax.tree.map(lambda x, i=i: x[i], (obs, state)) for i in places]
    obs, state = start[0]
    assert obs == 0
    obs, state, reward, terminated, truncated, info = step(key, state, jnp.int32(7))
    assert (obs, reward, state.carry, terminated, truncated) == (3, 7 - 1 - 2, 3, False, False)
    assert info["legal"].shape == (8,)
    obs, state, reward, terminated, *_ = step(key, state, jnp.int32(5))
    assert (obs, reward, terminated) == (5, 5 - 3, True)
    obs, state = start[1]
    assert obs == 1
    rewards = []
    for action in (4, 5, 6):
        obs, state, reward, terminated, *_ = step(key, state, jnp.int32(action))
        rewards.append(float(reward))
    assert rewards == [4 - 1, 5 - 2, 6] and terminated and obs == 5
    with pytest.raises(ValueError, match=r"seat = 2: it is 0, 1 or None"):
        against(long_game(), counting(), seat=2)


@pytest.mark.covers("self-play")
def test_mean_returns_are_the_games_values():
    """Uniform moves against uniform moves in Kuhn's poker, thousands of games with a tossed seat, in the scan that
    learners use: what each seat earns is the recursion's within four standard errors."""
    env = against(named("kuhn_poker"), random_player(named("kuhn_poker")))

    def uniform(carry, seen, key):
        return carry, jax.random.randint(key, seen.obs.shape[:1], 0, 2), seen.env_state.seat

    @jax.jit
    def play(key):
        envs = rollout.reset(env, key, 2000)
        return rollout.rollout(env, uniform, envs, key, jax.random.split(key, 8), 8)[1]

    steps = jax.tree.map(np.asarray, play(jax.random.key(0)))
    even = [dict.fromkeys(kuhn.places(player), 0.5) for player in (0, 1)]
    for seat, value in ((0, poker.expected(even)), (1, -poker.expected(even))):
        earned = steps.reward[steps.terminated & (steps.extras == seat)]
        assert len(earned) > 3000
        np.testing.assert_allclose(earned.mean(), value, atol=4 * earned.std() / np.sqrt(len(earned)))
    assert (steps.reward[~steps.terminated] == 0).all()
