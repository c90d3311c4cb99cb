"""Returns, lambda-returns and generalised advantages are weighted sums of one another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.returns import discounted_returns, gae, lambda_returns, n_step_returns, td_errors

GAMMA = 0.9
T = 6  # steps
END = 2  # where the lanes "terminated" and "truncated" end their first episode

pytestmark = pytest.mark.usefixtures("x64")


@pytest.fixture
def rollout(x64):
    """Four lanes of T steps: never ending, terminated at END, truncated at END, terminated at the last."""
    rng = np.random.default_rng(0)
    reward = rng.normal(size=(T, 4))
    path_value = rng.normal(size=(T + 1, 4))
    value, next_value = path_value[:-1], path_value[1:].copy()
    terminated, truncated = np.zeros((T, 4), bool), np.zeros((T, 4), bool)
    terminated[END, 1] = truncated[END, 2] = terminated[-1, 3] = True
    # What an episode ends in is not what the next one starts from.
    next_value[END, 1:3] = rng.normal(size=2)
    return [jnp.asarray(x) for x in (reward, value, next_value, terminated, truncated)]


def episode_last_step(terminated, truncated):
    """The step that ends the episode (or the rollout) to which step t belongs, ``[T, B]``."""
    last = np.full(terminated.shape, T - 1)
    for t in reversed(range(T - 1)):
        last[t] = np.where(terminated[t] | truncated[t], t, last[t + 1])
    return last


@pytest.mark.covers("returns")
def test_return_is_the_discounted_sum_and_obeys_its_recursion(rollout):
    """G_t equals the discounted sum up to the episode's end, and G_t = r_t + g G_{t+1} inside an episode."""
    reward, _, next_value, terminated, truncated = rollout
    returns = np.asarray(discounted_returns(reward, next_value, terminated, truncated, GAMMA))
    last = episode_last_step(np.asarray(terminated), np.asarray(truncated))
    expected = np.zeros_like(returns)
    for t, lane in np.ndindex(returns.shape):
        end = last[t, lane]
        tail = GAMMA ** (end + 1 - t) * next_value[end, lane] * (1 - terminated[end, lane])
        expected[t, lane] = sum(GAMMA ** (k - t) * reward[k, lane] for k in range(t, end + 1)) + tail
    np.testing.assert_allclose(returns, expected, atol=1e-12)
    inside = ~np.asarray(terminated | truncated)[:-1]
    recursion = np.asarray(reward)[:-1] + GAMMA * returns[1:]
    np.testing.assert_allclose(returns[:-1][inside], recursion[inside], atol=1e-12)


@pytest.mark.covers("returns")
def test_constant_reward_attains_the_bound_of_the_return():
    """|G| <= R_max / (1-g), with equality for a constant reward and the value it is worth."""
    reward, never = jnp.full((T, 1), 2.0), jnp.zeros((T, 1), bool)
    bound = 2.0 / (1 - GAMMA)
    attained = discounted_returns(reward, jnp.full((T, 1), bound), never, never, GAMMA)
    np.testing.assert_allclose(attained, bound, atol=1e-12)
    signs = jnp.asarray(np.random.default_rng(0).choice([-1.0, 1.0], (T, 1)))
    mixed = discounted_returns(signs * reward, jnp.full((T, 1), bound), never, never, GAMMA)
    assert np.all(np.abs(mixed) <= bound)


@pytest.mark.covers("gae", "lambda-return")
@pytest.mark.parametrize("lambda_", [0.0, 0.4, 0.95, 1.0])
def test_lambda_weighs_n_step_estimates(rollout, lambda_):
    """GAE and lambda-return are (1-lam) lam^(n-1) means of n-step estimates, the longest with the tail."""
    reward, value, next_value, terminated, truncated = rollout
    weights = np.append((1 - lambda_) * lambda_ ** np.arange(T - 1), lambda_ ** (T - 1))
    np.testing.assert_allclose(weights.sum(), 1, atol=1e-12)
    n_step = [n_step_returns(reward, next_value, terminated, truncated, GAMMA, n) for n in range(1, T + 1)]
    mean = np.einsum("n,ntb->tb", weights, np.asarray(n_step))
    target = lambda_returns(reward, next_value, terminated, truncated, GAMMA, lambda_)
    advantage = gae(reward, value, next_value, terminated, truncated, GAMMA, lambda_)
    np.testing.assert_allclose(target, mean, atol=1e-12)
    np.testing.assert_allclose(advantage, mean - np.asarray(value), atol=1e-12)


@pytest.mark.covers("gae")
def test_tail_weight_is_needed_for_finite_episodes():
    """The longest of N estimates weighs lam^(N-1), also in GAE; without it N = 4, lam = 0.7 sum to 0.76."""
    lambda_, num_terms = 0.7, 4
    untailed = (1 - lambda_) * lambda_ ** np.arange(num_terms)
    np.testing.assert_allclose(untailed.sum(), 1 - lambda_**num_terms)
    assert round(untailed.sum(), 2) == 0.76
    # One reward at the end, V = 0: every n-step advantage of step 0 is zero but the last, the full return.
    reward = jnp.zeros((num_terms, 1)).at[-1].set(1.0)
    zero, never = jnp.zeros((num_terms, 1)), jnp.zeros((num_terms, 1), bool)
    advantage = gae(reward, zero, zero, never.at[-1].set(True), never, 1.0, lambda_)
    np.testing.assert_allclose(advantage[0, 0], lambda_ ** (num_terms - 1), atol=1e-12)


@pytest.mark.covers("gae")
def test_lambda_0_is_td_and_lambda_1_is_monte_carlo(rollout):
    """lam = 0 gives the TD error, lam = 1 the return minus the value, across terminations and truncations."""
    reward, value, next_value, terminated, truncated = rollout
    one_step = gae(reward, value, next_value, terminated, truncated, GAMMA, 0.0)
    np.testing.assert_allclose(one_step, td_errors(reward, value, next_value, terminated, GAMMA), atol=1e-12)
    full = gae(reward, value, next_value, terminated, truncated, GAMMA, 1.0)
    returns = discounted_returns(reward, next_value, terminated, truncated, GAMMA)
    np.testing.assert_allclose(full, returns - value, atol=1e-12)


@pytest.mark.covers("gae", "adv-est")
@pytest.mark.parametrize("n", [1, 2, 4, T])
def test_n_step_advantage_telescopes(rollout, n):
    """G^(n) - V equals the discounted sum of the next n TD errors, cut at the episode's end."""
    reward, value, next_value, terminated, truncated = rollout
    delta = np.asarray(td_errors(reward, value, next_value, terminated, GAMMA))
    last = episode_last_step(np.asarray(terminated), np.asarray(truncated))
    expected = np.zeros_like(delta)
    for t, lane in np.ndindex(delta.shape):
        steps = np.arange(t, min(t + n - 1, last[t, lane]) + 1)
        expected[t, lane] = (GAMMA ** (steps - t) * delta[steps, lane]).sum()
    n_step = n_step_returns(reward, next_value, terminated, truncated, GAMMA, n)
    np.testing.assert_allclose(n_step - value, expected, atol=1e-12)


@pytest.mark.covers("lambda-return")
@pytest.mark.parametrize("lambda_", [0.0, 0.6, 1.0])
def test_lambda_return_recursion(rollout, lambda_):
    """G^lam_t = r_t + g ((1-lam) V(s_{t+1}) + lam G^lam_{t+1}) inside an episode."""
    reward, _, next_value, terminated, truncated = rollout
    target = np.asarray(lambda_returns(reward, next_value, terminated, truncated, GAMMA, lambda_))
    mixed = (1 - lambda_) * np.asarray(next_value)[:-1] + lambda_ * target[1:]
    inside = ~np.asarray(terminated | truncated)[:-1]
    np.testing.assert_allclose(target[:-1][inside], (np.asarray(reward)[:-1] + GAMMA * mixed)[inside], atol=1e-12)


@pytest.mark.covers("lambda-return", "gae")
def test_weights_sum_to_one_where_all_estimates_agree(rollout):
    """If r_t = V(s_t) - g V(s_{t+1}), all n-step returns are V(s_t): so is any mean of them, and GAE is 0."""
    _, value, next_value, terminated, truncated = rollout
    reward = value - GAMMA * next_value * ~terminated

    def both(lambda_: jax.Array) -> tuple[jax.Array, jax.Array]:
        target = lambda_returns(reward, next_value, terminated, truncated, GAMMA, lambda_)
        return target, gae(reward, value, next_value, terminated, truncated, GAMMA, lambda_)

    targets, advantages = jax.vmap(both)(jnp.linspace(0.0, 1.0, 5))
    np.testing.assert_allclose(targets, np.broadcast_to(value, targets.shape), atol=1e-12)
    np.testing.assert_allclose(advantages, 0, atol=1e-12)
