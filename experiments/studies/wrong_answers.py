"""What the average over tokens does to wrong answers: GRPO against Dr. GRPO (Liu et al. 2025, figure 5).

    python -m experiments.studies.wrong_answers --out-dir experiments/results/grpo/wrong_answers

The task is ``wordy_addition``, whose answers may begin with filler that is worth nothing and costs nothing. Where each
answer's loss is divided by its length, a long wrong answer is blamed less than a short one, so that what is wrong grows
longer; divided by a constant, it does not. Prints a table, draws a picture, and keeps the numbers.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from purerl import files, xla
from purerl.algorithms.language.grpo import GRPOConfig, GRPOHypers, grpo
from purerl.analysis import plots
from purerl.analysis.statistics import mean, stratified_bootstrap
from purerl.config_checks import check_options
from purerl.driver.command_line import Preset, one_line_errors, parse_record
from purerl.language.tasks import Task, wordy_addition
from purerl.nets.decoder import DecoderConfig
from purerl.presets.grpo import variant
from purerl.ranges import setting
from purerl.types import Mean

NAMES = {"grpo": "GRPO", "dr_grpo": "Dr. GRPO"}
METRICS = {"wrong_answer_length": "tokens of wrong answers", "answer_length": "tokens", "episode_return": "share right"}
DECODER = DecoderConfig(size=32, num_layers=2, num_heads=4, num_kv_heads=4, head_size=8, feed_forward_size=128)
CONFIG = GRPOConfig(
    decoder=DECODER, num_prompts=8, group_size=16, reward_weights=(1.0, 0.0), warm_up_steps=60, warm_up_batch_size=128
)
HYPERS = GRPOHypers(learning_rate=1e-3, warm_up_learning_rate=2e-3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How many runs, how long, and where results go."""

    num_seeds: int = setting(10, low=2)
    """Runs of each."""
    num_updates: int = setting(200, low=10)
    """Of 128 answers each."""
    seed: int = 0
    """Fixes everything random."""
    out_dir: pathlib.Path = pathlib.Path("runs", "wrong_answers")
    """Folder for the picture and the numbers."""
    cpu_threads: int | None = setting(None, low=1)
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        check_options(self)


def live(task: Task, preset: Preset, key: jax.Array, num_updates: int) -> dict[str, jax.Array]:
    """Metrics of one run, ``[U]`` each; NaN where no answer was wrong."""
    algorithm = grpo(task, preset.config)
    init_key, run_key = jax.random.split(key)

    def step(state, key):
        state, metrics = algorithm.update(preset.hypers, state, key)
        return state, {name: metrics[name] for name in METRICS}

    _, curves = jax.lax.scan(step, algorithm.init(preset.hypers, init_key), jax.random.split(run_key, num_updates))
    return jax.tree.map(lambda x: x.total / x.number, curves, is_leaf=lambda x: isinstance(x, Mean))


def run(options: Options) -> dict[str, dict[str, np.ndarray]]:
    """Curves ``[S, U]`` of both, from the same beginnings."""
    keys, task = jax.random.split(jax.random.key(options.seed), options.num_seeds), wordy_addition()
    found = {}
    for name in NAMES:
        preset = variant(Preset(CONFIG, HYPERS, 0), name)
        curves = jax.jit(jax.vmap(lambda key, preset=preset: live(task, preset, key, options.num_updates)))(keys)
        found[name] = jax.tree.map(np.asarray, curves)
    return found


def growth(curve: np.ndarray) -> np.ndarray:
    """By how much a metric ``[S, U]`` is larger in the last tenth of the updates than in the first, ``[S]``."""
    tenth = max(curve.shape[1] // 10, 1)
    return np.nanmean(curve[:, -tenth:], axis=1) - np.nanmean(curve[:, :tenth], axis=1)


def table(found: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
    """A line for each of the two: growth of lengths and of the share of right answers, with 95 % intervals."""
    lines = [f"{'growth, mean [95 %]':<20}" + "".join(f"  {title:>24}" for title in METRICS.values())]
    for name, curves in found.items():
        cells = (str(stratified_bootstrap(mean, growth(curves[metric]))) for metric in METRICS)
        lines.append(f"{NAMES[name]:<20}" + "".join(f"  {cell:>24}" for cell in cells))
    return lines


def picture(found: Mapping[str, Mapping[str, np.ndarray]]):
    """Lengths of wrong answers and the share of right ones as training goes on: means over seeds and their range."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 2), ("wrong_answer_length", "episode_return"), strict=True):
        for i, (name, curves) in enumerate(found.items()):
            smooth = plots.smooth(curves[metric].T, 10).T
            at = np.arange(1, smooth.shape[1] + 1)
            axes.plot(at, np.nanmean(smooth, axis=0), color=f"C{i}", label=NAMES[name])
            low, high = np.nanmin(smooth, axis=0), np.nanmax(smooth, axis=0)
            axes.fill_between(at, low, high, color=f"C{i}", alpha=0.2, linewidth=0)
        axes.set(xlabel="updates of 128 answers", ylabel=METRICS[metric])
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("wrong_answers", flags=[Options]):
        options = parse_record(Options, arguments, "python -m experiments.studies.wrong_answers", __doc__)
        xla.set_cpu_flags(threads=options.cpu_threads)
        image, numbers = options.out_dir / "wrong_answers.png", options.out_dir / "wrong_answers.json"
        plots.check_can_save(image)
        found = run(options)
        kept = {
            name: {metric: growth(curve).tolist() for metric, curve in curves.items()} for name, curves in found.items()
        }
        files.write_json(numbers, {"num_updates": options.num_updates, "growth_of_each_seed": kept})
        plots.save(picture(found), image)
    print(*table(found), sep="\n")
    print(f"wrote {image} and {numbers}", file=sys.stderr)


if __name__ == "__main__":
    main()
