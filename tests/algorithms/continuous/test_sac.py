"""SAC: the soft solutions of a linear-quadratic problem and of tables, by the exact minimisers of its losses."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp as mdps
from purerl.algorithms.continuous import sac as parts
from purerl.algorithms.continuous.critics import Critics
from purerl.algorithms.continuous.sac import Options, Policy, sac
from purerl.algorithms.continuous.sac_config import SACConfig, SACHypers
from purerl.algorithms.tabular.dynamic_programming import value_iteration
from purerl.data.transitions import NStepTransition
from purerl.envs import make
from purerl.envs.lqr import lqr, problem
from purerl.kernels import linear_quadratic as lq
from purerl.kernels.distributions import Gaussian, gaussian
from purerl.nets.actions import Actor
from tests.support.ppo_setup import differs, jit
from tests.support.quadratic import CRITICS, GAMMA, KEY, evaluated, newton, steps

pytestmark = pytest.mark.usefixtures("x64")

# --- linear-quadratic -------------------------------------------------------------------------------------


def _options(params: jax.Array, obs: jax.Array, noise: jax.Array) -> Options:
    pi = Gaussian(-obs @ params[:2, None], params[2:])
    action = gaussian.sample(pi, noise)
    log_prob = gaussian.log_prob(pi, action)[:, None]
    return Options(action, jnp.ones_like(log_prob), log_prob)


# A normal distribution that is not squashed. Its noise is 1 in one half of a batch and -1 in the other, where the same
# states come again: all expectations of what is quadratic are then exact.
UNSQUASHED = Policy(
    None,  # type: ignore[arg-type]
    lambda key, shape: jnp.where(jnp.arange(shape[0]) < shape[0] // 2, 1.0, -1.0)[:, None],
    None,  # type: ignore[arg-type]
    _options,
    None,  # type: ignore[arg-type]
)
ONE = SACConfig(num_critics=1)


@pytest.mark.covers("sac")
def test_soft_control_of_a_linear_quadratic_problem():
    """Critics where targets are their own values, an actor where its loss is least, in turns: the mean's gain is
    Riccati's at any temperature, and the policy's variance is ``alpha / 2 M``. There ``alpha`` is the closed form for
    the policy's entropy; its loss is at rest if that is the target, and moves it up for a larger target and down for
    a smaller one."""
    batch, answer = steps(40, copies=2), lq.riccati(problem(), GAMMA)

    def target(actor: jax.Array, alpha: jax.Array, params: jax.Array) -> jax.Array:
        options = _options(actor, batch.next_obs, UNSQUASHED.noise(KEY, batch.reward.shape))
        value = CRITICS.values(params[None], batch.next_obs, options.action, KEY)
        return parts.soft_target(ONE, value, options, alpha, batch)[:, 0]

    def loss(actor: jax.Array, alpha: jax.Array, params: jax.Array) -> Any:
        return parts.actor_loss(ONE, UNSQUASHED, CRITICS, actor, params[None], alpha, batch.obs, KEY)

    @jit
    def improve(actor: jax.Array, alpha: jax.Array) -> jax.Array:
        params = evaluated(lambda params: target(actor, alpha, params), batch, 40)
        for _ in range(6):
            actor = newton(lambda actor: loss(actor, alpha, params)[0], actor)
        return actor

    for alpha in (0.3, 0.05):
        variance = lq.soft_covariance(answer.curvature, alpha)[0, 0]
        actor = jnp.array([0.0, 0.0, 0.5 * np.log(variance) + 0.3])
        for _ in range(8):
            actor = improve(actor, jnp.asarray(alpha))
        np.testing.assert_allclose(actor[:2], answer.gain[0], rtol=1e-6)
        np.testing.assert_allclose(jnp.exp(2 * actor[2]), variance, rtol=1e-6)
        entropy = loss(actor, jnp.asarray(alpha), jnp.zeros(7))[1]
        np.testing.assert_allclose(lq.soft_temperature(answer.curvature, entropy), alpha, rtol=1e-6)
        slope = jax.grad(lambda log_alpha, aim, entropy=entropy: parts.temperature_loss(log_alpha, entropy, aim)[0])
        assert slope(0.0, entropy) == 0 and slope(0.0, entropy - 0.1) > 0 > slope(0.0, entropy + 0.1)


# --- tables -----------------------------------------------------------------------------------------------

MDP = mdps.random_mdp(jax.random.key(7), 6, 3, gamma=GAMMA, branching=1, num_terminal=1)
TABLE = parts.discrete_policy(SimpleNamespace(init=None, apply=lambda logits, obs: logits[obs], num_outputs=3))  # type: ignore[arg-type]
TABLES = Critics(None, lambda params, obs, action, key: params[:, obs][..., None])  # type: ignore[arg-type]


def _every_step() -> NStepTransition:
    """Each action in each state: where it leads, which is one state."""
    state, action = (x.ravel() for x in np.meshgrid(np.arange(6), np.arange(3), indexing="ij"))
    transition, reward = np.asarray(MDP.transition), np.asarray(MDP.reward)
    after = transition[state, action].argmax(axis=-1)
    discount = np.where(np.asarray(MDP.terminal)[after], 0.0, GAMMA)
    return NStepTransition(*map(jnp.asarray, (state, action, reward[state, action, after], discount, after)))


@pytest.mark.covers("sac")
@pytest.mark.parametrize("alpha", [0.5, 1e-3])
def test_discrete_actions_lead_to_soft_value_iteration(alpha):
    """The minimum of the actor's loss is ``softmax(Q / alpha)``, where its gradient is 0. Critics whose targets are
    made with it come to the fixed point of ``Q = r + gamma alpha log sum exp(Q' / alpha)``, and to that of value
    iteration as the temperature falls."""
    batch, config = _every_step(), SACConfig(num_critics=2)

    @jit
    def improve(q: jax.Array) -> jax.Array:
        both = jnp.stack([q, q + 5.0])  # the second is never the least
        options = TABLE.options(q / alpha, batch.next_obs, None)
        value = TABLES.values(both, batch.next_obs, options.action, KEY)
        return parts.soft_target(config, value, options, alpha, batch)[:, 0].reshape(6, 3)

    q = jnp.zeros((6, 3))
    for _ in range(250):
        q = improve(q)
    expected = np.zeros((6, 3))
    for _ in range(250):
        value = alpha * np.log(np.exp((expected - expected.max(axis=1, keepdims=True)) / alpha).sum(axis=1))
        value = value + expected.max(axis=1)
        expected = (np.asarray(batch.reward) + np.asarray(batch.discount) * value[batch.next_obs]).reshape(6, 3)
    np.testing.assert_allclose(q, expected, atol=1e-8)
    if alpha < 0.01:
        hard = np.asarray(mdps.lookahead(MDP, value_iteration(MDP).value))
        np.testing.assert_allclose(q[:5], hard[:5], atol=alpha * np.log(3) * GAMMA / (1 - GAMMA) + 1e-5)

    def loss(logits: jax.Array) -> jax.Array:
        return parts.actor_loss(config, TABLE, TABLES, logits, jnp.stack([q, q + 5.0]), alpha, jnp.arange(6), KEY)[0]

    np.testing.assert_allclose(jax.grad(loss)(q / alpha), 0, atol=1e-12)
    least = -np.mean(alpha * np.asarray(jax.nn.logsumexp(q / alpha, axis=1)))
    np.testing.assert_allclose(loss(q / alpha), least, rtol=1e-9)
    assert loss(jnp.zeros((6, 3))) > least


# --- parts ------------------------------------------------------------------------------------------------


@pytest.mark.covers("sac")
def test_the_squashed_policy_has_the_density_of_its_actions():
    """The density in units of [-1, 1] integrates to 1, by the change of variables from the draw; the mode is inside."""
    net = Actor(make("Pendulum-v1").observation_space, 2, hidden_sizes=(4,))
    policy, obs = parts.squashed_policy(net), jnp.ones((1, 3))
    params = policy.init(KEY, obs)
    noise = jnp.linspace(-7, 7, 4001)[:, None]
    options = policy.options(params, jnp.broadcast_to(obs, (4001, 3)), noise)
    action = np.asarray(options.action[:, 0])
    density = np.exp(np.asarray(options.log_prob[:, 0]))
    assert np.all(np.diff(action) >= 0) and np.all(options.probability == 1)
    np.testing.assert_allclose(np.trapezoid(density, action), 1, atol=1e-5)
    np.testing.assert_allclose(policy.sample(params, obs, noise[:1]), options.action[:1], rtol=1e-12)
    assert np.abs(policy.mode(params, obs)) < 1


@pytest.mark.covers("sac")
def test_target_entropies():
    """So much for each axis of a box, or a share of ``log A``."""
    hypers = SACHypers(target_entropy=-0.5, entropy_share=0.25)
    assert parts.target_entropy(lqr())(hypers) == -0.5
    np.testing.assert_allclose(parts.target_entropy(make("Acrobot-v1"))(hypers), 0.25 * np.log(3))


@pytest.mark.covers("sac")
def test_discrete_actions_are_learnt_without_a_draw():
    """One update of each temperature's kind; quantiles and dropout are refused."""
    sizes: dict[str, Any] = {
        "num_envs": 2,
        "batch_size": 4,
        "num_warmup_steps": 8,
        "replay_capacity": 16,
        "hidden_sizes": (4,),
    }
    env = make("CartPole-v1")
    algorithm = sac(env, SACConfig(**sizes, learn_temperature=False))

    def two_keys(hypers: SACHypers) -> tuple[Any, Any]:
        state = algorithm.init(hypers, KEY)
        one, _ = algorithm.update(hypers, state, jax.random.key(1))
        return state, one

    with jax.enable_x64(False):
        before, after = jit(two_keys)(SACHypers(learning_rate=1e-2, actor_learning_rate=1e-2))
        assert int(after.num_env_steps) == 10 and after.log_temperature == before.log_temperature
        for name in ("actor_params", "critic_params", "target_params"):
            assert differs(getattr(before, name), getattr(after, name)), name
    for changes in ({"dropout": 0.1}, {"law": "quantile", "reduce": "mean"}):
        with pytest.raises(ValueError, match="CartPole-v1 has discrete actions, which SAC learns with law"):
            sac(env, SACConfig(**changes))
