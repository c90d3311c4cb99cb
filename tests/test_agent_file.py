"""Agents in files: the same actions bit for bit, only what acting needs, and files that are not what they should be."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import struct

import purerl
from purerl import agent_file, envs
from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec
from purerl.algorithms.bandits.bandit import BanditConfig, bandit
from purerl.algorithms.bandits.ucb1 import UCB1Hypers, ucb1
from purerl.recipes import recorded
from tests.support.toy import assert_same

KEY = jax.random.key(0)


class Hypers(struct.PyTreeNode):
    """A number that stays one, and one that is an array."""

    offset: float = 0.0
    scale: float = 1.0


class State(struct.PyTreeNode):
    """Leaves of many kinds, of which acting looks at all but the last."""

    weights: dict[str, jax.Array]
    half: jax.Array  # bfloat16
    key: jax.Array
    count: jax.Array  # used where actions are sampled alone
    replay: jax.Array


@recorded
def learner(env, size: int = 3) -> Algorithm:
    """An algorithm of a user's own."""

    def init(hypers, key):
        weights = {"w": jax.random.normal(key, (size,)), "b": jnp.float32(0.5)}
        return State(weights, jnp.full(size, 0.1, jnp.bfloat16), key, jnp.int32(7), jnp.zeros((1000, size)))

    def act(hypers, state, carry, seen, key, sample=False):
        value = hypers.scale * seen.obs + hypers.offset + state.weights["w"].sum() * state.weights["b"]
        value = value + state.half.sum() + jax.random.uniform(state.key)
        return carry, value + state.count if sample else value

    settings = {"env": env.name, "size": size}
    return Algorithm(init, lambda *_: _, no_carry, act, Spec("learner", 1, settings=settings))


@pytest.fixture
def env():
    return envs.make("probe/constant-reward")


@pytest.fixture
def agent(env):
    algorithm, hypers = learner(env), Hypers(offset=0.1, scale=jnp.float32(0.3))
    return algorithm.agent(hypers, algorithm.init(hypers, jax.random.key(3)))


def test_a_loaded_agent_acts_alike(agent, tmp_path):
    """Bit for bit, as deployed and with samples; what acting does not look at is not in the file."""
    path = tmp_path / "agent.safetensors"
    agent.save(path)
    tensors = safetensors.numpy.load_file(path)
    assert sorted(tensors) == [
        "hypers.scale",
        "state.count",
        "state.half",
        "state.key",
        "state.weights['b']",
        "state.weights['w']",
    ]
    assert path.stat().st_size < 2_500
    loaded = purerl.load(path, allow=["tests"])
    assert loaded.source.hypers.offset == 0.1 and isinstance(loaded.source.hypers.offset, float)
    assert_same(loaded.source.state.replace(replay=()), agent.source.state.replace(replay=()))
    assert loaded.source.state.replay.shape == (1000, 3)
    obs = np.zeros(agent.obs_like.shape, np.float32)
    assert_same(loaded.act((), obs), agent.act((), obs))
    sampling = purerl.load(path, sample=True, allow=["tests"])
    expected = agent.source.algorithm.agent(agent.source.hypers, agent.source.state, sample=True)
    assert_same(sampling.act((), obs, KEY), expected.act((), obs, KEY))


def test_what_is_loaded_can_be_saved_again(agent, tmp_path):
    """The same file, byte for byte, with what was known about the agent."""
    agent = agent._replace(source=agent.source._replace(about={"step": 3}))
    agent.save(tmp_path / "one.safetensors")
    loaded = purerl.load(tmp_path / "one.safetensors", allow=["tests"])
    assert loaded.source.about == {"step": 3}
    loaded.save(tmp_path / "other.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "other.safetensors").read_bytes()


def test_purerls_own_need_no_allowance_and_others_do(agent, tmp_path):
    """A bandit's agent is loaded by its file alone; that of other code, only if its module is named."""
    algorithm = bandit(envs.make("bandit/gaussian"), ucb1, BanditConfig(num_steps=2))
    own = algorithm.agent(UCB1Hypers(), algorithm.init(UCB1Hypers(), KEY))
    own.save(tmp_path / "own.safetensors")
    found = purerl.load(tmp_path / "own.safetensors").source
    assert found.algorithm.spec.name == "ucb1" and found.hypers == UCB1Hypers()
    agent.save(tmp_path / "agent.safetensors")
    with pytest.raises(ValueError, match=r"tests\.test_agent_file:learner is not purerl's own.* allow tests"):
        purerl.load(tmp_path / "agent.safetensors")


def test_an_environment_of_ones_own_is_given(env, tmp_path):
    """Where the file does not name it."""
    own = env._replace(name="mine", step=lambda *arguments: env.step(*arguments))
    algorithm = learner(own)
    algorithm.agent(Hypers(), algorithm.init(Hypers(), KEY)).save(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="mine was made by code that the record cannot name"):
        purerl.load(tmp_path / "a.safetensors", allow=["tests"])
    assert (
        agent_file.environment(purerl.load(tmp_path / "a.safetensors", allow=["tests"], env=own).source.algorithm)
        is own
    )


def rewritten(path, text=None, drop="", **tensors):
    """The file with other metadata or tensors."""
    with safetensors.safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["purerl"])
        found = {name: file.get_tensor(name) for name in file.keys() if name != drop}  # noqa: SIM118
    about = about | text if isinstance(text, dict) else about
    safetensors.numpy.save_file(found | tensors, path, {"purerl": json.dumps(about) if text != "nothing" else "{"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-8]), "no agent saved by purerl, or is damaged"),
        (lambda path: path.write_bytes(b"no tensors"), "no agent saved by purerl, or is damaged"),
        (lambda path: path.write_bytes(b""), "no agent saved by purerl, or is damaged"),
        (lambda path: safetensors.numpy.save_file({"a": np.zeros(2)}, path), "no agent saved by purerl, or is damaged"),
        (lambda path: rewritten(path, "nothing"), "no agent saved by purerl, or is damaged"),
        (lambda path: rewritten(path, {"format": 99}), "no agent of this version"),
        (lambda path: rewritten(path, {"made_by": 3}), "it lacks a part"),
        (
            lambda path: rewritten(path, {"made_by": {"call": "os:system", "arguments": {}}}),
            "os:system is not purerl's",
        ),
        (lambda path: rewritten(path, {"hypers_class": "os:system"}), "os:system is not purerl's own"),
        (lambda path: rewritten(path, {"settings": {}}), "other settings"),
        (lambda path: rewritten(path, {"hypers": {}}), r"hypers\.offset is missing"),
        (lambda path: rewritten(path, drop="state.count"), r"state\.count is missing or is not int32\[\]"),
        (lambda path: rewritten(path, **{"state.half": np.zeros(4, "u2")}), r"state\.half .* is not bfloat16\[3\]"),
        (lambda path: rewritten(path, **{"state.key": np.zeros(2, "f4")}), r"state\.key is missing or is not key<fry>"),
    ],
)
def test_other_and_damaged_files_are_refused(agent, tmp_path, spoil, message):
    """Cut off, empty, without our metadata, of another version, with other code, settings or tensors."""
    path = tmp_path / "agent.safetensors"
    agent.save(path)
    spoil(path)
    with pytest.raises(ValueError, match=message):
        purerl.load(path, allow=["tests"])


def test_what_cannot_be_saved(agent, tmp_path):
    """Other names of files; an algorithm without a recipe; an agent of nobody's."""
    with pytest.raises(ValueError, match=r"name ends in \.safetensors"):
        agent.save(tmp_path / "agent.npz")
    source = agent.source
    replaced = source.algorithm._replace(act=lambda *arguments, **how: source.algorithm.act(*arguments, **how))
    with pytest.raises(ValueError, match="mark its factory with"):
        replaced.agent(source.hypers, source.state).save(tmp_path / "agent.safetensors")
    with pytest.raises(ValueError, match="an agent can be saved that comes from"):
        agent._replace(source=None).save(tmp_path / "agent.safetensors")
    assert list(tmp_path.iterdir()) == []
