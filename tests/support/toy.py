"""A learner that does nothing but count and draw, so that a test of the driver waits for the driver alone."""

import csv
import dataclasses
import json
import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

import purerl
from purerl.algorithm import Algorithm, Spec
from purerl.config_checks import check_config
from purerl.driver import TrainResult
from purerl.driver.command_line import Experiment, Preset
from purerl.driver.running import program
from purerl.ranges import hyper
from purerl.types import Episodes, Mean, Seen

STEPS_PER_UPDATE = 10
KEY = jax.random.key(0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """What fixes shapes."""

    sizes: tuple[int, ...] = (1, 2)
    """The last one is the number of weights."""

    def __post_init__(self) -> None:
        check_config(self)


class ToyHypers(struct.PyTreeNode):
    """How far an update moves, and which seeds diverge when."""

    rate: float = hyper(1.0)
    """Length of an update's step."""
    limit: float = hyper(float("inf"), infinite=True)
    """A seed whose level is above it diverges."""
    calm: int = hyper(0, low=0)
    """Updates before that happens."""


class ToyState(struct.PyTreeNode):
    """A random walk, with a key, a flag and weights as states of other algorithms have them."""

    x: jax.Array  # []
    level: jax.Array  # [] in [0, 1), fixed at the start
    num_updates: jax.Array  # [] int
    even: jax.Array  # [] bool
    weights: jax.Array  # [W]
    key: jax.Array  # typed


def toy(config: ToyConfig | None = None, *, evaluates: bool = True, finishes_episodes: bool = True) -> Algorithm:
    """A random walk. An "episode", of return x, ends in every second update, or there is no such metric.

    An evaluation's return is the number of updates and a draw in [0, 1), its length the rate. The agent counts its
    steps, and its action is the observation and the number of updates, with ``sample`` and a draw.
    """
    config = config or ToyConfig()

    def init(hypers: ToyHypers, key: jax.Array) -> ToyState:
        zero = jnp.zeros((), jnp.int32)
        return ToyState(jnp.zeros(()), _uniform(key), zero, jnp.array(True), jnp.zeros(config.sizes[-1]), key)

    def update(hypers: ToyHypers, state: ToyState, key: jax.Array):
        # Rounds alike in every program if the rate is a power of two, so that runs can be compared bit for bit.
        x = state.x + hypers.rate * (2.0 * _uniform(key) - 1.0)
        diverges = (state.level > hypers.limit) & (state.num_updates >= hypers.calm)
        x = x + jnp.log(jnp.where(diverges, -1.0, 1.0))
        count = (state.num_updates % 2).astype(jnp.float32)
        metrics = {"x": x, "number": state.num_updates.astype(jnp.float32), "rate": hypers.rate}
        if finishes_episodes:
            metrics["episode_return"] = Mean(jnp.where(count > 0, x, 0.0), count)
        state = state.replace(
            x=x, num_updates=state.num_updates + 1, even=~state.even, weights=jnp.full_like(state.weights, x)
        )
        return state, metrics

    def evaluate(hypers: ToyHypers, state: ToyState, key: jax.Array, num_episodes: int) -> Episodes:
        returns = state.num_updates + jax.vmap(lambda i: _uniform(key, 2 * i + 1))(jnp.arange(num_episodes))
        return Episodes(returns=returns, lengths=jnp.full(num_episodes, hypers.rate))

    def start() -> jax.Array:
        return jnp.zeros((), jnp.int32)

    def act(hypers: ToyHypers, state: ToyState, carry: jax.Array, seen: Seen, key: jax.Array, sample: bool = False):
        return carry + 1, seen.obs + state.num_updates + (_uniform(key) if sample else 0.0)

    settings = {"env": "nowhere", **dataclasses.asdict(config)}
    spec = Spec("toy", STEPS_PER_UPDATE, evaluate if evaluates else None, settings, hypers_class=ToyHypers)
    return Algorithm(init, update, start, act, spec)


def toy_of_returns(returns: Callable[[ToyState], jax.Array]) -> Algorithm:
    """The toy, whose evaluations return what is made of its state."""
    algorithm = toy()

    def evaluate(hypers: ToyHypers, state: ToyState, key: jax.Array, num_episodes: int) -> Episodes:
        return Episodes(jnp.full(num_episodes, 1.0 * returns(state)), jnp.ones(num_episodes))

    return algorithm._replace(spec=algorithm.spec._replace(evaluate=evaluate))


EXPERIMENT = Experiment(
    name="toy",
    description="Count and draw.",
    make_env=lambda name: name,
    make_algorithm=lambda env, config: toy(config),
    presets={"nowhere": Preset(ToyConfig(), ToyHypers(), num_env_steps=80)},
    default_env="nowhere",
    fallback=Preset(ToyConfig(), ToyHypers(), num_env_steps=40),
)


def _uniform(key: jax.Array, factor: int | jax.Array = 1) -> jax.Array:
    """A number in [0, 1) that is the key's own: hashing it once more would take longer to compile than all the rest."""
    bits = jax.random.key_data(key)[0] * jnp.uint32(factor)
    return (bits >> 8).astype(jnp.float32) / 2**24


def train(algorithm: Algorithm | None = None, hypers: Any = None, **options) -> TrainResult:
    """Eight updates in silence, without evaluation (which would compile as long as the rest), unless told otherwise."""
    options = {"num_env_steps": 80, "eval_every": 0, "progress": False} | options
    return purerl.train(algorithm or toy(), ToyHypers() if hypers is None else hypers, KEY, **options)


def levels(num_seeds: int) -> np.ndarray:
    """The levels of the first seeds, which decide who diverges."""
    hypers = jax.tree.map(lambda leaf: jnp.full(num_seeds, leaf), ToyHypers())
    return np.asarray(program.init(toy(), hypers, program.seed_keys(KEY, num_seeds)).states.level)


def limit_for_one(num_seeds: int) -> tuple[int, float]:
    """The seed with the highest level, and a limit that it alone exceeds."""
    found = levels(num_seeds)
    return int(found.argmax()), float(np.sort(found)[-2:].mean())


def quietly(function, *arguments, **options):
    """Call a function whose warnings are another test's concern."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


def assert_same(a: Any, b: Any) -> None:
    """Two trees are equal bit for bit, in structure and dtypes too; NaN equals NaN."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, x), y in zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype, jax.tree_util.keystr(path)
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        x, y = (np.asarray(leaf, np.float32 if leaf.dtype == jnp.bfloat16 else None) for leaf in (x, y))
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))


def assert_same_results(a: TrainResult, b: TrainResult) -> None:
    """Two results have the same states, hyperparameters and curves, bit for bit."""
    for name in ("states", "hypers", "steps", "metrics", "eval_steps", "eval_returns", "final_returns"):
        assert_same(getattr(a, name), getattr(b, name))


def rows(folder: pathlib.Path) -> list[dict[str, str]]:
    """The rows of a run's ``metrics.csv``."""
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def config_of(folder: pathlib.Path) -> dict[str, Any]:
    """The settings that a run wrote down."""
    return json.loads((folder / "config.json").read_text())
