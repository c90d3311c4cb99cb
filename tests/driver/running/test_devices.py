"""Devices: meshes and what is wrong with them; what must hold on eight, in a process that has eight."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType, Mesh

from purerl import rollout, sharding, types
from purerl.driver.running import devices
from purerl.envs.probes import delayed_reward
from tests.support import on_devices, programs, toy

CHECKS = on_devices.CHECKS[1]
ENVS_OF_FOUR = AbstractMesh((4,), (devices.ENVS,), axis_types=(AxisType.Auto,))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    return programs.run("tests.support.on_devices", folder, num_devices=8).report()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_on_eight_devices(report, check):
    """Every check of the program held in a process with eight devices, in which one process is all there are."""
    assert report.keys() == {other.__name__ for other in CHECKS}
    assert report[check.__name__] is None, report[check.__name__]


def test_a_mesh_needs_its_devices():
    """Axes by name, over so many devices; more than there are, or none, is an error with both numbers."""
    mesh = devices.make_mesh()
    assert dict(mesh.shape) == {"trials": 1, "envs": 1}
    assert devices.num_trial_devices(mesh) == devices.num_trial_devices(None) == 1
    there = jax.device_count()
    with pytest.raises(ValueError, match=rf"trials = {there + 1} times envs = 2 need .* devices; there are {there}\."):
        devices.make_mesh(trials=there + 1, envs=2)
    with pytest.raises(ValueError, match="trials = 0"):
        devices.make_mesh(trials=0)


def test_a_mesh_of_another_kind_is_refused():
    """A mesh without the axis of trials: which axes it has, and how to make one."""
    mesh = Mesh(jax.devices()[:1], ("batch",))
    with pytest.raises(ValueError, match=r"has the axes \('batch',\): make one with make_mesh"):
        toy.train(mesh=mesh)


def test_one_process_agrees_with_itself():
    """Alone, a process keeps its values and its errors."""
    assert devices.agree(3) == devices.agree(3, max) == 3
    assert devices.by_writer(lambda: "done") == "done"
    with pytest.raises(KeyError, match="lost"):
        devices.by_writer(lambda: {}["lost"])


def test_without_a_mesh_a_rollout_is_as_it_was():
    """A batch is the same object, and nothing in the program says where arrays lie."""
    batch = {"x": jnp.zeros(6)}
    assert sharding.shard(batch)["x"] is batch["x"]
    assert "sharding_constraint" not in str(_traced_rollout(6))


def test_a_rollout_heeds_the_axis_of_environments():
    """On a mesh with such an axis, states and transitions are split over it, wherever the axis B stands."""
    with jax.sharding.use_abstract_mesh(ENVS_OF_FOUR):
        text = str(_traced_rollout(8))
    assert devices.ENVS == types.ENVS
    assert "spec=P('envs',)" in text and "spec=P(None, 'envs')" in text


def test_environments_that_do_not_divide_are_named():
    """The error has the size of the batch, the number of devices, and what to change."""
    message = r"A batch of 6 does not divide over the 4 devices of the mesh's axis envs: make num_envs, .* of 4\."
    with jax.sharding.use_abstract_mesh(ENVS_OF_FOUR), pytest.raises(ValueError, match=message):
        _traced_rollout(6)


def _traced_rollout(num_envs: int):
    """The program of a reset and a rollout of 3 steps."""
    env = delayed_reward()

    def play(key: jax.Array):
        envs = rollout.reset(env, key, num_envs)
        actions = jnp.zeros((3, num_envs), int)
        return rollout.rollout(env, lambda carry, seen, action: (carry, action, ()), envs, key, actions, 3)

    return jax.make_jaxpr(play)(jax.random.key(0))
