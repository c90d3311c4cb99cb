"""Agents as programs: the same actions, without the algorithm; ONNX, where its converter is installed."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import purerl
from purerl import envs, export
from purerl.algorithm import Algorithm, Spec
from purerl.algorithms.value.pqn import PQNConfig, PQNHypers, pqn
from purerl.recipes import recorded

KEY = jax.random.key(0)


@recorded
def remembering(env) -> Algorithm:
    """Adds up what it sees, in a memory of two parts; samples add noise."""

    def act(hypers, state, carry, seen, key, sample=False):
        total = carry["sum"] + jnp.reshape(seen.obs, (len(seen.obs), -1)).sum(1) * state
        noise = jax.random.normal(key, total.shape) if sample else 0.0
        return {"sum": total, "steps": carry["steps"] + 1}, total * hypers + noise

    def start():
        return {"sum": jnp.zeros(()), "steps": jnp.zeros((), jnp.int32)}

    return Algorithm(lambda hypers, key: jnp.float32(2), lambda *_: _, start, act, Spec("remembering", 1))


def agent_of(name: str = "CartPole-v1", sample: bool = False):
    algorithm = remembering(envs.make(name))
    return algorithm.agent(jnp.float32(0.5), jnp.float32(2.0), sample)


@pytest.mark.parametrize("sample", [False, True])
def test_a_program_acts_as_its_agent(tmp_path, sample):
    """Step by step, with a memory; a key where actions are drawn; its memory is a tuple of arrays."""
    agent = agent_of(sample=sample)
    agent.export(tmp_path / "agent.program")
    loaded = purerl.load_program(tmp_path / "agent.program")
    carry, other = agent.start(), loaded.start()
    for t in range(3):
        obs, key = np.arange(4, dtype=np.float32) + t, jax.random.fold_in(KEY, t) if sample else None
        carry, action = agent.act(carry, obs, key)
        other, same = loaded.act(other, obs, key)
        np.testing.assert_array_equal(action, same)
    assert int(other[0]) == int(carry["steps"]) == 3
    with pytest.raises(ValueError, match="needs a key"):
        agent_of(sample=True).act(agent.start(), obs)


def test_a_program_of_a_batch(tmp_path):
    """Of the size that it was exported for, and no other."""
    agent = agent_of()
    agent.export(tmp_path / "agent.program", batch_size=3, platforms=["cpu"])
    loaded = purerl.load_program(tmp_path / "agent.program")
    obs = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(loaded.act(loaded.start(), obs)[1], agent.act(agent.start(), obs)[1])
    with pytest.raises(ValueError, match="acts for 3 environments at once, not for 1"):
        loaded.act(loaded.start(), obs[0])


def test_it_is_for_every_platform_and_runs_without_purerl(tmp_path):
    """Its file names CPUs, CUDA and TPUs; JAX and the bytes in it are enough."""
    agent = agent_of()
    agent.export(tmp_path / "agent.program")
    tensors = safetensors.numpy.load_file(tmp_path / "agent.program")
    program = jax.export.deserialize(bytearray(tensors["program"].tobytes()))
    assert program.platforms == export.PLATFORMS == ("cpu", "cuda", "tpu")
    start = tuple(tensors[f"start.{i}"][None] for i in range(2))
    obs = np.arange(4, dtype=np.float32)
    _, (action,) = program.call(start, (obs[None],), jax.random.key_data(KEY))
    np.testing.assert_array_equal(action[0], agent.act(agent.start(), obs)[1])


@pytest.mark.parametrize("spoil", ["cut", "text", "agent", "program"])
def test_other_and_damaged_files_are_refused(tmp_path, spoil):
    """Cut off, no tensors at all, a saved agent instead, a program that is none."""
    path = tmp_path / "agent.program"
    if spoil == "agent":
        agent_of().save(tmp_path / "agent.safetensors")
        path = tmp_path / "agent.safetensors"
    elif spoil == "text":
        path.write_text("no program")
    else:
        agent_of().export(path, platforms=["cpu"])
        if spoil == "cut":
            path.write_bytes(path.read_bytes()[:-9])
        else:
            about = {"purerl": '{"obs": [], "samples": 0, "takes_state": 0, "batch_size": 1}'}
            safetensors.numpy.save_file({"program": np.zeros(9, np.uint8)}, path, about)
    with pytest.raises(ValueError, match="is no program exported by purerl, or is damaged"):
        purerl.load_program(path)


def test_what_cannot_be_exported(tmp_path, monkeypatch):
    """Other names of files, agents of nobody's, samples in ONNX, ONNX without its converter; nothing is left behind."""
    agent = agent_of()
    with pytest.raises(ValueError, match=r"ends in \.program or \.onnx"):
        agent.export(tmp_path / "agent.pickle")
    with pytest.raises(ValueError, match="can be exported that comes from"):
        agent._replace(source=None).export(tmp_path / "agent.program")
    with pytest.raises(ValueError, match="ONNX has no random numbers of JAX's"):
        agent_of(sample=True).export(tmp_path / "agent.onnx")
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(ValueError, match=r"needs jax2onnx: pip install 'purerl\[onnx\]', or use \.program"):
        agent.export(tmp_path / "agent.onnx")
    with pytest.raises(FileNotFoundError, match="There is no file"):
        purerl.load_program(tmp_path / "agent.program")
    assert list(tmp_path.iterdir()) == []


def test_onnx_says_the_same(tmp_path):
    """A network's greedy actions of a batch, run by ONNX's own runtime."""
    pytest.importorskip("jax2onnx", reason="pip install 'purerl[onnx]'")
    import onnxruntime

    algorithm = pqn(envs.make("CartPole-v1"), PQNConfig(num_envs=2, num_steps=4, num_minibatches=1, hidden_sizes=(8,)))
    agent = algorithm.agent(PQNHypers(), jax.jit(algorithm.init)(PQNHypers(), KEY))
    agent.export(tmp_path / "agent.onnx", batch_size=5)
    session = onnxruntime.InferenceSession(tmp_path / "agent.onnx")
    obs = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    (action,) = session.run(None, {session.get_inputs()[0].name: obs})
    np.testing.assert_array_equal(action, agent.act((), obs)[1])


@recorded
def clairvoyant(env) -> Algorithm:
    """Acts by the state of its environment, as a planner does."""

    def act(hypers, state, carry, seen, key):
        return carry, jax.tree.leaves(seen.env_state)[0]

    return Algorithm(lambda hypers, key: (), lambda *_: _, lambda: (), act, Spec("clairvoyant", 1))


def test_a_program_that_acts_by_the_environments_state(tmp_path):
    """It takes that as well, and says so where it is not given."""
    env = envs.make("probe/truncation")
    obs, env_state = env.reset(KEY)
    agent = clairvoyant(env).agent((), ())
    agent.export(tmp_path / "agent.program", platforms=["cpu"])
    loaded = purerl.load_program(tmp_path / "agent.program")
    found = loaded.act((), obs, None, env_state)[1]
    np.testing.assert_array_equal(found, agent.act((), obs, None, env_state)[1])
    with pytest.raises(ValueError, match=r"act\(\.\.\., env_state=env_state\)"):
        loaded.act((), obs)
