"""Q-learning's targets: against rlax, hand values, their limits, and their symmetries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from purerl.kernels import exploration, targets
from purerl.kernels.surrogates import value_loss
from tests.oracles import mdp as oracle_mdp
from tests.oracles import targets as oracle

B, A, GAMMA = 7, 4, 0.9

pytestmark = pytest.mark.usefixtures("x64")


def batch(seed: int = 0):
    """Rewards, discounts (some 0), actions, and three tables of action values, as JAX arrays."""
    rng = np.random.default_rng(seed)
    discount = GAMMA ** rng.integers(1, 4, B) * (rng.uniform(size=B) < 0.7)
    values = rng.normal(size=(3, B, A))
    return jax.tree.map(jnp.asarray, (rng.normal(size=B), discount, rng.integers(A, size=B), *values))


NEXT_VALUES = {
    "max": lambda q, other: targets.max_value(q),
    "double": targets.double_value,
    "expected": lambda q, other: targets.expected_value(q, jax.nn.softmax(other)),
    "soft": lambda q, other: targets.soft_value(q, 0.3),
}


@pytest.mark.covers("dqn", "double-dqn", "nstep-dqn")
@pytest.mark.parametrize("name", ["max", "double", "expected"])
def test_td_errors_agree_with_rlax(name):
    """Target minus the taken value, against rlax's q_learning, double_q_learning and expected_sarsa, row by row."""
    reward, discount, action, q, next_q, other = batch()
    peers = {
        "max": lambda q, a, r, d, next_q, _: rlax.q_learning(q, a, r, d, next_q),
        "double": rlax.double_q_learning,
        "expected": lambda q, a, r, d, next_q, other: rlax.expected_sarsa(q, a, r, d, next_q, jax.nn.softmax(other)),
    }
    ours = targets.td_target(reward, discount, NEXT_VALUES[name](next_q, other)) - targets.select_action_value(
        q, action
    )
    expected = jax.vmap(peers[name])(q, action, reward, discount, next_q, other)
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.covers("dqn", "double-dqn", "nstep-dqn")
def test_td_targets_by_hand():
    """Two rewards of a three-step window, then termination or not: 1 + 0.5 * 2 + 0.25 * V, or without V."""
    q, selector = jnp.array([[3.0, 8.0], [3.0, jnp.nan]]), jnp.array([[1.0, 0.0], [0.0, 1.0]])
    reward, discount = jnp.array([2.0, 2.0]), jnp.array([0.25, 0.0])
    np.testing.assert_array_equal(targets.td_target(reward, discount, targets.max_value(q)), [4.0, 2.0])
    np.testing.assert_array_equal(targets.td_target(reward, discount, targets.double_value(q, selector)), [2.75, 2.0])


def test_select_action_value_finds_the_axis_of_actions():
    """``[..., A]`` and ``[..., A, N]``, with no, one and two leading axes, against indexing one by one."""
    x, action = np.random.default_rng(0).normal(size=(2, 3, 4, 5)), np.array([[0, 3, 1], [2, 2, 0]])
    for tail in (x, x[..., 0]):
        expected = np.stack([[tail[i, j, action[i, j]] for j in range(3)] for i in range(2)])
        np.testing.assert_array_equal(targets.select_action_value(jnp.asarray(tail), jnp.asarray(action)), expected)
        np.testing.assert_array_equal(
            targets.select_action_value(jnp.asarray(tail[0]), jnp.asarray(action[0])), expected[0]
        )
        np.testing.assert_array_equal(
            targets.select_action_value(jnp.asarray(tail[0, 1]), jnp.asarray(action[0, 1])), expected[0, 1]
        )


def test_shapes_that_would_broadcast_are_refused():
    """``[B]`` against ``[B, 1]`` is an error, not a ``[B, B]`` table."""
    reward, discount, action, q, _, _ = batch()
    for wrong in (
        lambda: targets.td_target(reward[:, None], discount, targets.max_value(q)),
        lambda: targets.td_target(reward, discount, targets.max_value(q)[:, None]),
        lambda: targets.select_action_value(q, action[:, None]),
        lambda: targets.double_value(q, q[0]),
        lambda: targets.expected_value(q, q[0]),
    ):
        with pytest.raises(AssertionError):
            wrong()


@pytest.mark.covers("double-dqn")
def test_double_never_exceeds_max_and_equals_it_for_equal_tables():
    """The other table's choice is worth at most the best, over random tables; the same table chooses the best."""
    _, _, _, q, other, _ = batch(1)
    gap = targets.max_value(q) - targets.double_value(q, other)
    assert gap.min() >= 0 and gap.max() > 0.1
    np.testing.assert_array_equal(targets.double_value(q, q), targets.max_value(q))


@pytest.mark.parametrize("name", NEXT_VALUES)
def test_shifts_and_permutations(name):
    """Adding c to all values adds c; renaming the actions changes nothing."""
    _, _, _, q, other, _ = batch(2)
    value, order = NEXT_VALUES[name](q, other), jnp.array([2, 0, 3, 1])
    np.testing.assert_allclose(NEXT_VALUES[name](q + 5.0, other), value + 5.0, rtol=1e-12)
    np.testing.assert_allclose(NEXT_VALUES[name](q[:, order], other[:, order]), value, rtol=1e-12)


def test_expected_value_of_a_greedy_policy_is_max():
    """Under a one-hot policy, infinities and NaN of actions that are never taken do not matter."""
    _, _, _, q, _, _ = batch(3)
    np.testing.assert_allclose(targets.expected_value(q, exploration.greedy(q)), targets.max_value(q), rtol=1e-12)
    policy, wild = jnp.array([0.5, 0.5, 0.0, 0.0]), jnp.array([1.0, 3.0, -jnp.inf, jnp.nan])
    assert targets.expected_value(wild, policy) == 2.0


def test_soft_value_is_value_plus_entropy_and_tends_to_max():
    """Against E[q - tau log pi] in NumPy; between max and max + tau log A; max at tau = 0; illegal actions drop out."""
    _, _, _, q, _, _ = batch(4)
    for temperature in (0.01, 0.3, 10.0):
        soft = targets.soft_value(q, temperature)
        np.testing.assert_allclose(soft, oracle.soft_value(np.asarray(q), temperature), rtol=1e-10)
        excess = soft - targets.max_value(q)
        assert excess.min() >= 0 and excess.max() <= temperature * np.log(A) + 1e-12
    np.testing.assert_array_equal(targets.soft_value(q, 0.0), targets.max_value(q))
    illegal = jnp.concatenate([q, jnp.full((B, 1), -jnp.inf)], axis=1)
    np.testing.assert_allclose(targets.soft_value(illegal, 0.3), targets.soft_value(q, 0.3), rtol=1e-12)


def test_soft_value_is_the_best_any_policy_can_do():
    """No random policy has more value plus entropy, softmax(q / tau) has as much, and the gradient is that policy."""
    _, _, _, q, _, _ = batch(5)
    soft, best = targets.soft_value(q, 0.5), exploration.boltzmann(q, 0.5)
    for policy in (*jnp.asarray(np.random.default_rng(0).dirichlet(np.ones(A), (50, B))), best):
        objective = targets.expected_value(q - 0.5 * jnp.log(policy), policy)
        assert np.all(objective <= soft + 1e-12)
    np.testing.assert_allclose(objective, soft, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(jax.grad(lambda q: targets.soft_value(q, 0.5).sum()))(q), best, rtol=1e-10)


@pytest.mark.parametrize("temperature", [0.0, 0.3, 2.0])
def test_double_soft_value(temperature):
    """Of one table it is the soft value, of two what the policy of one is worth by the other, and never more; cold, the
    double value."""
    _, _, _, q, other, _ = batch()
    np.testing.assert_allclose(
        targets.double_soft_value(q, q, temperature), targets.soft_value(q, temperature), rtol=1e-12
    )
    found = np.asarray(targets.double_soft_value(q, other, temperature))
    assert np.all(found <= np.asarray(targets.soft_value(q, temperature)) + 1e-12)
    if temperature == 0:
        np.testing.assert_allclose(found, targets.double_value(q, other), rtol=1e-12)
    else:
        policy = np.exp(np.asarray(other) / temperature)
        policy /= policy.sum(axis=-1, keepdims=True)
        expected = np.sum(policy * (np.asarray(q) - temperature * np.log(policy)), axis=-1)
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_munchausen_bonus():
    """alpha tau log pi by log_softmax, clipped from below; 0 at alpha = 0; the advantage at tau = 0; shift-free."""
    _, _, action, q, _, _ = batch(6)
    q, tau, alpha = 3 * q, 0.3, 0.9
    log_policy = targets.select_action_value(jax.nn.log_softmax(q / tau), action)
    bonus = targets.munchausen_bonus(q, action, tau, alpha)
    assert np.min(tau * log_policy) < -1 < np.max(tau * log_policy)  # some are clipped, some are not
    np.testing.assert_allclose(bonus, alpha * np.maximum(tau * log_policy, -1.0), rtol=1e-10)
    np.testing.assert_allclose(targets.munchausen_bonus(q + 3.0, action, tau, alpha), bonus, rtol=1e-10)
    np.testing.assert_array_equal(targets.munchausen_bonus(q, action, tau, 0.0), 0.0)
    advantage = targets.select_action_value(q, action) - targets.max_value(q)
    np.testing.assert_allclose(targets.munchausen_bonus(q, action, 0.0, 1.0, lowest=-100.0), advantage, rtol=1e-12)
    np.testing.assert_array_equal(targets.munchausen_bonus(jnp.array([0.0, -jnp.inf]), jnp.array(1), tau, alpha), -0.9)


def test_munchausen_target_by_hand():
    """Two actions of values (0, tau log 3): pi = (1/4, 3/4), so the bonus of the first is alpha tau log(1/4)."""
    tau, alpha = 0.5, 0.8
    q = jnp.array([0.0, tau * jnp.log(3.0)])
    reward = 1.0 + targets.munchausen_bonus(q, jnp.array(0), tau, alpha)
    target = targets.td_target(reward, jnp.array(0.9), targets.soft_value(q, tau))
    np.testing.assert_allclose(target, 1.0 + alpha * tau * np.log(1 / 4) + 0.9 * tau * np.log(4), rtol=1e-12)


def test_targets_are_finite_and_differentiable_in_single_precision():
    """Tiny and zero temperatures with far apart values, float32: values and gradients finite, and dtypes kept."""
    q = jnp.array([[1e4, -1e4, 0.0], [2.0, 2.0, 2.0]], jnp.float32)
    for temperature in (0.0, 1e-6, 0.03):
        temperature = jnp.float32(temperature)

        def total(q, temperature=temperature):
            return (
                targets.soft_value(q, temperature) + targets.munchausen_bonus(q, jnp.array([1, 0]), temperature, 0.9)
            ).sum()

        value, gradient = jax.jit(jax.value_and_grad(total))(q)
        assert value.dtype == gradient.dtype == jnp.float32
        assert np.isfinite(value) and np.all(np.isfinite(gradient))


@pytest.mark.covers("dqn")
def test_semi_gradient_and_residual_gradient_point_apart():
    """V = w s, w = s = 1, s' = 2, r = 0, gamma = 0.9: (y - V)^2 has gradient -1.6 if y is held fixed, else +1.28."""

    def loss(w, stop):
        target = targets.td_target(jnp.array(0.0), jnp.array(0.9), stop(2.0 * w))
        return 2 * value_loss(1.0 * w, target)

    w = jnp.array(1.0)
    np.testing.assert_allclose(jax.grad(loss)(w, jax.lax.stop_gradient), -1.6, rtol=1e-12)
    np.testing.assert_allclose(jax.grad(loss)(w, lambda x: x), 1.28, rtol=1e-12)


@pytest.mark.covers("dqn")
def test_one_gradient_step_on_a_table_is_one_q_learning_sweep():
    """All (s, a) of a random process at once: a step of eta S A on the mean loss moves Q by eta (T Q - Q)."""
    mdp, eta = oracle_mdp.random_mdp(0), 0.3
    q = np.random.default_rng(1).normal(size=mdp.reward.shape)
    state, action = (x.ravel() for x in np.indices(q.shape))
    next_value = (mdp.transition @ q.max(-1))[state, action]

    def loss(table):
        target = targets.td_target(
            jnp.asarray(mdp.reward[state, action]), jnp.full(state.shape, mdp.gamma), jnp.asarray(next_value)
        )
        return value_loss(targets.select_action_value(table[state], jnp.asarray(action)), target).mean()

    moved = q - eta * q.size * jax.grad(loss)(jnp.asarray(q))
    bellman = mdp.reward + mdp.gamma * mdp.transition @ q.max(-1)
    np.testing.assert_allclose(moved, q + eta * (bellman - q), rtol=1e-12)


def test_rescale_agrees_with_rlax_and_is_inverted():
    """Against rlax's pair over sixteen decades of both signs; odd; increasing; inverted for epsilon = 0 too."""
    x = jnp.concatenate([-jnp.logspace(8, -8, 33), jnp.zeros(1), jnp.logspace(-8, 8, 33)])
    np.testing.assert_allclose(targets.rescale(x), rlax.signed_hyperbolic(x), rtol=1e-6, atol=1e-15)
    y = jnp.linspace(-50, 50, 41)
    np.testing.assert_allclose(targets.rescale_inverse(y), rlax.signed_parabolic(y), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(targets.rescale(-x), -targets.rescale(x))
    assert np.all(np.diff(targets.rescale(x)) > 0)
    for epsilon in (0.0, 1e-3, 1e-2):
        np.testing.assert_allclose(targets.rescale_inverse(targets.rescale(x, epsilon), epsilon), x, rtol=1e-12)


def test_rescale_loses_no_digits_in_single_precision():
    """There and back in float32 within a few roundings over sixteen decades; slopes at 0 are finite and reciprocal."""
    x = jnp.concatenate([jnp.zeros(1), jnp.logspace(-8, 8, 33)]).astype(jnp.float32)
    there = targets.rescale(x)
    back = targets.rescale_inverse(there)
    assert there.dtype == back.dtype == jnp.float32
    np.testing.assert_allclose(back, x, rtol=2e-6)
    slope, slope_back = jax.grad(targets.rescale)(0.0), jax.grad(targets.rescale_inverse)(0.0)
    np.testing.assert_allclose([slope, slope * slope_back], [0.501, 1.0], rtol=1e-12)
