"""TRPO part by part: what a step moves and leaves, the trust region, the failed search, the natural gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.policy.collect import Batch
from purerl.algorithms.policy.trust_region import (
    TrustRegionConfig,
    TrustRegionHypers,
    policy_step,
    surrogate_and_kl,
    trust_region,
    value_loss,
)
from purerl.kernels import natural
from purerl.nets.actor_critic import ActorCritic
from purerl.spaces import Discrete
from tests.support.ppo_setup import CONTINUOUS, DISCRETE, busy_env, jit

CONFIG = TrustRegionConfig(num_envs=3, num_steps=10, num_minibatches=2, num_epochs=2, hidden_sizes=(8,))
POLICY, VALUES = {"policy_torso", "policy_head", "log_std"}, {"value_torso", "value_head"}


@functools.cache
def setup(action_space):
    """A network, its parameters, and a rollout ``[10, 3]`` of its own actions with random advantages."""
    net = ActorCritic(action_space=action_space, observation=(2,), hidden_sizes=(8,))
    keys = jax.random.split(jax.random.key(0), 4)
    obs = jax.random.normal(keys[0], (10, 3, 2))
    params = net.init(keys[1], obs)
    old, pi = net.apply(params, obs, method="policy"), net.distribution
    action = pi.sample(old, pi.noise(keys[2], old))
    advantage = 5.0 * jax.random.normal(keys[3], (10, 3))
    values = jnp.zeros((10, 3))
    batch = Batch(obs, action, old, pi.log_prob(old, action), values, advantage, advantage)
    return net, params, batch


@functools.cache
def stepper(action_space, **choices):
    return jit(functools.partial(policy_step, setup(action_space)[0], TrustRegionConfig(hidden_sizes=(8,), **choices)))


def moved(before, after) -> set[str]:
    """Names of the parts of a network of which any bit has changed."""
    before, after = before["params"], after["params"]
    return {name for name in before if not same(before[name], after[name])}


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.covers("trpo")
@pytest.mark.parametrize("action_space", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_a_step_stays_in_the_trust_region_and_gains(action_space):
    """Mean KL(old;new) of the rollout is near max_kl and never above; the surrogate rises; only the policy moves."""
    net, params, batch = setup(action_space)
    standardized = (batch.advantage - batch.advantage.mean()) / batch.advantage.std()
    for max_kl in (0.001, 0.03):
        found = stepper(action_space)(TrustRegionHypers(max_kl=max_kl, damping=1e-3), params, batch)
        gain, kl = surrogate_and_kl(net, batch, batch.old_policy, standardized, found.params)
        start, nothing = surrogate_and_kl(net, batch, batch.old_policy, standardized, params)
        np.testing.assert_allclose([found.gain, found.divergence], [gain - start, kl], rtol=1e-3, atol=1e-6)
        assert nothing < 1e-6 and 0.3 * max_kl < kl <= max_kl and gain > start
        assert moved(params, found.params) == POLICY & set(params["params"])
        for leaf, other in zip(*map(jax.tree.leaves, (params, found.params)), strict=True):
            assert leaf.dtype == other.dtype


@pytest.mark.covers("trpo")
def test_failed_search_keeps_the_policy_bit_for_bit():
    """With a radius of 0, a step without an advantage, and one whose trials end outside; the metrics say so."""
    _, params, batch = setup(CONTINUOUS)
    step = stepper(CONTINUOUS)
    for found in (
        step(TrustRegionHypers(max_kl=0.0), params, batch),
        step(TrustRegionHypers(), params, batch._replace(advantage=jnp.ones((10, 3)))),
        step(TrustRegionHypers(max_kl=1e4, shrink=0.999, damping=0.0), params, batch),
    ):
        assert moved(params, found.params) == set()
        assert found.fraction == found.gain == found.divergence == 0


@pytest.mark.covers("trpo")
def test_divergence_is_of_the_old_policy_from_the_new():
    """KL(old;new), not KL(new;old): half the deviation of a Gaussian is 3/2 - log 2 away on each axis, twice it not."""
    net, params, batch = setup(CONTINUOUS)
    kl = []
    for shift in (-np.log(2), np.log(2)):
        new = {"params": params["params"] | {"log_std": params["params"]["log_std"] + shift}}
        kl.append(surrogate_and_kl(net, batch, batch.old_policy, batch.advantage, new)[1])
    np.testing.assert_allclose(kl, [2 * (1.5 - np.log(2)), 2 * (np.log(2) - 3 / 8)], rtol=1e-5)


@pytest.mark.covers("trpo")
def test_without_the_search_it_is_the_natural_gradient():
    """The whole step of length sqrt(2 delta / x'(F + damping)x), however far the divergence then is."""
    net, params, batch = setup(CONTINUOUS)
    hypers = TrustRegionHypers(max_kl=0.5, damping=0.2)
    found = stepper(CONTINUOUS, line_search=False)(hypers, params, batch)

    @jit
    def step(params):
        def kl(old, new):
            return jnp.mean(net.distribution.kl(old, new))

        advantage = (batch.advantage - batch.advantage.mean()) / batch.advantage.std()
        gradient = jax.grad(lambda p: surrogate_and_kl(net, batch, batch.old_policy, advantage, p)[0])(params)
        product = natural.fisher_product(lambda p: net.apply(p, batch.obs, method="policy"), kl, params)
        return natural.natural_step(gradient, product, 0.5, 10, 0.2)

    for old, new, by in zip(*map(jax.tree.leaves, (params, found.params, step(params))), strict=True):
        np.testing.assert_allclose(new - old, by, atol=2e-4)
    assert found.fraction == 1 and moved(params, found.params) == POLICY


@pytest.mark.covers("trpo")
def test_values_are_fitted_without_moving_the_policy():
    """The gradient of the values' loss is 0 for what is the policy's, and is of half the squared error."""
    net, params, batch = setup(CONTINUOUS)
    gradient, terms = jax.grad(functools.partial(value_loss, net), has_aux=True)(params, batch)
    assert {name for name, part in gradient["params"].items() if any(map(np.any, jax.tree.leaves(part)))} == VALUES
    error = net.apply(params, batch.obs, method="value") - batch.target
    np.testing.assert_allclose(terms["value_loss"], jnp.mean(error**2) / 2, rtol=1e-6)


def test_names_and_refusals():
    """NPG has its own name; sizes and spaces that do not fit are refused."""
    env = busy_env(Discrete(3))
    assert trust_region(env, CONFIG).spec.name == "trpo"
    assert trust_region(env, TrustRegionConfig(line_search=False)).spec.name == "npg"
    with pytest.raises(ValueError, match="num_backtracks = 0: it must be at least 1"):
        TrustRegionConfig(num_backtracks=0)
    with pytest.raises(ValueError, match=r"num_minibatches = 7 does not divide num_envs \* num_steps"):
        TrustRegionConfig(num_envs=4, num_steps=4, num_minibatches=7)
