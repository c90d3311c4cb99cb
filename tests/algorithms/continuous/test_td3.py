"""DDPG and TD3: Riccati's gain by the exact minimisers of their losses, smoothing, what explores, and a probe."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from purerl import rollout
from purerl.algorithms.continuous import td3 as parts
from purerl.algorithms.continuous.critics import critic_loss, of_action
from purerl.algorithms.continuous.experience import quiet
from purerl.algorithms.continuous.td3 import Actions, td3
from purerl.algorithms.continuous.td3_config import TD3Config, TD3Hypers
from purerl.envs import PROBES, scale_actions
from purerl.envs.lqr import lqr, problem
from purerl.kernels.linear_quadratic import riccati
from tests.support.ppo_setup import DISCRETE, busy_env, jit
from tests.support.quadratic import CRITICS, GAMMA, KEY, evaluated, newton, steps
from tests.support.training import train_with_falling_rate

LINEAR = Actions(None, lambda gain, obs: -obs @ gain[:, None])  # type: ignore[arg-type]
EXACT = TD3Hypers(gamma=GAMMA, smoothing_std=0.0)
DDPG: dict[str, Any] = {"num_critics": 1, "policy_delay": 1}
CASES: dict[str, tuple[dict[str, Any], int]] = {"ddpg": (DDPG, 1), "td3": ({}, 2)}


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("ddpg", "td3")
@pytest.mark.parametrize("name", CASES)
def test_gain_is_riccatis(name):
    """Critics that are quadratic and an actor that is linear: where the critics' targets are their own values and the
    actor's loss has its minimum, one after the other until nothing changes, the gain is that of Riccati's equation.
    There the critics' loss is 0, and so is the actor's gradient."""
    changes, size = CASES[name]
    config, batch, answer = TD3Config(**changes), steps(40), riccati(problem(), GAMMA)

    def target(gain: jax.Array, params: jax.Array) -> jax.Array:
        return parts.bellman_target(config, LINEAR, CRITICS, EXACT, gain, jnp.tile(params, (size, 1)), batch, KEY)[:, 0]

    def loss(gain: jax.Array, params: jax.Array) -> jax.Array:
        return parts.actor_loss(config, LINEAR, CRITICS, gain, jnp.tile(params, (size, 1)), batch.obs, KEY)[0]

    @jit
    def improve(gain: jax.Array) -> tuple[jax.Array, jax.Array]:
        params = evaluated(lambda params: target(gain, params), batch, 40)
        return newton(lambda gain: loss(gain, params), gain), params

    gain = jnp.zeros(2)
    for _ in range(8):
        gain, params = improve(gain)
    np.testing.assert_allclose(gain, answer.gain[0], rtol=1e-7)
    together = jnp.tile(params, (size, 1))
    predicted = of_action(CRITICS.values(together, batch.obs, batch.action, KEY), batch.action)
    assert critic_loss(config, 1.0, predicted, target(gain, params)[:, None])[0] < 1e-20
    np.testing.assert_allclose(jax.grad(loss)(answer.gain[0], params), 0, atol=1e-9)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("td3")
def test_smoothing_lowers_a_quadratic_value_by_the_variance_of_its_noise():
    """``E[Q(s, a + noise)] = Q(s, a) - M Var(noise)``, the noise being a clipped normal; by quadrature, and beside the
    bound of the action nothing is beyond it."""
    hypers, curvature = TD3Hypers(smoothing_std=0.3, smoothing_clip=0.4), 1.7
    grid = np.linspace(-8, 8, 20_001)
    weight = stats.norm.pdf(grid) * (grid[1] - grid[0])
    moved = np.asarray(parts.smoothed(hypers, jnp.full(grid.shape, 0.2), jnp.asarray(grid)))
    lowered = weight @ (curvature * (moved - 0.2) ** 2)
    inside, _ = integrate.quad(lambda z: (0.3 * z) ** 2 * stats.norm.pdf(z), -4 / 3, 4 / 3)
    variance = inside + 2 * 0.4**2 * stats.norm.sf(4 / 3)
    np.testing.assert_allclose(lowered, curvature * variance, rtol=1e-4)
    assert np.asarray(parts.smoothed(hypers, jnp.full(grid.shape, 0.9), jnp.asarray(grid))).max() == 1.0


@pytest.mark.covers("td3")
def test_targets_are_of_the_lesser_critic_and_end_where_the_episode_does():
    """Two critics that differ: the target is at most that of either; where the discount is 0 it is the reward."""
    batch = steps(6)
    batch = batch.replace(discount=batch.discount.at[0].set(0.0))
    params = jnp.asarray(np.random.default_rng(1).normal(size=(2, 7)), batch.obs.dtype)

    def target(params: jax.Array, **config: Any) -> np.ndarray:
        config = TD3Config(num_critics=len(params), **config)
        return np.asarray(parts.bellman_target(config, LINEAR, CRITICS, EXACT, jnp.ones(2), params, batch, KEY)[:, 0])

    both, first, second = target(params), target(params[:1]), target(params[1:])
    np.testing.assert_allclose(both, np.minimum(first, second), rtol=1e-6)
    np.testing.assert_allclose(both[0], batch.reward[0], rtol=1e-6)
    np.testing.assert_allclose(target(params, reduce="mean"), (first + second) / 2, rtol=1e-5)


@pytest.mark.covers("ddpg")
def test_what_is_played_does_not_depend_on_the_box():
    """Actions twice as wide, of an environment that halves them: the same steps, bit for bit; noise is in units of
    [-1, 1], lasts longer than a step, and begins anew with an episode."""
    hypers = TD3Hypers(noise_std=0.5, noise_theta=0.2)
    config = TD3Config(num_envs=3, num_steps=12, num_warmup_steps=300, replay_capacity=300)
    narrow = lqr(max_steps=5)

    def halved(key: jax.Array, state: Any, action: jax.Array) -> tuple:
        return narrow.step(key, state, action / 2)

    wide = narrow._replace(step=halved, action_space=lqr(largest_action=10.0).action_space)
    still = Actions(None, lambda params, obs: 0.1 * obs[:, :1])  # type: ignore[arg-type]

    def played(env: Any) -> Any:
        envs = rollout.reset(env, jax.random.key(1), 3, quiet(env))
        state: Any = parts.TD3State(*[()] * 6, envs, (), ())  # type: ignore[arg-type]
        return parts.collect(scale_actions(env), still, config, hypers, state, jax.random.key(2))[1]

    one, other = played(narrow), played(wide)
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(x, y)
    normal = np.asarray(jax.random.normal(jax.random.split(jax.random.key(2))[0], (12, 3, 1)))
    noise = np.zeros((3, 1))
    for t in range(12):
        noise = (0.8 * noise if t % 5 else 0.0) + 0.5 * np.sqrt(1 - 0.8**2) * normal[t]
        expected = np.clip(0.1 * np.asarray(one.obs[t, :, :1]) + noise, -1, 1)
        np.testing.assert_allclose(one.action[t], expected, atol=1e-6)


@pytest.mark.covers("td3")
def test_learns_the_probe_of_continuous_actions():
    """Reward ``-(a - o/2)^2``: the best action is half the observation, found within .1 by each of two seeds."""
    probe = PROBES["continuous-action"]
    config = TD3Config(
        num_envs=4, num_steps=4, hidden_sizes=(32,), batch_size=32, num_warmup_steps=64, replay_capacity=1024
    )
    env = probe.env()
    algorithm, hypers = td3(env, config), TD3Hypers(learning_rate=1e-2, actor_learning_rate=3e-3, tau=0.05)
    train = jit(jax.vmap(lambda key: train_with_falling_rate(algorithm, hypers, key, 200)))
    states = train(jax.random.split(KEY, 2))
    actor = parts.make_actor(env, config)
    obs = jnp.array([[-1.0], [1.0]])
    for seed in range(2):
        params = jax.tree.map(lambda x, seed=seed: x[seed], states.actor_params)
        np.testing.assert_allclose(actor.best(params, obs), obs / 2, atol=0.1)


def test_discrete_actions_are_refused():
    """The error names the environment and what would do."""
    with pytest.raises(ValueError, match=r"busy: TD3 needs a Box of one axis, but the action space is Discrete"):
        td3(busy_env(DISCRETE))
