"""Errors of models and what they cost: exact matrices against the bounds, and worlds where the bounds are reached."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp as kernel
from purerl.mdp import model_error
from tests.oracles import dyna as oracle

NUM_PAIRS = 32
HORIZON = 6


def worlds_and_models(num_states: int = 4) -> tuple[kernel.MDP, kernel.MDP]:
    """32 random processes with rewards in [0, 1], and models of them between nearly right and quite wrong."""

    def pair(key: jax.Array, share: jax.Array) -> tuple[kernel.MDP, kernel.MDP]:
        world_key, other_key = jax.random.split(key)
        world = kernel.random_mdp(world_key, num_states, 2, gamma=0.9)
        other = kernel.random_mdp(other_key, num_states, 2, gamma=0.9, branching=1)
        reward = jax.nn.sigmoid(world.reward)
        transition = (1 - share) * world.transition + share * other.transition
        world = world.replace(reward=jnp.broadcast_to(reward[..., :1], reward.shape))
        return world, world.replace(transition=transition, reward=world.reward + 0.1 * share)

    return jax.jit(jax.vmap(pair))(
        jax.random.split(jax.random.key(0), NUM_PAIRS), jnp.linspace(0.0, 1.0, NUM_PAIRS) ** 2
    )


def pair_of(i: int, *batches: kernel.MDP) -> list[kernel.MDP]:
    return [jax.tree.map(lambda x: x[i], batch) for batch in batches]


def leaving(chance: float) -> np.ndarray:
    """State 0 is left for good with some chance in each step."""
    return np.array([[1 - chance, chance], [0.0, 1.0]])


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("model-bias")
@pytest.mark.parametrize("horizon", [1, 3, np.inf], ids=["1", "3", "for-ever"])
def test_simulation_lemma(horizon):
    """32 worlds and models, one random policy each: the exact value after H steps in the model, and after all, is
    within the bound, with the world's own span of rewards; an exact model errs by nothing."""
    worlds, models = worlds_and_models()
    policies = jnp.asarray(np.random.default_rng(0).dirichlet(np.ones(2), (NUM_PAIRS, 4)))
    true = jax.vmap(kernel.state_value)(worlds, policies)
    imagined = jax.vmap(kernel.state_value)(models, policies)
    if np.isfinite(horizon):
        imagined = true
        for _ in range(horizon):
            imagined = jax.vmap(kernel.expectation_backup)(models, policies, imagined)
    eps = jax.vmap(model_error.one_step_error)(worlds.transition, models.transition)
    reward_error = jnp.abs(worlds.reward - models.reward).max((1, 2, 3))
    spread = worlds.reward.max((1, 2, 3)) - worlds.reward.min((1, 2, 3))
    bound = model_error.value_error_bound(eps, reward_error, spread, 0.9, horizon)
    error = jnp.abs(true - imagined).max(-1)
    assert np.all(error <= bound + 1e-12)
    assert error[0] < 1e-12 and bound[0] < 1e-12
    assert np.all(error[1:] > 0)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("model-bias")
def test_simulation_lemma_in_numbers():
    """eps = 0.2, rewards in [0, 3], gamma = 0.9: 0.9 * 0.2 * 3 / (2 * 0.1^2) = 27; one step in the model, a tenth."""
    bound = model_error.value_error_bound
    assert bound(0.2, 0.0, 3.0, 0.9) == pytest.approx(27)
    assert bound(0.2, 0.0, 3.0, 0.9, 1) == pytest.approx(2.7)
    assert bound(0.2, 0.0, 3.0, 0.9, 0) == 0
    assert bound(0.0, 0.5, 3.0, 0.9) == pytest.approx(5)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("model-bias")
def test_simulation_lemma_is_reached_as_errors_vanish():
    """A good state, reward 1, that lasts in the world and is lost with chance eps/2 in the model: the error over the
    bound is (1 - g) / (1 - g (1 - eps/2)), which goes to 1 with eps."""
    gamma, reward = 0.9, jnp.array([1.0, 0.0])
    for eps in (0.2, 0.02, 0.0002):
        world, model = (
            kernel.solve(kernel.MRP(jnp.asarray(leaving(p)), reward, jnp.zeros(2, bool), jnp.asarray(gamma)))
            for p in (0.0, eps / 2)
        )
        ratio = jnp.abs(world - model).max() / model_error.value_error_bound(eps, 0.0, 1.0, gamma)
        assert ratio == pytest.approx((1 - gamma) / (1 - gamma * (1 - eps / 2)), rel=1e-9)
    assert ratio > 0.998


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("model-bias")
def test_errors_compound_within_both_bounds():
    """32 pairs of chains, h = 0 .. 6: the states of the state are those of matrix powers, and their distance is at most
    1 - (1 - eps/2)^h, which is at most h eps/2. The states of whole paths, enumerated, obey the same, and exceed it."""
    worlds, models = worlds_and_models(num_states=3)
    uniform = jnp.full((3, 2), 0.5)
    gap = np.zeros(HORIZON + 1)
    for i in range(0, NUM_PAIRS, 4):
        p, q = (np.asarray(kernel.induced(one, uniform).transition) for one in pair_of(i, worlds, models))
        start = np.eye(3)[0]
        states = [
            np.asarray(model_error.distributions_after(jnp.asarray(x), jnp.asarray(start), HORIZON)) for x in (p, q)
        ]
        np.testing.assert_allclose(states[0][-1], start @ np.linalg.matrix_power(p, HORIZON), atol=1e-12)
        eps = model_error.one_step_error(jnp.asarray(p), jnp.asarray(q))
        h = np.arange(HORIZON + 1)
        state = model_error.total_variation(*states)
        path = np.stack(
            [0.5 * np.abs(oracle.trajectory_law(p, start, k) - oracle.trajectory_law(q, start, k)).sum() for k in h]
        )
        sharp, loose = model_error.trajectory_error_bound(eps, h), model_error.distribution_error_bound(eps, h)
        assert np.all(state <= path + 1e-12)
        assert np.all(path <= sharp + 1e-12) and np.all(sharp <= loose + 1e-12)
        gap = np.maximum(gap, path - state)
    assert gap.max() > 0.01


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("model-bias")
def test_compounding_is_reached():
    """A state that lasts in the world and is left with chance eps/2 in the model: after h steps the distance is
    1 - (1 - eps/2)^h exactly; of h eps/2 that is all for h = 1, and all but 1 % for many small errors."""
    start = jnp.array([1.0, 0.0])
    for eps in (0.5, 0.001):
        world, model = jnp.asarray(leaving(0.0)), jnp.asarray(leaving(eps / 2))
        assert model_error.one_step_error(world, model) == pytest.approx(eps)
        h = np.arange(21)
        apart = model_error.total_variation(*(model_error.distributions_after(x, start, 20) for x in (world, model)))
        np.testing.assert_allclose(apart, model_error.trajectory_error_bound(eps, h), atol=1e-12)
        ratio = apart[1:] / model_error.distribution_error_bound(eps, h)[1:]
        assert ratio[0] == pytest.approx(1)
    assert ratio[-1] > 0.99


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("model-bias")
def test_short_rollouts_trust_a_biased_model_less():
    """True values at the leaves of H steps in a biased model: one step errs by less than half of what 20 do in every
    world, and on average the error grows with every step."""
    worlds, models = worlds_and_models()
    worlds, models = (jax.tree.map(lambda x: x[NUM_PAIRS // 2 :], w) for w in (worlds, models))
    policies = jnp.full((NUM_PAIRS // 2, 4, 2), 0.5)
    true = jax.vmap(kernel.state_value)(worlds, policies)
    value, errors = true, []
    for _ in range(20):
        value = jax.vmap(kernel.expectation_backup)(models, policies, value)
        errors.append(jnp.abs(value - true).max(-1))
    assert np.all(errors[0] < 0.5 * errors[-1])
    assert np.all(np.diff(np.mean(errors, axis=1)) > 0)


@pytest.mark.covers("model-bias")
@pytest.mark.parametrize("num_members", [2, 3, 7])
def test_an_ensemble_disagrees_if_and_only_if_its_members_do(num_members):
    """Equal members: variance 0, exactly. One that differs in one entry by one digit: above 0 there alone."""
    member = jax.random.uniform(jax.random.key(0), (5, 2, 5))
    ensemble = jnp.broadcast_to(member, (num_members, 5, 2, 5))
    assert not np.any(model_error.disagreement(ensemble))
    other = ensemble.at[1, 2, 0, 3].set(jnp.nextafter(member[2, 0, 3], jnp.float32(2)))
    assert np.argwhere(model_error.disagreement(other)).tolist() == [[2, 0, 3]]
    spread = jax.random.normal(jax.random.key(1), (num_members, 8))
    np.testing.assert_allclose(model_error.disagreement(spread), np.var(spread, axis=0), rtol=1e-4)
