"""DQN's loss: Bellman targets, losses of samples, the target network's updates, and settings that are refused."""

from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.value import dqn_loss
from purerl.algorithms.value.dqn import explore, uniform_actions
from purerl.algorithms.value.dqn_loss import DQNConfig, DQNHypers
from purerl.data.transitions import NStepTransition
from purerl.envs import make
from purerl.ranges import check_hypers
from purerl.spaces import Masked
from tests.support.ppo_setup import CONTINUOUS, busy_env, jit

KEY = jax.random.key(0)
HYPERS = DQNHypers(v_min=-3.0, v_max=5.0, temperature=0.7, munchausen_alpha=0.6, huber_delta=0.8, tau=0.3)
M, N = 6, 4
FORMS: dict[str, dict[str, Any]] = {
    "max": {},
    "double": {"target": "double"},
    "munchausen": {"target": "munchausen"},
    "c51-double": {"distribution": "c51", "target": "double"},
    "quantile": {"distribution": "quantile"},
    "iqn-double": {"distribution": "iqn", "target": "double"},
}


def config_of(form) -> DQNConfig:
    return DQNConfig(hidden_sizes=(8,), num_atoms=N, **FORMS[form])


def make_batch() -> NStepTransition:
    """Six transitions of two numbers and three actions; the first one ends."""
    generator = np.random.default_rng(0)
    return NStepTransition(
        obs=jnp.asarray(generator.normal(size=(M, 2)), jnp.float32),
        action=jnp.array([0, 1, 2, 2, 1, 0]),
        reward=jnp.asarray(generator.normal(size=M), jnp.float32),
        discount=jnp.array([0.0, 0.9, 0.9, 0.81, 0.9, 0.729]),
        next_obs=jnp.asarray(generator.normal(size=(M, 2)), jnp.float32),
    )


@jit
def computed(key):
    """Of every form: outputs of both networks at what comes next, of the target network now, and the Bellman target."""
    found, batch = {}, make_batch()
    for form in FORMS:
        config = config_of(form)
        net = dqn_loss.make_network(busy_env(), config)
        online, target = (
            dqn_loss.init_params(net, config, HYPERS, key, batch.obs)[0] for key in jax.random.split(jax.random.key(1))
        )
        next_key, choice_key, now_key = jax.random.split(key, 3)
        found[form] = (
            dqn_loss.forward(net, config, target, batch.next_obs, next_key)[0],
            dqn_loss.forward(net, config, online, batch.next_obs, choice_key)[0],
            dqn_loss.forward(net, config, target, batch.obs, now_key)[0],
            dqn_loss.bellman_target(net, config, online, HYPERS, target, batch, key)[0],
        )
    return found


def by_hand(form, output, online, now):
    """Bellman target in float64 from outputs ``[M, 3, N]`` of the target network, the online one, and of now."""
    output, online, now = (np.asarray(x, np.float64) for x in (output, online, now))
    reward, discount, action = (
        np.asarray(x) for x in (make_batch().reward, make_batch().discount, make_batch().action)
    )
    reward, discount = reward[:, None], discount[:, None]
    if form == "munchausen":
        tau = 0.7
        soft, soft_now = (tau * np.log(np.exp(q[..., 0] / tau).sum(axis=1, keepdims=True)) for q in (output, now))
        log_policy = now[np.arange(M), action] - soft_now  # times tau
        return reward + 0.6 * np.clip(log_policy, -1, 0) + discount * soft
    atoms = np.linspace(-3, 5, N)
    selector = online if "double" in form else output
    if form == "c51-double":
        output, selector = (np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True) for x in (output, selector))
    best = (selector @ atoms if form == "c51-double" else selector.mean(axis=-1)).argmax(axis=-1)
    following = output[np.arange(M), best]
    if form != "c51-double":
        return reward + discount * following
    return np.stack([_projected(*row, atoms) for row in zip(reward, discount, following, strict=True)])


def _projected(reward, discount, probability, atoms):
    """Each atom moved and shared among its neighbours, in proportion to nearness."""
    found, width = np.zeros(N), atoms[1] - atoms[0]
    for p, atom in zip(probability, np.clip(reward + discount * atoms, atoms[0], atoms[-1]), strict=True):
        found += p * np.maximum(0, 1 - np.abs(atom - atoms) / width)
    return found


@pytest.mark.covers("dqn", "double-dqn", "distributional", "target-net")
@pytest.mark.parametrize("form", FORMS)
def test_bellman_target_in_float64(form):
    """From the networks' outputs: max, double, Munchausen, C51's projection by loops, quantiles and IQN's levels.

    The choice of an action is the online network's exactly where the target is double, and makes a difference.
    """
    *outputs, target = computed(KEY)[form]
    np.testing.assert_allclose(target, by_hand(form, *outputs), rtol=1e-5, atol=1e-5)
    if "double" in form:
        assert np.abs(by_hand(form.replace("double", "max"), *outputs) - target).max() > 0.01


class Uncertain(NamedTuple):
    """Two actions of the same value 1/2. Of the first the quantile at level tau is tau, or with noise its value varies;
    the other is certain."""

    def apply(self, _, obs, level=None, rngs=()):
        shape = (len(obs), 1)
        first = jax.random.normal(rngs["noise"], shape) + 0.5 if level is None else level
        return jnp.stack([first, jnp.full_like(first, 0.5)], axis=1)


@pytest.mark.covers("distributional", "noisy", "dqn")
@pytest.mark.parametrize(
    ("config", "value", "bias"),
    [
        ({"distribution": "iqn", "num_atoms": 8}, 0.5, 1487 / 36288),  # E max(mean of 8 uniforms, 1/2), Irwin and Hall
        ({"noisy": True}, 0.5, 1 / np.sqrt(2 * np.pi)),  # E max(normal, 0)
        # E H(policy) and E log(exp(normal / tau) + 1), times tau, by quadrature: the entropy of the policy that chooses
        ({"noisy": True, "target": "munchausen"}, 0.5 + 0.37622, 0.25823),
    ],
    ids=["iqn", "noisy", "noisy-munchausen"],
)
def test_random_targets_are_not_too_high(config, value, bias):
    """What is drawn to choose an action is not what is drawn to value it: the target of two actions of equal value is
    that value, within 4 deviations, which are less than half of the bias that one draw for both adds."""
    number = 20_000
    batch = NStepTransition(
        obs=jnp.zeros((number, 1)),
        action=jnp.ones(number, jnp.int32),
        reward=jnp.zeros(number),
        discount=jnp.ones(number),
        next_obs=jnp.zeros((number, 1)),
    )
    net: Any = Uncertain()
    hypers = HYPERS.replace(munchausen_alpha=0.0)
    found, _ = dqn_loss.bellman_target(net, DQNConfig(**config), {}, hypers, {}, batch, KEY)
    each = np.asarray(found).mean(axis=1)
    deviation = each.std() / np.sqrt(number)
    assert abs(each.mean() - value) < 4 * deviation < bias / 2


@pytest.mark.covers("distributional", "dqn")
def test_share_of_targets_that_are_clipped():
    """Rewards -1 and -2 below a support that begins at 0, of which the first atom alone is likely: all of the mass of
    their targets is clipped. Reward 1 for ever at the support's upper end: none. Else the mass beyond it."""
    config = DQNConfig(distribution="c51", num_atoms=5)
    hypers = DQNHypers(v_min=0.0, v_max=100.0)

    def share(reward, discount, logits):
        net: Any = SimpleNamespace(apply=lambda params, obs, rngs: jnp.broadcast_to(logits, (len(obs), 2, 5)))
        reward = jnp.asarray(reward, jnp.float32)
        batch = NStepTransition(reward[:, None], 0 * reward.astype(int), reward, 0 * reward + discount, reward[:, None])
        target, metrics = dqn_loss.bellman_target(net, config, {}, hypers, {}, batch, KEY)
        np.testing.assert_allclose(target.sum(axis=1), 1, rtol=1e-6)
        return float(metrics["clipped_targets"])

    lowest, highest = (jnp.full(5, -50.0).at[i].set(50.0) for i in (0, -1))
    assert share([-1.0, -2.0], 0.99, lowest) == pytest.approx(1)
    assert share([1.0, 1.0], 0.99, highest) == pytest.approx(0)
    assert share([0.0, -30.0, 30.0, 101.0], 1.0, jnp.zeros(5)) == pytest.approx((0 + 2 + 2 + 5) / 20)
    assert share([0.0, -30.0, 100.0, 101.0], 0.0, jnp.zeros(5)) == pytest.approx(2 / 4)


@pytest.mark.covers("distributional", "dqn")
def test_loss_and_priority_of_each_sample_in_float64():
    """Huber and squared errors, cross-entropy and the quantile Huber loss by their sums; the priority of a mean is its
    absolute error, of a distribution its loss."""
    generator = np.random.default_rng(1)
    predicted, target = generator.normal(size=(2, M, N)).astype(np.float32) * 2
    level = (np.arange(N) + 0.5) / N
    error = (target - predicted)[:, 0].astype(np.float64)
    huber = np.where(np.abs(error) < 0.8, error**2 / 2, 0.8 * (np.abs(error) - 0.4))
    assert np.abs(error).min() < 0.8 < np.abs(error).max()
    softmax = np.exp(predicted) / np.exp(predicted).sum(axis=1, keepdims=True)
    probability = np.abs(target) / np.abs(target).sum(axis=1, keepdims=True)
    cross_entropy = -(probability * np.log(softmax)).sum(axis=1)
    u = target[:, None, :] - predicted[:, :, None]  # [M, predicted, target]
    pinball = np.abs(level[:, None] - (u < 0)) * np.where(np.abs(u) < 0.8, u**2 / 1.6, np.abs(u) - 0.4)
    quantile_huber = pinball.mean(axis=2).sum(axis=1)
    cases: tuple[tuple[dict[str, Any], Any, Any, Any, Any], ...] = (
        ({}, predicted[:, :1], target[:, :1], huber, np.abs(error)),
        ({"loss": "squared"}, predicted[:, :1], target[:, :1], error**2 / 2, np.abs(error)),
        ({"distribution": "c51"}, predicted, probability, cross_entropy, cross_entropy),
        ({"distribution": "quantile"}, predicted, target, quantile_huber, quantile_huber),
    )
    for config, ours, theirs, expected, priority in cases:
        each, found = dqn_loss.regression_loss(DQNConfig(**config), HYPERS, ours, jnp.asarray(level), theirs)
        np.testing.assert_allclose(each, expected, rtol=1e-4)
        np.testing.assert_allclose(found, priority, rtol=1e-4)


def test_continuous_actions_are_refused():
    """The error names the environment and its actions."""
    with pytest.raises(ValueError, match=r"busy: DQN needs Discrete actions, but the action space is Box"):
        dqn_loss.make_network(busy_env(CONTINUOUS), DQNConfig())


def test_atoms_that_do_not_ascend_are_refused():
    """``v_min`` is below ``v_max``, at every point of a sweep; traced numbers pass."""
    with pytest.raises(ValueError, match=r"DQNHypers\.v_min = 5\.0 must be less than v_max = 5\.0"):
        check_hypers(DQNHypers(v_min=5.0, v_max=5.0))
    with pytest.raises(ValueError, match=r"DQNHypers\.v_min = .* must be less than v_max"):
        check_hypers(DQNHypers(v_min=np.array([0.0, 200.0])))
    check_hypers(DQNHypers(v_min=np.array([0.0, 20.0]), v_max=np.array([1.0, 30.0])))
    jax.eval_shape(lambda v: check_hypers(DQNHypers(v_min=v)), 500.0)


def test_what_is_not_legal_is_neither_chosen_nor_hoped_for():
    """In the masked probe: exploring, greedy and first actions are legal, and targets are of the best of those."""
    env = make("probe/masked")
    config, hypers = DQNConfig(hidden_sizes=(4,)), DQNHypers(epsilon_start=0.5, epsilon_end=0.5)
    net = dqn_loss.make_network(env, config)
    obs = Masked(jnp.repeat(jnp.eye(2), 40, axis=0), jnp.repeat(jnp.array([[1, 1, 0], [0, 1, 1]], bool), 40, axis=0))
    params, _ = dqn_loss.init_params(net, config, hypers, jax.random.key(0), obs)
    # Values of which those of what is not legal are the highest.
    bias = params["params"]["head"]["action"]["bias"]
    params["params"]["head"]["action"]["bias"] = bias + jnp.array([5.0, 0.0, 5.0])

    @jax.jit
    def look(params, obs, uniform, key):
        state = SimpleNamespace(params=params, num_env_steps=jnp.int32(0))
        actions = [
            explore(net, config, hypers, state, obs, uniform, key),
            uniform_actions(3, obs, uniform, key),
            dqn_loss.greedy_actions(net, config, hypers, params, obs),
        ]
        batch = NStepTransition(obs, actions[0], jnp.ones(80), jnp.full(80, 0.5), obs)
        target, _ = dqn_loss.bellman_target(net, config, params, hypers, params, batch, key)
        return jnp.stack(actions), target[:, 0], dqn_loss.forward(net, config, params, obs, None)[0][..., 0]

    actions, target, value = look(params, obs, jnp.tile(jnp.linspace(0, 0.999, 40), 2), jax.random.key(1))
    assert obs.legal[jnp.arange(80), actions].all()
    assert {*np.asarray(actions[1]).tolist()} == {0, 1, 2}
    np.testing.assert_array_equal(actions[2], np.where(obs.legal, value, -np.inf).argmax(-1))
    np.testing.assert_allclose(target, 1 + 0.5 * np.where(obs.legal, value, -np.inf).max(-1), rtol=1e-6)
