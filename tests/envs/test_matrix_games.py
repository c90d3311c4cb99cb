"""Matrix games as environments: the protocol, payoffs as often as they should be, and opponents with a memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.envs import matrix_games
from purerl.kernels import normal_form as nf

KEY = jax.random.key(0)


def rewards(env, policy, key, num_rounds):
    """Rewards and the opponent's actions of one long episode, ``policy`` being ``(obs) -> action``."""

    def step(carry, key):
        obs, state = carry
        obs, state, reward, terminated, truncated, info = env.step(key, state, policy(obs))
        return (obs, state), (reward, info["opponent"], terminated, truncated)

    reset_key, scan_key = jax.random.split(key)
    return jax.lax.scan(step, env.reset(reset_key), jax.random.split(scan_key, num_rounds))[1]


@pytest.mark.covers("nfg", "rps", "pd")
@pytest.mark.parametrize("name", ["rock_paper_scissors", "prisoners_dilemma"])
def test_games_keep_the_protocol_of_environments(name):
    """check_env finds nothing; the name tells the arguments, and all of MATRIX_GAMES are there."""
    assert envs.check_env(envs.make(f"matrix/{name}", num_rounds=3), num_steps=12).errors == ()
    assert {f"matrix/{other}" for other in matrix_games.MATRIX_GAMES} <= {*envs.registered()}
    assert "num_rounds=3" in envs.make(f"matrix/{name}", num_rounds=3).name


@pytest.mark.covers("nfg", "markov-game")
def test_mean_rewards_are_the_values_of_the_game():
    """Either player, each action, against a mixture: the mean over 20,000 rounds is the action's value within five
    standard errors; episodes terminate after their rounds and are never truncated."""
    game, mixture = matrix_games.battle_of_the_sexes(), jnp.array([0.3, 0.7])
    for player in (0, 1):
        env = matrix_games.repeated(game, mixture, player=player, num_rounds=20_000)
        values = nf.action_values(game, (mixture, mixture))[player]
        for action in (0, 1):
            reward, _, terminated, truncated = rewards(env, lambda obs, a=action: jnp.int32(a), KEY, 20_000)
            assert abs(reward.mean() - values[action]) < 5 * reward.std() / np.sqrt(20_000)
            np.testing.assert_array_equal(np.flatnonzero(terminated), [19_999])
            assert not truncated.any()


@pytest.mark.covers("pd")
def test_tit_for_tat_does_what_was_done_to_it():
    """An opponent with a strategy for each last pair of actions: cooperates first, and then repeats us."""
    game = matrix_games.prisoners_dilemma()
    # 1 + own * 2 + theirs: what we did is the first of the pair
    cooperate, defect = [1.0, 0.0], [0.0, 1.0]
    env = matrix_games.repeated(game, [cooperate, cooperate, cooperate, defect, defect], num_rounds=6)
    moves = jnp.array([0, 1, 1, 0, 0, 1])

    def step(carry, action):
        _, state = carry
        obs, state, reward, _, _, info = env.step(KEY, state, action)
        return (obs, state), (reward, info["opponent"])

    _, (reward, theirs) = jax.lax.scan(step, env.reset(KEY), moves)
    np.testing.assert_array_equal(theirs, [0, 0, 1, 1, 0, 0])
    np.testing.assert_array_equal(reward, [-1, 0, -2, -3, -1, 0])


def test_what_cannot_be_played_is_refused():
    """Payoffs of three players, no rounds, an opponent with too many actions or that is no distribution."""
    game = matrix_games.rock_paper_scissors()
    for payoffs, settings in ((jnp.zeros((3, 2, 2, 2)), {}), (game, {"num_rounds": 0}), (game, {"player": 2})):
        with pytest.raises(ValueError, match=r"A matrix game is \[2, A, K\]"):
            matrix_games.repeated(payoffs, **settings)
    with pytest.raises(ValueError, match=r"opponent has the shape \(2,\); it must be \[3\]"):
        matrix_games.repeated(game, [0.5, 0.5])
    for bad in ([0.5, 0.6, 0.0], [1.5, -0.5, 0.0], [np.nan, 1.0, 0.0]):
        with pytest.raises(ValueError, match="is no distribution"):
            matrix_games.repeated(game, bad)
