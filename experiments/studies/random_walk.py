"""Random walks: how well a fixed policy's values are learnt, by n-step TD, by the lambda-return and by its traces.

    python -m experiments.studies.random_walk                       # 19 states: the error against the step size
    python -m experiments.studies.random_walk --study learning      # 5 states: TD and Monte Carlo, episode by episode

Each prints a table and draws a picture.
"""

import dataclasses
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl import xla
from purerl.algorithms.tabular.episodes import Episode, sample_episodes
from purerl.algorithms.tabular.prediction import StateValues, begin, learn
from purerl.algorithms.tabular.td import n_step_td
from purerl.algorithms.tabular.td_lambda import Trace, lambda_return, td_lambda
from purerl.analysis import plots
from purerl.config_checks import check_options
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.envs.textbook import random_walk
from purerl.mdp import MDP, state_value
from purerl.ranges import setting

LAMBDAS = (0.0, 0.4, 0.8, 0.9, 0.95, 0.975, 0.99, 1.0)
_DIVERGED = 1.0  # an error that is not drawn: with large steps some curves leave every scale
_TO_THE_END = 1_000_000  # steps, more than any episode has
STEP_SIZES = (*np.arange(0.01, 0.1, 0.01).round(2).tolist(), *np.arange(0.1, 1.01, 0.05).round(2).tolist())


class Panel(NamedTuple):
    """A method ``(values, episode, number, step_size) -> values``, one curve for each number."""

    title: str
    update: Callable[[StateValues, Episode, Any, Any], StateValues]
    symbol: str
    numbers: Sequence[float]
    step_sizes: Sequence[float]
    references: Mapping[float, float] = {}  # the least error by the number, as published or as found independently


class Curve(NamedTuple):
    """The root-mean-square error over states, averaged over runs."""

    mean: np.ndarray | jax.Array  # [P, A, E] by number, step size and episode
    error: np.ndarray | jax.Array  # [P, A, E] standard error of the mean


class Study(NamedTuple):
    """A random walk, and the methods that learn its values."""

    title: str
    walk: MDP
    initial_value: float
    num_episodes: int
    max_steps: int  # of an episode; longer ones, fewer than one in 100 000, are truncated
    panels: Sequence[Panel]
    against_episodes: bool  # errors after each episode (E of them), or their average (E = 1) against the step size


class Result(NamedTuple):
    """Curves and time of a study."""

    curves: list[Curve]  # by panel
    seconds: float  # without compilation


def _td_lambda(trace: Trace) -> Callable:
    def update(values: StateValues, episode: Episode, lambda_: jax.Array, step_size: jax.Array) -> StateValues:
        return td_lambda(values, episode, 1.0, lambda_, trace=trace, step_size=step_size)

    return update


def _n_step(values: StateValues, episode: Episode, n: jax.Array, step_size: jax.Array) -> StateValues:
    return n_step_td(values, episode, 1.0, n, step_size=step_size)


def _lambda_return(values: StateValues, episode: Episode, lambda_: jax.Array, step_size: jax.Array) -> StateValues:
    return lambda_return(values, episode, 1.0, lambda_, step_size=step_size)


def step_size_study() -> Study:
    """The 19-state walk, errors against the step size. Sutton & Barto 2018, figures 7.2, 12.3, 12.6 and 12.8."""
    n_step = {1.0: 0.343, 2.0: 0.271, 4.0: 0.256, 8.0: 0.272, 16.0: 0.315}
    lambda_return = {0.0: 0.365, 0.4: 0.287, 0.8: 0.254, 0.9: 0.275, 0.95: 0.311, 1.0: 0.491}
    powers = tuple(2**k for k in range(10))
    panels = (
        Panel("n-step TD", _n_step, "n", powers, STEP_SIZES, n_step),
        Panel("off-line λ-return", _lambda_return, "λ", LAMBDAS, STEP_SIZES, lambda_return),
        Panel("TD(λ), accumulating traces", _td_lambda("accumulating"), "λ", LAMBDAS, STEP_SIZES),
        Panel("true online TD(λ)", _td_lambda("dutch"), "λ", LAMBDAS, STEP_SIZES),
    )
    return Study("19-state random walk", random_walk(19, left=-1.0), 0.0, 10, 1000, panels, against_episodes=False)


def learning_study() -> Study:
    """The 5-state walk, errors against episodes. Sutton & Barto 2018, example 6.2."""
    panels = (
        Panel("TD(0)", _n_step, "n", (1,), (0.05, 0.1, 0.15)),
        Panel("Monte Carlo", _n_step, "n", (_TO_THE_END,), (0.01, 0.02, 0.03, 0.04)),
    )
    return Study("5-state random walk", random_walk(5), 0.5, 100, 200, panels, against_episodes=True)


STUDIES = {"step-size": step_size_study, "learning": learning_study}


def errors(study: Study, panel: Panel, episodes: Episode) -> Curve:
    """What a panel shows, from the episodes ``[R, E, ...]`` of R runs."""
    inner = ~np.asarray(study.walk.terminal)
    truth = state_value(study.walk, jnp.ones((len(inner), 1)))[inner]

    def run(episodes: Episode) -> jax.Array:
        def point(number: jax.Array, step_size: jax.Array) -> jax.Array:
            def update(values: StateValues, episode: Episode) -> StateValues:
                return panel.update(values, episode, number, step_size)

            start = begin(jnp.full(len(inner), study.initial_value))
            history = learn(update, start, episodes)[1]
            error = jnp.sqrt(jnp.mean(jnp.square(history[:, inner] - truth), axis=-1))
            return error if study.against_episodes else jnp.mean(error, keepdims=True)

        over_sizes = jax.vmap(point, in_axes=(None, 0))
        return jax.vmap(over_sizes, in_axes=(0, None))(jnp.asarray(panel.numbers), jnp.asarray(panel.step_sizes))

    # One run after another: each loop is then as long as its own episode, not as the longest of all runs.
    error = jax.lax.map(run, episodes)
    return Curve(jnp.mean(error, axis=0), jnp.std(error, axis=0) / math.sqrt(len(error)))


def walk(study: Study, key: jax.Array, num_runs: int) -> Result:
    """Every panel's errors, all on the same walks.

    Args:
        study: the walk and its methods.
        key: typed key.
        num_runs: R, independent runs.
    """

    def all_panels(key: jax.Array) -> list[Curve]:
        only = jnp.ones((len(study.walk.start), 1))
        episodes = sample_episodes(study.walk, only, key, num_runs * study.num_episodes, study.max_steps)
        runs = jax.tree.map(lambda x: x.reshape(num_runs, study.num_episodes, *x.shape[1:]), episodes)
        return [errors(study, panel, runs) for panel in study.panels]

    compiled = jax.jit(all_panels).lower(key).compile()
    began = time.perf_counter()
    curves = jax.tree.map(np.asarray, compiled(key))
    return Result(curves, time.perf_counter() - began)


def table(study: Study, curves: Sequence[Curve]) -> list[str]:
    """A line a curve: errors after some episodes, or the least error over step sizes beside its reference."""
    lines = []
    for panel, curve in zip(study.panels, curves, strict=True):
        if study.against_episodes:
            lines.append(f"{panel.title}: error after 1, 10 and {curve.mean.shape[-1]} episodes")
            for size, mean, error in zip(panel.step_sizes, curve.mean[0], curve.error[0], strict=True):
                after = (min(k, len(mean)) - 1 for k in (1, 10, len(mean)))
                shown = "  ".join(f"{mean[k]:.3f} ± {1.96 * error[k]:.3f}" for k in after)
                lines.append(f"  step {size:<5g}  {shown}")
        else:
            lines.append(f"{panel.title}: least error of the first {study.num_episodes} episodes")
            for number, mean, error in zip(panel.numbers, curve.mean[..., 0], curve.error[..., 0], strict=True):
                best = int(np.nanargmin(mean))
                line = f"  {panel.symbol} = {number:<5g}  {mean[best]:.3f} ± {1.96 * error[best]:.3f}"
                line += f"  at step {panel.step_sizes[best]:<5g}"
                if number in panel.references:
                    line += f"  reference {panel.references[number]:.3f} ({mean[best] - panel.references[number]:+.3f})"
                lines.append(line.rstrip())
    return lines


def draw(study: Study, curves: Sequence[Curve]):
    """The errors, with 95 % intervals over runs."""
    from matplotlib.figure import Figure

    width = math.ceil(len(study.panels) / 2) if len(study.panels) > 2 else len(study.panels)
    height = math.ceil(len(study.panels) / width)
    figure = Figure(figsize=(5.2 * width, 3.9 * height + 0.4), layout="constrained")
    grid = figure.subplots(height, width, sharex=True, sharey=True, squeeze=False)
    for axes, panel, curve in zip(grid.flat, study.panels, curves, strict=True):
        for i, (label, x, mean, error) in enumerate(_lines(study, panel, curve)):
            mean = np.where(mean < _DIVERGED, mean, np.nan)
            axes.plot(x, mean, color=f"C{i}", linewidth=1.2, label=label)
            axes.fill_between(x, mean - 1.96 * error, mean + 1.96 * error, color=f"C{i}", alpha=0.25, linewidth=0)
        axes.set(title=panel.title)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right" if study.against_episodes else "lower right", fontsize="x-small", ncols=2)
        if not study.against_episodes:
            axes.set_ylim(0.2, 0.56)
    figure.supxlabel("episodes" if study.against_episodes else "step size")
    figure.supylabel("root-mean-square error over states")
    figure.suptitle(study.title)
    return figure


def _lines(study: Study, panel: Panel, curve: Curve) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """``(label, x, mean, error)`` of a panel's curves."""
    if study.against_episodes:
        episodes = np.arange(1, curve.mean.shape[-1] + 1)
        for size, mean, error in zip(panel.step_sizes, curve.mean[0], curve.error[0], strict=True):
            yield f"step {size:g}", episodes, np.asarray(mean), np.asarray(error)
    else:
        for number, mean, error in zip(panel.numbers, curve.mean[..., 0], curve.error[..., 0], strict=True):
            yield f"{panel.symbol} = {number:g}", np.asarray(panel.step_sizes), np.asarray(mean), np.asarray(error)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to walk, how often, and where to draw it."""

    study: str = "step-size"
    """What to show: step-size or learning."""
    num_runs: int = setting(1000, low=1)
    """Independent runs; every method sees the same ones."""
    seed: int = 0
    """Fixes everything random."""
    out: pathlib.Path | None = None
    """Image to write; None: runs/random_walk/STUDY.png."""
    cpu_threads: int | None = None
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.study not in STUDIES:
            raise ValueError(f"study = {self.study!r}: choose one of {', '.join(STUDIES)}.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("random_walk", flags=[Options]):
        options = parse_record(Options, arguments, "python -m experiments.studies.random_walk", __doc__)
        xla.set_cpu_flags(threads=options.cpu_threads, small_loops=True)
        out = options.out or pathlib.Path("runs", "random_walk", f"{options.study}.png")
        plots.check_can_save(out)
        study = STUDIES[options.study]()
        curves, seconds = walk(study, jax.random.key(options.seed), options.num_runs)
        print(f"{study.title}: {options.num_runs} runs", *table(study, curves), sep="\n")
        plots.save(draw(study, curves), out)
    print(f"{seconds:.1f} s after compilation; wrote {out}", file=sys.stderr)


if __name__ == "__main__":
    main()
