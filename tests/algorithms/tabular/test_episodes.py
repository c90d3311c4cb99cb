"""Episodes in arrays: sampled ones follow their process, ratios are those of the actions taken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.tabular.episodes import Episode, importance_ratios, make_episode, sample_episodes
from tests.support.tabular_episodes import (
    MAX_STEPS,
    NUM_ACTIONS,
    NUM_STATES,
    OTHER,
    POLICY,
    as_lists,
    process,
    sampled,
)


@pytest.mark.covers("mdp")
def test_episodes_follow_the_process(x64):
    """Steps of 4000 episodes have the frequencies of the process, within 5 standard deviations, and its rewards, and
    stop at the end state or at the limit."""
    mdp, episodes = process(), jax.tree.map(np.asarray, sampled(4000))
    before, after = episodes.state[:, :-1], episodes.state[:, 1:]
    valid = np.arange(MAX_STEPS) < episodes.length[:, None]
    np.testing.assert_array_equal(episodes.reward, mdp.reward[before, episodes.action, after])
    np.testing.assert_array_equal(valid, before != NUM_STATES - 1)
    np.testing.assert_array_equal(episodes.terminated, episodes.state[:, -1] == NUM_STATES - 1)
    assert (episodes.length[~episodes.terminated] == MAX_STEPS).all()
    assert 0.01 < (~episodes.terminated).mean() < 0.9

    count = np.zeros((NUM_STATES, NUM_ACTIONS, NUM_STATES))
    np.add.at(count, (before[valid], episodes.action[valid], after[valid]), 1)
    probability = POLICY[:, :, None] * np.asarray(mdp.transition)
    total = count.sum((1, 2), keepdims=True)
    assert (np.abs(count - total * probability) <= 5 * np.sqrt(total * probability * (1 - probability)) + 1e-9).all()
    starts = np.bincount(episodes.state[:, 0], minlength=NUM_STATES) / 4000
    np.testing.assert_allclose(starts, mdp.start, atol=5 * 0.5 / np.sqrt(4000))


@pytest.mark.covers("nstep-is")
def test_importance_ratios(x64):
    """pi / mu of the actions taken, looked up by hand, and 1 beyond the end."""
    episodes = sampled(8)
    got = jax.vmap(lambda episode: importance_ratios(episode, jnp.asarray(OTHER), jnp.asarray(POLICY)))(episodes)
    for i, (state, reward, _) in enumerate(as_lists(episodes)):
        action, n = np.asarray(episodes.action[i]), len(reward)
        want = [OTHER[s, a] / POLICY[s, a] for s, a in zip(state[:n], action[:n], strict=True)]
        np.testing.assert_allclose(got[i], want + [1.0] * (MAX_STEPS - n), rtol=1e-12)


def of_policy(policy: np.ndarray) -> Episode:
    return sample_episodes(process(), policy, jax.random.key(0), 1, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: of_policy(np.full((5, 2), 0.75)), r"policy\[0\] = \[0.75, 0.75\]; each row must be a distribution"),
        (lambda: of_policy(POLICY[:3]), r"policy has the shape \(3, 2\); this process needs \[S, A\] = \(5, 2\)"),
        (lambda: sampled(0), "num_episodes=0 must be at least 1"),
        (lambda: sampled(max_steps=0), "max_steps=0 must be at least 1"),
        (
            lambda: make_episode([0, 1], [1.0, 2.0]),
            "2 states, 2 actions and 2 rewards; an episode of N steps has N \\+ 1",
        ),
        (lambda: make_episode([0, 1, 2], [1.0, 2.0], max_steps=1), "has 2 steps; max_steps=1 must be at least that"),
    ],
)
def test_bad_episodes_are_refused(call, message):
    """What is wrong is named, with what was expected, before anything is sampled."""
    with pytest.raises(ValueError, match=message):
        call()
