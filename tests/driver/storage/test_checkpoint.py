"""Checkpoints: every kind of leaf, what is kept, what does not fit, and files that were damaged."""

import gc
import pathlib
import shutil
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from purerl.driver.storage import checkpoint
from purerl.driver.storage.checkpoint import Checkpoints
from tests.support.compilations import compilations
from tests.support.toy import assert_same

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class State(struct.PyTreeNode):
    """Every kind of leaf and container that states have."""

    params: dict
    opt_state: tuple
    keys: jax.Array
    key: jax.Array
    count: jax.Array
    flag: jax.Array
    half: jax.Array
    pixels: jax.Array
    signed: jax.Array
    nothing: jax.Array
    odd: jax.Array


def state(features: int = 2, dtype=jnp.float32, shift: float = 0.0) -> State:
    params = {"layer": {"kernel": shift + jnp.linspace(0, 1, 3 * features, dtype=dtype).reshape(3, features)}}
    return State(
        params=params,
        opt_state=optax.adam(1e-3).init(params),
        keys=jax.random.split(jax.random.key(3, impl="rbg"), 2),
        key=jax.random.key(4),
        count=jnp.int32(2**31 - 1),
        flag=jnp.array([True, False]),
        half=jnp.array([1.0, jnp.nan, -0.0], jnp.bfloat16),
        pixels=jnp.arange(250, 256, dtype=jnp.uint8).reshape(2, 3),
        signed=jnp.array([-(2**15), 7], jnp.int16),
        nothing=jnp.zeros((0, 3)),
        odd=jnp.array([jnp.inf, -jnp.inf, jnp.nan, -0.0]),
    )


def save(path: pathlib.Path, states: dict[int, State], scores: dict[int, float] | None = None, keep: int = 3) -> None:
    """A folder of checkpoints by step."""
    with Checkpoints(path, keep) as checkpoints:
        for step, saved in states.items():
            checkpoints.save(step, saved, {"of": step}, (scores or {}).get(step))


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> pathlib.Path:
    """Two checkpoints; only to be read."""
    path = tmp_path_factory.mktemp("checkpoints")
    save(path, {1: state(shift=1.0), 2: state()})
    return path


@pytest.fixture
def damaged(saved, tmp_path):
    """The same, to be damaged."""
    yield shutil.copytree(saved, tmp_path / "copy")
    gc.collect()  # Orbax leaves coroutines of reads that failed, which complain when they are collected


# --- what comes back --------------------------------------------------------------------------------------


@pytest.mark.parametrize("like", [state, lambda: jax.eval_shape(state)], ids=["state", "shapes"])
def test_what_is_loaded_is_what_was_saved(saved, like):
    """Floats of all kinds, integers, flags, empty arrays, containers and typed keys with their algorithm, bit for bit,
    with what was written beside them."""
    with Checkpoints(saved, read_only=True) as checkpoints:
        loaded = checkpoints.load(like())
        assert_same(loaded.state, state())
        assert (loaded.step, loaded.meta) == (2, {"of": 2})
        assert jax.random.key_impl(loaded.state.keys) == jax.random.key_impl(state().keys)
        assert np.signbit(np.asarray(loaded.state.odd))[3]
        assert_same(checkpoints.load(like(), step=1).state, state(shift=1.0))


def test_the_state_may_change_while_it_is_written(tmp_path):
    """Donated right after the call, which overwrites its memory: what was saved is what it was."""
    with Checkpoints(tmp_path) as checkpoints:
        x = jnp.arange(200_000.0)
        checkpoints.save(1, {"x": x}, {})
        jax.block_until_ready(jax.jit(lambda x: x * 0 - 1, donate_argnums=0)(x))
        np.testing.assert_array_equal(checkpoints.load({"x": jnp.zeros(200_000)}).state["x"], np.arange(200_000.0))


def test_the_same_step_again_replaces_it(tmp_path):
    """Also in a later session."""
    for value in (0.0, 1.0):
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(5, {"x": jnp.full(2, value)}, {"value": value})
            checkpoints.save(5, {"x": jnp.full(2, value + 10)}, {"value": value + 10})
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        loaded = checkpoints.load({"x": jnp.zeros(2)})
        np.testing.assert_array_equal(loaded.state["x"], 11.0)
        assert (checkpoints.steps(), loaded.meta) == ([5], {"value": 11.0})


# --- what is kept -----------------------------------------------------------------------------------------


SMALL = {"x": jnp.zeros(2)}


@pytest.mark.parametrize("sessions", [1, 2])
def test_the_last_and_the_best_are_kept(tmp_path, sessions):
    """Of seven, the last two and the one of the highest score, whatever session wrote it; NaN and no score are never
    the best."""
    scores = {1: 1.0, 2: 9.0, 3: float("nan"), 4: 3.0, 5: None, 6: 9.0 - 1e-3, 7: float("inf")}
    for part in np.array_split(list(scores), sessions):
        with Checkpoints(tmp_path, keep=2) as checkpoints:
            for step in part.tolist():
                checkpoints.save(step, SMALL, {}, scores[step])
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert checkpoints.steps() == [2, 6, 7]
        assert checkpoints.best_step() == 2


def test_of_equal_scores_the_later_is_the_best(tmp_path):
    """Two of the same score: the one of the later step."""
    save(tmp_path, {1: SMALL, 2: SMALL, 3: SMALL}, {1: 5.0, 2: 5.0, 3: 4.0}, keep=1)
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert (checkpoints.steps(), checkpoints.best_step()) == ([2, 3], 2)


def test_without_scores_there_is_no_best(tmp_path):
    """Only the last ones are kept."""
    save(tmp_path, {1: SMALL, 2: SMALL}, keep=1)
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert (checkpoints.steps(), checkpoints.best_step()) == ([2], None)


# --- what does not fit ------------------------------------------------------------------------------------


def test_another_shape_or_dtype_is_named(saved):
    """The message has the leaf, both shapes and dtypes, and what to do."""
    with Checkpoints(saved, read_only=True) as checkpoints:
        with pytest.raises(
            ValueError, match=r"kernel is float32\[3, 2\] there, .* has float32\[3, 4\].*the settings that"
        ):
            checkpoints.load(state(features=4))
        with pytest.raises(ValueError, match=r"kernel is float32\[3, 2\] there, .* has float16\[3, 2\]"):
            checkpoints.load(state(dtype=jnp.float16))
        with jax.enable_x64(True), pytest.raises(ValueError, match=r"Load it where JAX_ENABLE_X64 is as it was"):
            checkpoints.load(jax.eval_shape(lambda: state(dtype=jnp.float64)))


def test_another_structure_is_named(saved):
    """A leaf that only one side has is named, with the side."""
    original = state()
    more = original.replace(params=original.params | {"head": jnp.zeros(1)})
    with Checkpoints(saved, read_only=True) as checkpoints:
        with pytest.raises(ValueError, match=r"only the run that loads has params\.head"):
            checkpoints.load(more)
        with pytest.raises(ValueError, match=r"only the run that was saved has params\.layer\.kernel"):
            checkpoints.load(original.replace(params={}))


def test_what_is_not_there_is_said(saved, tmp_path):
    """No folder, no checkpoint, no such step, with those that there are; nothing is made by reading."""
    with pytest.raises(FileNotFoundError, match=f"No checkpoints at {tmp_path}/nothing"):
        Checkpoints(tmp_path / "nothing", read_only=True)
    assert not list(tmp_path.iterdir())
    with Checkpoints(tmp_path / "empty") as checkpoints, pytest.raises(FileNotFoundError, match="No checkpoint in"):
        checkpoints.load(state())
    with (
        Checkpoints(saved, read_only=True) as checkpoints,
        pytest.raises(FileNotFoundError, match=r"No checkpoint of step 3 in .*; there are those of 1, 2\."),
    ):
        checkpoints.load(state(), step=3)


# --- damage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int32", "int16", "uint8", "uint32", "bool"])
def test_a_checksum_notices_every_byte(dtype):
    """Any byte of an array replaced by another value: another checksum, as the same elements in another order have."""
    size = jnp.dtype(dtype).itemsize
    data = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 256, 12 * size, dtype=np.uint8)

    def of(data: np.ndarray) -> int:
        return checkpoint._checksum_on_host(data.view(jnp.dtype(dtype)).reshape(3, 4))

    original = of(data)
    assert original == of(data.copy())
    for i in range(data.size):
        changed = data.copy()
        changed[i] ^= 1
        assert of(changed) != original, i
    assert of(np.roll(data, size)) != original


@pytest.mark.parametrize("shape", [(), (7,), (3, 100), (2, 11, 5), (4, 0)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "bool"])
def test_a_checksum_is_that_of_the_whole_array(monkeypatch, shape, dtype):
    """Piece by piece, the last shorter, on a device and in NumPy, against the sum of whole numbers over all bits."""
    monkeypatch.setattr(checkpoint, "_PIECE", 20)
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape)) > 0
    x = x if dtype == "bool" else x * jnp.asarray(1.5, dtype)
    bits = np.asarray(x).reshape(-1).view({1: np.uint8, 2: np.uint16, 4: np.uint32}[x.dtype.itemsize]).astype(object)
    expected = int(np.sum((2 * np.arange(bits.size).astype(object) + 1) * bits)) % 2**32
    assert int(jax.jit(checkpoint._checksum)(x)) == expected
    assert checkpoint._checksum_on_host(np.asarray(x)) == expected


@pytest.mark.parametrize("dtype", ["int64", "float64", "complex64", "complex128"])
def test_checksums_of_wide_numbers_are_those_of_the_device(x64, dtype):
    """Numbers of several words: a device and NumPy take their words in one order."""
    x = jnp.arange(1, 7).reshape(2, 3).astype(dtype) * jnp.asarray(-1.5 if dtype != "int64" else 2**40 + 1, dtype)
    assert checkpoint._checksum_on_host(np.asarray(x)) == int(jax.jit(checkpoint._checksum)(x))


def test_checksums_on_a_cpu_compile_nothing():
    """Leaves of many shapes, which a program would have a loop each for: none is made."""
    leaves = [jnp.asarray(np.full(size, 2.0, np.float32)) for size in range(1, 5)]
    with compilations() as compiled:
        found = checkpoint.checksums(leaves)
    assert compiled == []
    assert found == jax.jit(checkpoint._checksums)(leaves).tolist()


def test_a_checksum_needs_little_memory():
    """For a replay of images less than a fifth of it, where the bits as uint32 would take four times as much."""
    replay = jax.ShapeDtypeStruct((4, 2**10, 64, 400), jnp.bool_)
    program = jax.jit(checkpoint._checksum).lower(replay).compile()
    assert program.memory_analysis().temp_size_in_bytes < replay.size / 5


def arrays_of(folder: pathlib.Path, step: int) -> list[pathlib.Path]:
    """The files of a checkpoint's arrays."""
    return sorted(path for path in (folder / str(step) / "state").rglob("*") if path.is_file())


def test_a_flipped_byte_is_never_taken_for_data(damaged):
    """In every file of the last checkpoint, at its beginning, middle and end: either the state is what it was, or the
    checkpoint is passed over, with a warning that names it, for the one before."""
    found = 0
    for path in arrays_of(damaged, 2) + sorted((damaged / "2" / "meta").iterdir()):
        original = path.read_bytes()
        for place in sorted({0, len(original) // 2, max(len(original) - 1, 0)}):
            if not original:
                continue
            path.write_bytes(original[:place] + bytes([original[place] ^ 0x55]) + original[place + 1 :])
            with warnings.catch_warnings(record=True) as said, Checkpoints(damaged, read_only=True) as checkpoints:
                warnings.filterwarnings("always", message=".*passed over")
                loaded = checkpoints.load(state())
            assert_same(loaded.state, state(shift={1: 1.0, 2: 0.0}[loaded.step]))
            named = [str(w.message) for w in said if "is passed over" in str(w.message)]
            assert len(named) == (loaded.step == 1) and all(f"{damaged}/2 is damaged" in text for text in named)
            found += loaded.step == 1
        path.write_bytes(original)
    assert found >= 3


def test_arrays_that_are_whole_but_others_are_found(damaged):
    """The arrays of another checkpoint in place of its own: every file is whole, and the checksum names the leaf."""
    shutil.rmtree(damaged / "2" / "state")
    shutil.copytree(damaged / "1" / "state", damaged / "2" / "state")
    message = r"checksum of params\.layer\.kernel is wrong"
    with Checkpoints(damaged, read_only=True) as checkpoints, pytest.warns(UserWarning, match=message):
        assert checkpoints.load(state()).step == 1


def test_a_description_that_was_edited_is_found(damaged):
    """Another number in the JSON beside the arrays: it does not have the checksum that it states."""
    (path,) = (damaged / "2" / "meta").glob("metadata")
    path.write_text(path.read_text().replace('"of": 2', '"of": 3'))
    message = "does not have the checksum that it states"
    with Checkpoints(damaged, read_only=True) as checkpoints, pytest.warns(UserWarning, match=message):
        assert checkpoints.load(state()).step == 1


def test_if_all_are_damaged_nothing_is_deleted(damaged):
    """Every file of the arrays empty: an error with the steps tried and the remedy; all files are still there."""
    for step in (1, 2):
        for path in arrays_of(damaged, step):
            path.write_bytes(b"")
    before = sorted(damaged.rglob("*"))
    with Checkpoints(damaged) as checkpoints, pytest.warns(UserWarning, match="is damaged"):
        with pytest.raises(ValueError, match=r"can be read \(2, 1\)\. Nothing was deleted"):
            checkpoints.load(state())
        with pytest.raises(ValueError, match=r"can be read \(1\)"):
            checkpoints.load(state(), step=1)
    assert sorted(damaged.rglob("*")) == before


def test_a_disk_that_refuses_is_an_oserror(tmp_path, monkeypatch):
    """Orbax fails in its own way: one kind of error with the folder; the other checkpoints are untouched."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, SMALL, {})
        checkpoints.wait()

        def refuse(*arguments, **options):
            raise RuntimeError("no space")

        with monkeypatch.context() as patch:
            patch.setattr(checkpoints._manager, "save", refuse)
            with pytest.raises(OSError, match=rf"could not be written to {tmp_path} \(RuntimeError: no space\)"):
                checkpoints.save(2, SMALL, {})
        assert checkpoints.steps() == [1] and checkpoints.load(SMALL).step == 1
