"""Weights and baselines of policy gradients: weights across rollouts, and what baselines do to mean and variance."""

import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.policy import weights
from purerl.types import Transition

pytestmark = pytest.mark.usefixtures("x64")

HYPERS = types.SimpleNamespace(gamma=0.7, gae_lambda=0.9, clip_rho=1.0, clip_c=1.0)


def rollout(reward, ends, **changes) -> weights.Rollout:
    """Episodes that terminate where the flags say, with a critic of zero."""
    reward, nothing = jnp.asarray(reward), jnp.zeros(np.shape(reward))
    fields = {"reward": reward, "terminated": jnp.asarray(ends), "truncated": nothing > 0, "ratio": nothing + 1}
    fields |= dict.fromkeys(("step", "value", "next_value", "taken"), nothing)
    return weights.Rollout(**fields | changes)


@pytest.mark.covers("reinforce")
def test_return_of_an_episode_that_began_a_rollout_before():
    """Two environments, rollouts of three steps: steps are numbered from the beginning of their episode, and every step
    has the return of the whole episode as its weight, discounted from there, also of what was earned before."""
    rng = np.random.default_rng(0)
    reward, ends = rng.normal(size=(6, 2)), np.array([[0, 1], [0, 0], [0, 0], [0, 0], [1, 0], [1, 1]], bool)
    begun, past, number, weight = jnp.zeros(2), jnp.zeros(2), [], []
    for part in (slice(0, 3), slice(3, 6)):
        flags = jnp.asarray(ends[part])
        nothing = jnp.zeros((3, 2))
        step = weights.steps(Transition(nothing, nothing, nothing, flags, nothing > 0, nothing, {}), begun)
        begun = jnp.where(flags[-1], 0.0, step[-1] + 1)
        psi, _, past = weights.psi("return", 5, HYPERS, rollout(reward[part], flags, step=step), past)
        number.append(step)
        weight.append(psi)
    np.testing.assert_array_equal(np.concatenate(number)[:, 0], [0, 1, 2, 3, 4, 0])
    np.testing.assert_array_equal(np.concatenate(number)[:, 1], [0, 0, 1, 2, 3, 4])
    whole = [0.7 ** np.arange(5) @ reward[:5, 0], reward[0, 1], 0.7 ** np.arange(5) @ reward[1:, 1]]
    # What the rest of an episode will bring is known in the rollout in which it ends.
    np.testing.assert_allclose(np.concatenate(weight)[3:5, 0], whole[0])
    np.testing.assert_allclose(np.concatenate(weight)[0, 1], whole[1])
    np.testing.assert_allclose(np.concatenate(weight)[3:, 1], whole[2])


@pytest.mark.covers("adv-est")
@pytest.mark.parametrize("name", ["td", "n_step", "gae", "vtrace", "reward_to_go", "q"])
def test_targets_of_one_step_are_all_the_same(name):
    """Rollouts of one step: every target is ``r + gamma V'``, where an episode is truncated too, and ``r`` where it
    terminates; the weight is that, or its excess over the value, or the action value."""
    rng = np.random.default_rng(0)
    reward, value, after, taken = jnp.asarray(rng.normal(size=(4, 1, 3)))
    terminated, truncated = np.array([[True, False, False]]), jnp.array([[False, True, False]])
    seen = rollout(reward, terminated, truncated=truncated, value=value, next_value=after, taken=taken)
    weight, target, _ = weights.psi(name, 5, HYPERS, seen, jnp.zeros(3))
    expected = reward + 0.7 * np.where(terminated, 0, after)
    np.testing.assert_allclose(target, expected, atol=1e-12)
    np.testing.assert_allclose(weight, {"reward_to_go": expected, "q": taken}.get(name, expected - value), atol=1e-12)


PROBABILITY, RETURNS = np.array([0.6, 0.3, 0.1]), np.array([2.0, 1.0, -1.0])
SCORE = np.eye(3) - PROBABILITY  # of each arm's logits
SQUARE = (SCORE**2).sum(-1)


@pytest.mark.covers("baseline")
def test_baselines_of_other_environments_leave_the_expected_gradient():
    """Over all batches of three draws from three arms: exact for each baseline, whatever the critic says."""
    exact = PROBABILITY @ (SCORE * RETURNS[:, None])
    batches = np.array(list(itertools.product(range(3), repeat=3)))  # [27, 3]
    chance = PROBABILITY[batches].prod(-1)
    for name in ("none", "mean", "value", "optimal"):

        def below(weight, square, name=name):
            return weight - weights.baseline("reward_to_go", name, weight, jnp.asarray(0.8), square)

        weight = jax.vmap(below)(jnp.asarray(RETURNS[batches])[:, None], jnp.asarray(SQUARE[batches])[:, None])[:, 0]
        gradient = np.einsum("k,kb,kba->a", chance, weight, SCORE[batches]) / 3
        np.testing.assert_allclose(gradient, exact, atol=1e-12)


@pytest.mark.covers("baseline")
def test_variance_falls_from_none_to_the_value_to_the_optimal_baseline():
    """Ten thousand environments whose arms are as frequent as they are likely: the optimal baseline is ``E[|score|^2 G]
    / E[|score|^2]``, and the exact variance of one action's gradient is least with it."""
    arms = np.repeat(np.arange(3), (1e4 * PROBABILITY).astype(int))[None]
    variance = {}
    for name in ("none", "mean", "value", "optimal"):
        value = np.full(arms.shape, PROBABILITY @ RETURNS)
        below = weights.baseline("reward_to_go", name, RETURNS[arms], value, SQUARE[arms])
        gradient = (RETURNS[arms] - below)[0, :, None] * SCORE[arms[0]]
        variance[name] = gradient.var(0).sum()
    best = PROBABILITY @ (SQUARE * RETURNS) / (PROBABILITY @ SQUARE)
    np.testing.assert_allclose(below, best, atol=1e-3)
    assert variance["optimal"] < 0.95 * variance["value"] < 0.95 * variance["none"]
    np.testing.assert_allclose(variance["mean"], variance["value"], rtol=1e-3)


def test_weights_that_have_a_value_take_no_other_baseline():
    """And a baseline of other environments needs some."""
    with pytest.raises(ValueError, match=r'baseline = none must be "value", or psi one of return, reward_to_go, q'):
        weights.check("gae", "none", 4)
    with pytest.raises(ValueError, match="num_envs = 1 must be 2 or more"):
        weights.check("return", "optimal", 1)
