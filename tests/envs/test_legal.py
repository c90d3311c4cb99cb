"""Legal actions beside observations, and games for one player."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.envs.legal import expose_legal, one_player
from purerl.spaces import Box, Discrete, Masked, MaskedSpace
from tests.support.nim import nim


def rewards(env, num_steps=40):
    """A random player's ``(legal, action, reward, over)`` of a few steps, each ``[num_steps, ...]``."""

    def step(carry, key):
        obs, state = carry
        action_key, step_key, reset_key = jax.random.split(key, 3)
        action = jax.random.categorical(action_key, jnp.where(obs.legal, 0.0, -jnp.inf)).astype(jnp.int32)
        next_obs, after, reward, terminated, truncated, _ = env.step(step_key, state, action)
        fresh, over = env.reset(reset_key), terminated | truncated
        carry = jax.tree.map(lambda f, n: jnp.where(over, f, n), fresh, (next_obs, after))
        return carry, (obs.legal, action, reward, over)

    return jax.jit(lambda key: jax.lax.scan(step, env.reset(key), jax.random.split(key, num_steps))[1])(
        jax.random.key(0)
    )


def test_games_for_one_player_count_for_the_side_that_is_played():
    """Of Nim against random legal moves: +1 or -1 at ends and nothing before, some of each, and no move that costs."""
    env = one_player(nim())
    legal, action, reward, over = map(np.asarray, rewards(env))
    assert np.take_along_axis(legal, action[:, None], 1).all()
    assert {*reward[over]} == {1.0, -1.0} and not reward[~over].any()
    assert env.observation_space == MaskedSpace(nim().observation_space, Discrete(3))


def test_the_other_side_moves_as_it_is_told():
    """Against one who takes a single stone, from a heap that is met: two moves a step, and whose last stone it is."""
    env = one_player(nim(), lambda key, obs, state: jnp.int32(0))
    for seed in range(6):
        obs, state = env.reset(jax.random.key(seed))
        heap = int(state.game_state[0])
        assert int(state.game_state[1]) == int(state.side) and heap >= 1
        np.testing.assert_array_equal(obs.legal, np.arange(3) < heap)
        _, after, reward, terminated, _, _ = env.step(jax.random.key(0), state, jnp.int32(0))
        assert int(after.game_state[0]) == max(heap - 2, 0)
        assert (float(reward), bool(terminated)) == {1: (1.0, True), 2: (-1.0, True)}.get(heap, (0.0, False))


def test_legal_actions_are_observed_and_games_stay_games():
    """By the game, or by a function of the state; what has neither, or other actions, is refused."""
    game = expose_legal(nim())
    obs, state = game.reset(jax.random.key(3))
    assert isinstance(obs, Masked) and game.legal is not None and obs.legal.tolist() == game.legal(state).tolist()
    pgx = envs.make("pgx/tic_tac_toe", wrappers=["one_player"])
    assert envs.make(pgx.name).name == pgx.name
    assert jax.eval_shape(pgx.reset, jax.random.key(0))[0].legal.shape == (9,)
    cartpole = envs.make("probe/action-reward")
    with pytest.raises(TypeError, match="does not say what is legal"):
        expose_legal(cartpole)
    with pytest.raises(TypeError, match="needs Discrete or MultiDiscrete actions"):
        expose_legal(cartpole._replace(action_space=Box(-1.0, 1.0, (1,))), lambda state: state)
