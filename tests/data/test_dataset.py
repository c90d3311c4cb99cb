"""Datasets on disk: what of a replay goes into one, that it comes back as it was, and what is refused."""

import importlib.util
import pathlib
import zipfile
from typing import Any

import jax
import numpy as np
import pytest

from purerl.data import dataset, ring
from purerl.envs import Environment
from purerl.spaces import Box, Discrete
from purerl.types import Transition

FORMATS = ["npz", "parquet"]
VECTOR, FOUR = Box(-np.inf, np.inf, (3,)), Discrete(4)


def env(obs=VECTOR, action=FOUR, name="toy") -> Environment:
    """Spaces and a name, which is all that a dataset has to do with its environment."""
    return Environment(name, lambda key: None, lambda key, state, action: None, obs, action)


def transitions(num_steps=10, obs=VECTOR, action=FOUR) -> Transition:
    """Random ones on the host, the last of which ends an episode."""
    generator = np.random.default_rng(0)

    def drawn(space):
        numbers = generator.random((num_steps, *space.shape)) * (space.n if isinstance(space, Discrete) else 1)
        return numbers.astype(space.dtype)

    ends: Any = np.arange(num_steps) % 4 == (num_steps - 1) % 4
    return Transition(
        obs=drawn(obs),
        action=drawn(action),
        reward=generator.normal(size=num_steps).astype(np.float32),  # type: ignore[arg-type]
        terminated=ends,
        truncated=~ends & (np.arange(num_steps) == 3),
        next_obs=drawn(obs),
        info={},
    )


def columns_of(x: Transition) -> dict:
    return {name: getattr(x, name) for name in dataset.COLUMNS}


# --- from a replay ----------------------------------------------------------------------------------------


@pytest.mark.covers("offline-tax", "replay")
@pytest.mark.parametrize("num_steps", [5, 12, 13, 30], ids=["part", "full", "overwritten", "twice-over"])
def test_the_complete_episodes_of_a_replay(num_steps):
    """Twelve rows of three environments, written in pieces: a loop over what each of them lived through.

    Rows are numbered, so that order is seen. An episode whose first step was overwritten, or whose last is to come, is
    left out; of a full replay nobody knows whether its oldest row began one.
    """
    generator = np.random.default_rng(num_steps)
    shape = (num_steps, 3)
    number: Any = np.arange(num_steps * 3, dtype=np.int32).reshape(shape)
    ends = generator.random((2, *shape)) < 0.2
    lived = Transition(
        obs=number, action=number, reward=number, terminated=ends[0], truncated=ends[1], next_obs=number, info={}
    )
    replay = ring.empty(jax.tree.map(lambda x: x[0, 0], lived), 12, 3)
    for first in range(0, num_steps, 5):
        replay = ring.push(replay, jax.tree.map(lambda x, first=first: x[first : first + 5], lived))

    expected = []
    for b in range(3):
        episode, begun = [], num_steps < 12
        for t in range(max(num_steps - 12, 0), num_steps):
            episode.append(number[t, b])
            if ends[:, t, b].any():
                expected += episode if begun else []
                episode, begun = [], True
    found = dataset.complete_episodes(replay)
    assert len(expected) > 5 or num_steps == 5
    np.testing.assert_array_equal(found.obs, expected)
    np.testing.assert_array_equal(found.terminated, ends[0].ravel()[expected])
    np.testing.assert_array_equal(found.truncated, ends[1].ravel()[expected])


@pytest.mark.covers("offline-tax")
def test_returns_of_the_episodes():
    """Rewards 1 to 7, ends after the third (terminated) and fourth (truncated): 6 and 4; what goes on is left out."""
    flags = np.zeros((2, 7), bool)
    flags[0, 2] = flags[1, 3] = True
    x = transitions(7).replace(reward=np.arange(1, 8, dtype=np.float32), terminated=flags[0], truncated=flags[1])
    np.testing.assert_array_equal(dataset.episode_returns(x), [6.0, 4.0])
    assert dataset.episode_returns(x.replace(terminated=flags[1] & False, truncated=flags[1] & False)).shape == (0,)


# --- to a file and back -----------------------------------------------------------------------------------

SPACES = {
    "vector": (VECTOR, FOUR),
    "image-box": (Box(0.0, 1.0, (2, 3, 2)), Box(-1.0, 1.0, (2,))),
    "state": (Discrete(9), Discrete(2)),
}


@pytest.mark.covers("offline-tax")
@pytest.mark.parametrize("spaces", SPACES)
@pytest.mark.parametrize("suffix", FORMATS)
def test_comes_back_as_it_was(suffix, spaces, tmp_path):
    """Every column bit for bit with its dtype, whatever the spaces; and the fingerprint."""
    obs, action = SPACES[spaces]
    x, path = transitions(10, obs, action), tmp_path / "new" / f"data.{suffix}"
    dataset.save(path, x, "toy")
    found = dataset.load(path, env(obs, action))
    for name, column in columns_of(x).items():
        loaded = getattr(found, name)
        assert (loaded.dtype, loaded.shape) == (column.dtype, column.shape), name
        np.testing.assert_array_equal(loaded, column)
    assert found.info == {} and [p.name for p in path.parent.iterdir()] == [path.name]
    assert dataset.fingerprint(found) == dataset.fingerprint(x)


@pytest.mark.covers("offline-tax")
@pytest.mark.parametrize("name", dataset.COLUMNS)
def test_another_number_is_another_fingerprint(name):
    """One entry of one column, changed."""
    x = transitions()
    column = getattr(x, name).copy()
    column.flat[5] = ~column.flat[5] if column.dtype == bool else column.flat[5] + 1
    assert dataset.fingerprint(x.replace(**{name: column})) != dataset.fingerprint(x)


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """A disk that fills up in the middle leaves the old file and nothing else."""
    path = tmp_path / "data.npz"
    dataset.save(path, transitions(), "toy")
    before = path.read_bytes()

    def refuse(file, **columns):
        pathlib.Path(file).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez_compressed", refuse)
    with pytest.raises(OSError, match="No space left"):
        dataset.save(path, transitions(20), "toy")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_saved(tmp_path):
    """Nothing, and records in the place of arrays; a name that says no kind of file."""
    with pytest.raises(ValueError, match="no transitions to save"):
        dataset.save(tmp_path / "data.npz", jax.tree.map(lambda x: x[:0], transitions()), "toy")
    with pytest.raises(ValueError, match="obs is no array of numbers"):
        dataset.save(tmp_path / "data.npz", transitions().replace(obs=[{"a": 1}]), "toy")
    with pytest.raises(ValueError, match=r"data\.csv: a dataset's name ends in \.npz or \.parquet"):
        dataset.save(tmp_path / "data.csv", transitions(), "toy")
    assert list(tmp_path.iterdir()) == []


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    """Saving and loading name what to install; .npz goes on to work."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for use in (lambda path: dataset.save(path, transitions(), "toy"), lambda path: dataset.load(path, env())):
        with pytest.raises(ValueError, match=r'needs pyarrow: pip install "purerl\[data\]", or use \.npz'):
            use(tmp_path / "data.parquet")
    dataset.save(tmp_path / "data.npz", transitions(), "toy")
    assert len(dataset.load(tmp_path / "data.npz", env()).reward) == 10


# --- what is refused --------------------------------------------------------------------------------------


def _with(name, index, value):
    """Columns with one entry changed."""

    def change(columns):
        column = columns[name].copy()
        column[index] = value
        return columns | {name: column}

    return change


def _without(name):
    return lambda columns: {k: v for k, v in columns.items() if k != name}


WRONG = {
    "missing": (_without("reward"), r"lacks reward"),
    "no-env": (_without("env"), r"lacks env"),
    "other-env": (lambda c: c | {"env": np.array("lake")}, r"holds transitions of lake, not of toy"),
    "other-version": (lambda c: c | {"version": np.array(9)}, r"is of version 9, but this program reads 1"),
    "dtype": (
        lambda c: c | {"obs": c["obs"].astype(np.float64)},
        r"column obs is float64\[10, 3\], but the environment has float32\[N, 3\]",
    ),
    "shape": (
        lambda c: c | {"next_obs": c["next_obs"][:, :2]},
        r"column next_obs is float32\[10, 2\], but the environment has float32\[N, 3\]",
    ),
    "scalar": (lambda c: c | {"reward": np.float32(1)}, r"column reward is float32\[\], but .* float32\[N\]"),
    "text": (lambda c: c | {"action": np.array(["left"] * 10)}, r"column action is <U4\[10\], but .* int32\[N\]"),
    "flags": (
        lambda c: c | {"terminated": c["terminated"].astype(np.int8)},
        r"column terminated is int8\[10\], but the environment has bool\[N\]",
    ),
    "nan": (_with("obs", (4, 1), np.nan), r"column obs is not finite in row 4"),
    "infinite": (_with("reward", 7, np.inf), r"column reward is not finite in row 7"),
    "action-above": (_with("action", 2, 4), r"column action has values that are not in Discrete\(n=4"),
    "action-below": (_with("action", 2, -1), r"column action has values that are not in Discrete\(n=4"),
    "lengths": (lambda c: c | {"reward": c["reward"][:9]}, r"differ in length \(obs 10, action 10, reward 9"),
    "empty": (lambda columns: columns | {name: columns[name][:0] for name in dataset.COLUMNS}, r"has no rows"),
}


@pytest.mark.covers("offline-tax")
@pytest.mark.parametrize("wrong", WRONG)
def test_columns_that_are_not_the_environments(wrong, tmp_path):
    """Each is refused in one line that names the file, the column, what it is and what it should be."""
    change, message = WRONG[wrong]
    path = tmp_path / "data.npz"
    about = {"env": np.array("toy"), "version": np.array(dataset.VERSION)}
    np.savez(path, **change(columns_of(transitions()) | about))
    with pytest.raises(ValueError, match=message) as error:
        dataset.load(path, env())
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_continuous_actions_out_of_bounds(tmp_path):
    """One entry of one action is above its bound."""
    obs, action = SPACES["image-box"]
    x = transitions(10, obs, action)
    above = x.action.copy()
    above[3, 1] = 1.5
    dataset.save(tmp_path / "data.npz", x.replace(action=above), "toy")
    with pytest.raises(ValueError, match=r"column action has values that are not in Box"):
        dataset.load(tmp_path / "data.npz", env(obs, action))


def _damage(path: pathlib.Path) -> None:
    """Change bytes of the first column, and leave the archive's table as it is."""
    content = bytearray(path.read_bytes())
    content[100:160] = bytes(60)
    path.write_bytes(content)


BROKEN = {
    "nothing": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "text": lambda path: path.write_text("obs,action\n1,2\n"),
    "damaged": _damage,
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("suffix", FORMATS)
def test_files_that_are_not_whole(suffix, how, tmp_path):
    """Empty, cut off, something else, bytes changed: one line, and no advice to load it unsafely."""
    path = tmp_path / f"data.{suffix}"
    dataset.save(path, transitions(1000), "toy")
    BROKEN[how](path)
    with pytest.raises(ValueError, match="save it anew") as error:
        dataset.load(path, env())
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    assert "allow_pickle" not in str(error.value)


def test_one_array_is_no_dataset(tmp_path):
    """A single array, an archive of something else, and no file at all."""
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(ValueError, match=r"is no \.npz archive"):
        dataset.load(tmp_path / "one.npz", env())
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("reward", "text")
    with pytest.raises(ValueError, match="lacks obs, action"):
        dataset.load(tmp_path / "zip.npz", env())
    with pytest.raises(FileNotFoundError, match=r"none\.npz: there is no such file"):
        dataset.load(tmp_path / "none.npz", env())


class Trap:
    """What executes code when it is unpickled."""

    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


def test_objects_are_not_loaded(tmp_path):
    """A column of pickled objects is refused, and their code does not run."""
    path = tmp_path / "data.npz"
    about = {"env": np.array("toy"), "version": np.array(1)}
    objects = np.array([Trap()] * 10, dtype=object)
    np.savez(path, **(columns_of(transitions()) | about | {"action": objects}))
    with pytest.raises(ValueError, match="it holds objects, which are not loaded, since that may execute code"):
        dataset.load(path, env())
    assert not Trap.sprung
