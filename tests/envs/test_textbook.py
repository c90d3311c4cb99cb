"""The textbook's problems as environments by name."""

import jax
import pytest

from purerl import envs
from purerl.envs import textbook


def test_a_problem_is_an_environment_by_name():
    """envs.make() by name, with the problem's arguments: check_env has no complaint and steps follow the tables."""
    mdp, env = textbook.blackjack("pays 1.5"), envs.make("Blackjack", natural="pays 1.5")
    assert envs.check_env(env, num_steps=20).errors == ()
    assert (env.name, env.observation_space.n, env.action_space.n) == (
        "Blackjack(natural='pays 1.5')",
        214,
        2,
    )
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
