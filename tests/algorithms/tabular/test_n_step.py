"""n-step update rules of tabular control against the textbook's loops."""

import numpy as np
import pytest

from purerl.algorithms.tabular.n_step import n_step
from tests.oracles import control as oracle
from tests.support.tabular_history import (
    BEGIN,
    HYPERS,
    MAX_STEPS,
    assert_learns_as,
    listed,
    policy_of,
    sarsa_history,
    tables_after,
)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("nstep-sarsa", "nstep-is", "tree-backup")
@pytest.mark.parametrize("n", [1, 3, MAX_STEPS + 1])
@pytest.mark.parametrize("kind", ["sarsa", "off-policy-sarsa", "tree-backup", "q-sigma"])
def test_n_step_rules_are_the_loop(kind, n):
    """n = 1, between, and beyond the longest episode, where nothing is learned before its end: the table after each
    step against a loop that looks for the pair of n steps ago; no target spans two episodes."""
    backup, on_policy, sigma = {
        "sarsa": ("sampled", True, 1.0),
        "off-policy-sarsa": ("sampled", False, 1.0),
        "tree-backup": ("expected", False, 0.0),
        "q-sigma": ("mixed", True, HYPERS.sigma),
    }[kind]
    assert_learns_as(
        n_step(n, backup, on_policy), oracle.n_step, n=n, sigma=sigma, off_policy=kind == "off-policy-sarsa"
    )


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("nstep-sarsa")
def test_more_steps_than_an_episode_is_monte_carlo():
    """n beyond every episode: each visit moves its pair by the step size to its return, the first visit first."""
    step, q, expected = sarsa_history(), BEGIN.copy(), []
    for episode in oracle.episodes(listed(step)):
        expected += [q.copy()] * len(episode)
        last = episode[-1]
        if not (last.terminated or last.truncated):
            break
        returns, earned = [], oracle.bootstrap(q, last, policy_of(n_step()), "mean")
        for now in reversed(episode):
            earned = now.reward + HYPERS.gamma * earned
            returns.append(earned)
        for now, earned in zip(episode, reversed(returns), strict=True):
            q[now.obs, now.action] += now.step_size * (earned - q[now.obs, now.action])
        expected[-1] = q.copy()
    np.testing.assert_allclose(tables_after(n_step(MAX_STEPS + 1), step), expected, atol=1e-12)


def test_n_step_refuses_bad_settings():
    """No step, an unknown backup, a mixed backup off policy: each named with its remedy."""
    for arguments, message in (
        ((0,), r"n_step\(n=0\)"),
        ((1.5,), r"n_step\(n=1\.5\)"),
        ((1, "full"), "choose one of sampled, expected, mixed"),
        ((2, "mixed", False), "has a bias"),
    ):
        with pytest.raises(ValueError, match=message):
            n_step(*arguments)
