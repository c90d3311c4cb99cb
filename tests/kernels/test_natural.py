"""Natural gradients against dense matrices and closed forms, in double precision."""

from typing import NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.distributions import Gaussian, categorical, gaussian
from purerl.kernels.natural import backtrack, fisher_product, natural_step
from tests.oracles import mdp as oracle

pytestmark = pytest.mark.usefixtures("x64")


def mean_kl(pi):
    return lambda old, new: jnp.mean(pi.kl(old, new))


def dense(product, params):
    """The matrix of a product, column by column."""
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    column = jax.vmap(lambda v: jax.flatten_util.ravel_pytree(product(unravel(v)))[0])
    return np.asarray(column(jnp.eye(flat.size)))


class Tabular(NamedTuple):
    """A policy's logits ``[S, A]`` in an MDP, with what exact averages under it need."""

    theta: jax.Array  # [S, A]
    visits: jax.Array  # [S]
    advantage: jax.Array  # [S, A]

    def kl(self, old, new):
        return jnp.sum(self.visits * categorical.kl(old, new))

    def surrogate(self, new):
        weight = self.visits[:, None] * jax.nn.softmax(self.theta)
        ratio = jnp.exp(jax.nn.log_softmax(new) - jax.nn.log_softmax(self.theta))
        return jnp.sum(weight * ratio * self.advantage)

    def gradient(self):
        return jax.grad(self.surrogate)(self.theta)

    def product(self):
        return fisher_product(lambda x: x, self.kl, self.theta)


def tabular(mdp, theta) -> Tabular:
    policy = oracle.softmax(np.asarray(theta))
    values = oracle.visitation(mdp, policy), oracle.values(mdp, policy).advantage
    return Tabular(*map(jnp.asarray, (theta, *values)))


def problem(seed):
    mdp = oracle.random_mdp(seed)
    return mdp, tabular(mdp, oracle.random_logits(seed, mdp))


@jax.jit
def exact_step(table, radius, damping=0.0):
    return natural_step(table.gradient(), table.product(), radius, 20, damping)


@jax.jit
def exact_search(table, radius):
    def evaluate(new):
        return table.surrogate(new), table.kl(table.theta, new)

    return backtrack(evaluate, table.theta, exact_step(table, radius), radius, 0.8, 10)


@pytest.mark.covers("trpo")
def test_fisher_product_is_the_second_derivative_of_the_mean_kl():
    """F = Hessian of KL(old;new) of a small network, Gaussian, and categorical with an action that is not legal."""
    rng = np.random.default_rng(0)
    obs, params = jnp.asarray(rng.normal(size=(5, 2))), {"w": jnp.asarray(rng.normal(size=(2, 3))), "s": jnp.ones(3)}

    def logits(params):
        return jnp.where(jnp.arange(3) == 1, -jnp.inf, jnp.tanh(obs @ params["w"]) * params["s"])

    def normal(params):
        return Gaussian(jnp.tanh(obs @ params["w"]), jnp.broadcast_to(0.3 * params["s"], (5, 3)))

    for pi, policy in ((categorical, logits), (gaussian, normal)):
        flat, unravel = jax.flatten_util.ravel_pytree(params)
        hessian = jax.hessian(lambda x: mean_kl(pi)(policy(params), policy(unravel(x))))(flat)  # noqa: B023
        found = dense(fisher_product(policy, mean_kl(pi), params), params)
        np.testing.assert_allclose(found, hessian, atol=1e-12)
        assert np.linalg.eigvalsh(found).min() > -1e-12 and np.abs(found).max() > 0.01


@pytest.mark.covers("trpo")
def test_fisher_matrix_of_a_gaussian():
    """With respect to mean and log-deviation: diagonal, 1/sigma^2 and 2."""
    log_std = jnp.asarray([-1.0, 0.5])
    params = Gaussian(jnp.zeros(2), log_std)
    found = dense(fisher_product(lambda p: p, gaussian.kl, params), params)
    np.testing.assert_allclose(found, np.diag([*np.exp(-2 * log_std), 2.0, 2.0]), atol=1e-12)


@pytest.mark.covers("trpo")
@pytest.mark.parametrize("seed", [0, 1])
def test_natural_gradient_of_a_softmax_table_in_closed_form(seed):
    """F x = grad L is solved by x = A + c(s): steps multiply pi by exp(eta A), and J rises for a step of any length."""
    mdp, table = problem(seed)
    theta, advantage = np.asarray(table.theta), np.asarray(table.advantage)
    radius = np.sum(table.gradient() * advantage) / 2  # such that the step is the solution itself
    x = np.asarray(exact_step(table, radius))
    np.testing.assert_allclose(x - advantage, np.broadcast_to((x - advantage)[:, :1], x.shape), atol=1e-4)
    objective = oracle.objective(mdp, oracle.softmax(theta))
    for eta in (0.1, 1.0, 30.0):
        expected = oracle.softmax(theta + eta * advantage)
        np.testing.assert_allclose(oracle.softmax(theta + eta * x), expected, atol=1e-3)
        assert oracle.objective(mdp, expected) > objective


@pytest.mark.covers("trpo")
def test_step_has_the_divergence_of_its_radius_to_second_order():
    """KL(old;new) / radius -> 1 as the radius falls; no step of that length gains more; damping shortens it."""
    _, table = problem(0)
    theta, gradient, product = table.theta, table.gradient(), dense(table.product(), table.theta)
    errors = [abs(table.kl(theta, theta + exact_step(table, radius)) / radius - 1) for radius in (1e-2, 1e-4, 1e-6)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-2
    gain = np.vdot(gradient, exact_step(table, 1e-6))
    for other in np.random.default_rng(0).normal(size=(20, theta.size)):
        assert np.sqrt(2e-6 / (other @ product @ other)) * np.vdot(gradient, other) < gain
    damped = np.ravel(exact_step(table, 1e-6, 0.1))
    assert 0 < damped @ product @ damped / 2 < 0.9e-6
    np.testing.assert_array_equal(exact_step(table, 0.0), 0 * theta)
    np.testing.assert_array_equal(exact_step(table._replace(advantage=0 * table.advantage), 0.1), 0 * theta)


@pytest.mark.covers("trpo")
def test_search_takes_the_first_step_that_gains_inside_the_region():
    """On 2 x - x^2 with divergence x^2, from 0 by 4: halved to 1 for a radius of 2, and to 1/4 for .1."""
    search = jax.jit(lambda radius: backtrack(lambda x: (2 * x - x**2, x**2), 0.0 * radius, 4.0, radius, 0.5, 10))
    for radius, end, fraction in ((2.0, 1.0, 0.25), (0.1, 0.25, 1 / 16), (100.0, 1.0, 0.25)):
        np.testing.assert_allclose(search(radius), (end, fraction, 2 * end - end**2, end**2), rtol=1e-12)


@pytest.mark.covers("trpo")
def test_failed_search_leaves_every_bit():
    """A radius too small for three trials or 0, no gain, NaN: the old parameters bit for bit, and no step at all."""
    params = {"w": jnp.asarray([-0.0, 1.1, 1e-40], jnp.float32), "b": jnp.asarray(0.1)}

    @jax.jit
    def search(gain, divergence, radius, step):
        def evaluate(new):
            return gain * (new["b"] - params["b"]), divergence * (new["b"] - params["b"])

        return backtrack(evaluate, params, jax.tree.map(lambda x: step * jnp.ones_like(x), params), radius, 0.5, 3)

    nan = jnp.nan
    failures = [(1, 1, 0.001, 1), (1, 1, 0, 1), (-1, 1, 9, 1), (nan, 1, 9, 1), (1, nan, 9, 1), (1, 1, 9, nan)]
    for case in failures:
        found = search(*map(float, case))
        for old, new in zip(jax.tree.leaves(params), jax.tree.leaves(found.params), strict=True):
            assert old.dtype == new.dtype and np.asarray(old).tobytes() == np.asarray(new).tobytes()
        assert found.fraction == found.gain == found.divergence == 0
    assert search(1.0, 1.0, 9.0, 1.0).fraction == 1 and search(1.0, 1.0, 0.3, 1.0).fraction == 0.25


@pytest.mark.covers("trpo", "surrogate")
@pytest.mark.parametrize("seed", [0, 1])
def test_exact_trust_region_steps_obey_the_bound(seed):
    """Ten exact steps: mean KL(old;new) <= delta, abs(J' - J - L/(1-g)) <= 2 g eps max KL/(1-g)^2, and J rises."""
    mdp, table = problem(seed)
    for _ in range(10):
        found = exact_search(table, 0.01)
        old, new = (oracle.softmax(np.asarray(x)) for x in (table.theta, found.params))
        kl, difference = oracle.kl(old, new), oracle.objective(mdp, new) - oracle.objective(mdp, old)
        np.testing.assert_allclose(found.divergence, table.visits @ kl, rtol=1e-6)
        assert 0 < found.divergence <= 0.01 and found.gain > 0 and difference > 0
        bound = 2 * mdp.gamma * np.abs(table.advantage).max() * kl.max() / (1 - mdp.gamma) ** 2
        assert abs(difference - found.gain / (1 - mdp.gamma)) <= bound
        table = tabular(mdp, found.params)
