"""The gymnax adapter against gymnax itself."""

import subprocess
import sys

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.envs import check_env, from_gymnax, make
from purerl.spaces import Box, Discrete

CLASSIC = ["CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1"]
MINATAR = [f"{game}-MinAtar" for game in ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")]


@pytest.fixture
def tiny_mnist(monkeypatch):
    """MNISTBandit downloads its pictures; here are eight of two by two, read as gymnax reads them."""
    images = np.arange(32, dtype=np.uint8).reshape(8, 2, 2) * 8
    data = (images.astype(np.int8), np.arange(8, dtype=np.uint8))
    monkeypatch.setattr("gymnax.utils.load_mnist.load_mnist", lambda: (data, data))


@pytest.mark.covers("toy-envs")
@pytest.mark.parametrize("name", gymnax.registered_envs)
def test_every_gymnax_environment_keeps_the_protocol(name, tiny_mnist):
    """check_env finds no error in any environment that gymnax registers, taken through the adapter, and no observation
    outside its box, not even by rounding."""
    # MinAtar takes long to compile and is run below, so here it is only traced
    report = check_env(make(name), num_steps=0 if name in MINATAR else 40)
    assert report.name == name
    assert report.errors == ()
    assert not any("outside" in note.what for note in report.notes)


@pytest.mark.covers("toy-envs")
@pytest.mark.parametrize("name", CLASSIC + MINATAR)
def test_transitions_are_those_of_gymnax(name):
    """300 random steps: observations before the reset, rewards and flags are those of gymnax's own step; MinAtar's
    observations are its ones and zeros as booleans."""
    peer, params = gymnax.make(name)
    env = make(name)

    def body(state, keys):
        action = env.action_space.sample(keys[0])
        _, after, *theirs, info = peer.step(keys[1], state, action, params)
        # gymnax splits the key of a step in two: one for the step, one for the reset that it always computes
        obs, _, *ours, own_info = env.step(jax.random.split(keys[1])[0], state, action)
        assert own_info == {}
        return after, ((info["final_observation"], *theirs), (obs, *ours))

    def rollout(key):
        reset_key, *keys = jax.random.split(key, 3)
        obs, state = env.reset(reset_key)
        peer_obs, _ = peer.reset(reset_key, params)
        steps = jax.lax.scan(body, state, jnp.stack([jax.random.split(k, 300) for k in keys], axis=1))[1]
        return (peer_obs, obs), steps

    # 300 steps are soon run, so the compiler need not optimise
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    compiled = jax.jit(rollout).lower(jax.random.key(3)).compile(options)
    (peer_first, first), (theirs, ours) = jax.device_get(compiled(jax.random.key(3)))
    np.testing.assert_array_equal(first, peer_first)
    obs, reward, *flags = ours
    peer_obs, peer_reward, *peer_flags = theirs
    np.testing.assert_array_equal(flags, peer_flags)
    assert jnp.all(env.observation_space.contains(obs))
    assert (obs.dtype == bool) == (name in MINATAR)
    # both start each step from one state; the compiler may round the two copies of a formula differently
    np.testing.assert_allclose(obs, peer_obs, rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(reward, peer_reward, rtol=1e-6)


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "Freeway-MinAtar", "MetaMaze-misc"])
def test_types_are_the_same_where_jax_computes_in_64_bits(name):
    """gymnax mixes both kinds there: the adapter keeps it to 32 bits, from its tables on."""

    def types():
        env = make(name)
        obs, state = jax.eval_shape(env.reset, jax.random.key(0))
        action = jnp.asarray(env.action_space.sample(jax.random.key(1)))
        return (obs, state), jax.eval_shape(env.step, jax.random.key(0), state, action)

    plain = types()
    with jax.enable_x64(True):
        wide = types()
    assert jax.tree.map(lambda x: (x.shape, x.dtype), plain) == jax.tree.map(lambda x: (x.shape, x.dtype), wide)


def test_cart_pole_is_truncated_at_500_and_not_terminated():
    """A pole that cannot fall: 499 steps end nothing, the 500th truncates, none terminates; return 500."""
    env = make("CartPole-v1", theta_threshold_radians=1e9, x_threshold=1e9)

    def body(state, key):
        _, state, reward, terminated, truncated, _ = env.step(key, state, 0)
        return state, (reward, terminated, truncated)

    _, state = env.reset(jax.random.key(0))
    reward, terminated, truncated = jax.lax.scan(body, state, jax.random.split(jax.random.key(1), 500))[1]
    assert reward.sum() == 500.0
    assert not terminated.any()
    np.testing.assert_array_equal(truncated, np.arange(500) == 499)


def test_parameters_and_constructor_arguments_are_both_keywords():
    """max_steps_in_episode reaches the parameters, size the constructor, in one call."""
    env = make("DeepSea-bsuite", size=3, max_steps_in_episode=2)
    assert env.observation_space.shape == (3, 3)
    _, state = env.reset(jax.random.key(0))
    flags = []
    for _ in range(2):
        _, state, _, terminated, truncated, _ = jax.jit(env.step)(jax.random.key(1), state, 0)
        flags.append((bool(terminated), bool(truncated)))
    assert flags == [(False, False), (False, True)]


def test_an_unknown_parameter_is_named_with_its_neighbours():
    """make("CartPole-v1", max_step_in_episode=9) raises and names max_steps_in_episode."""
    with pytest.raises(ValueError, match=r"no parameter 'max_step_in_episode'.*'max_steps_in_episode'"):
        make("CartPole-v1", max_step_in_episode=9)


def test_an_environment_object_and_parameters_are_taken_as_given():
    """from_gymnax(object, params) equals make(name, field=value), and a field overrides the parameters."""
    peer, params = gymnax.make("Pendulum-v1")
    env = from_gymnax(peer, params.replace(max_torque=1.0), g=0.0)
    assert env.action_space == Box(-1.0, 1.0, (1,))
    named = make("Pendulum-v1", max_torque=1.0, g=0.0)
    _, state = env.reset(jax.random.key(0))
    inputs = jax.random.key(1), state, 2 * jnp.ones(1)
    jax.tree.map(np.testing.assert_array_equal, env.step(*inputs), named.step(*inputs))
    _, after, *_ = env.step(*inputs)
    # no gravity, torque clipped to 1: theta_dot grows by 3 u dt / (m l^2) = 0.15
    np.testing.assert_allclose(after.theta_dot - state.theta_dot, 0.15, rtol=1e-5)


def test_spaces_say_what_the_arrays_are():
    """FourRooms declares floats but gives integers; Pendulum has one bound; PointRobot is unbounded."""
    assert make("FourRooms-misc").observation_space == Box(1.0, 11.0, (4,), np.dtype(np.int32))
    assert make("FrozenLake-misc").observation_space == Discrete(16, np.dtype(np.int32))
    assert make("Pendulum-v1").action_space == Box(-2.0, 2.0, (1,), np.dtype(np.float32))
    assert make("UmbrellaChain-bsuite").observation_space.contains(jnp.float32([-1.5e-8, 1.0, 0.0]))
    assert make("PointRobot-misc").observation_space == Box(-np.inf, np.inf, (6,), np.dtype(np.float32))


def test_a_nested_space_is_refused():
    """A gymnax environment with a Dict of observations raises, and the message says what to do."""
    from gymnax.environments import spaces
    from gymnax.environments.classic_control.cartpole import CartPole

    class Nested(CartPole):
        def observation_space(self, _):
            return spaces.Dict({"x": spaces.Box(0, 1, (1,))})

    with pytest.raises(TypeError, match="neither Discrete nor Box"):
        from_gymnax(Nested())


def test_importing_the_package_does_not_import_gymnax():
    """import purerl.envs in a new process leaves gymnax, which is slow to import, alone."""
    code = "import sys, purerl.envs; sys.exit('gymnax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_environment_is_made_without_what_gymnax_draws_with():
    """In a new process: neither seaborn nor pandas is imported, until gymnax asks seaborn for a colour."""
    code = (
        "import sys, purerl\n"
        "purerl.envs.make('CartPole-v1')\n"
        "assert not {'seaborn', 'pandas'} & sys.modules.keys()\n"
        "from gymnax.visualize import vis_minatar\n"
        "assert len(vis_minatar.sns.color_palette('cubehelix', 3)) == 3\n"
        "import seaborn; assert seaborn.color_palette is vis_minatar.sns.color_palette"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
