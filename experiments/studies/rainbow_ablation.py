"""Ablation of Rainbow's six parts: Rainbow without it, and without all (Hessel et al. 2018, figure 3).

    python -m experiments.studies.rainbow_ablation --num-seeds 5  # MinAtar Breakout at full length: hours
    python -m experiments.studies.rainbow_ablation --env CartPole-v1              # minutes
    python -m experiments.studies.rainbow_ablation --parts distribution noisy --resume  # goes on

All runs have Rainbow's hyperparameters and the same seeds. Each leaves its folder as ``experiments.rainbow`` does;
beside them lie the learning curves, the scores at the end and over the whole run, and both as ``summary.json``.
"""

import dataclasses
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from purerl import envs, files, xla
from purerl.algorithms.value.dqn import DQNConfig
from purerl.analysis import plots
from purerl.analysis.statistics import (
    Interval,
    holm,
    interquartile_mean,
    interval,
    mann_whitney,
    probability_of_improvement,
    stratified_bootstrap,
)
from purerl.config_checks import check_options
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.driver.hypers import schedules
from purerl.driver.running.interruption import Interrupted
from purerl.driver.running.loop import train
from purerl.driver.running.result import TrainResult
from purerl.driver.storage import folder
from purerl.names import near
from purerl.presets.rainbow import EXPERIMENT, PARTS, make_algorithm, rainbow
from purerl.ranges import setting

NAMES = {
    "target": "double",
    "dueling": "dueling",
    "prioritized": "priorities",
    "n_step": "multi-step",
    "distribution": "distribution",
    "noisy": "noise",
}
"""What the figures call the parts."""

WHOLE, BARE = "Rainbow", "DQN"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Parts to take away, environment, length, and where results go."""

    env: str = "Breakout-MinAtar"
    """Environment; its preset is that of experiments.rainbow."""
    parts: tuple[str, ...] = tuple(PARTS)
    """Parts to take away, one at a time: target, dueling, prioritized, n_step, distribution, noisy."""
    num_env_steps: int | None = setting(None, low=1)
    """Environment steps of each seed; None: as the preset has it."""
    num_seeds: int = setting(5, low=1)
    """Independent runs of each agent."""
    seed: int = 0
    """Fixes everything random."""
    eval_every: int | None = None
    """Environment steps between evaluations; None: 20 over the run."""
    num_eval_episodes: int = setting(32, low=1)
    """Episodes of each evaluation, in fresh environments, with the best actions."""
    trials_at_once: int | None = setting(None, low=1)
    """Seeds to run side by side, the others waiting their turn; None: all that fit."""
    out_dir: pathlib.Path | None = None
    """Where results go; None: runs/rainbow_ablation/ENV."""
    overwrite: bool = False
    """Replace the runs that are there."""
    resume: bool = False
    """Go on with what was interrupted, and leave what is finished as it is."""
    progress: bool = True
    """Show progress bars."""
    cpu_threads: int | None = setting(None, low=1)
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        check_options(self)
        for part in self.parts:
            if part not in PARTS:
                raise ValueError(f"parts has {part!r}. {near(part, PARTS)}Choose from {', '.join(PARTS)}.")
        if self.eval_every is not None and self.eval_every < 1:
            raise ValueError(f"eval_every = {self.eval_every}: it must be at least 1, for the curves are evaluations.")
        if self.resume and self.overwrite:
            raise ValueError("resume goes on with the runs that are there, overwrite replaces them: choose one.")

    @property
    def folder(self) -> pathlib.Path:
        """Where results go."""
        return self.out_dir or pathlib.Path("runs", "rainbow_ablation", self.env.replace("/", "-"))


def variants(config: DQNConfig, parts: Sequence[str] = tuple(PARTS)) -> dict[str, DQNConfig]:
    """Rainbow, Rainbow without each of the parts, and DQN."""
    fewer = {f"no {NAMES[part]}": rainbow(config, without=(part,)) for part in parts}
    return {WHOLE: rainbow(config), **fewer, BARE: rainbow(config, without=PARTS)}


def ablate(options: Options) -> dict[str, TrainResult]:
    """Train all agents one after another, each with its seeds side by side."""
    preset, env, results = EXPERIMENT.preset(options.env), envs.make(options.env), {}
    for label, config in variants(preset.config, options.parts).items():
        print(f"{label}:", file=sys.stderr)
        results[label] = train(
            make_algorithm(env, config, name=label),
            preset.hypers,
            jax.random.key(options.seed),
            num_env_steps=options.num_env_steps or preset.num_env_steps,
            num_seeds=options.num_seeds,
            eval_every=options.eval_every,
            num_eval_episodes=options.num_eval_episodes,
            schedules=schedules.parse(preset.schedule),
            trials_at_once=options.trials_at_once,
            out_dir=options.folder / label.replace(" ", "_"),
            overwrite=options.overwrite,
            resume=options.resume,
            progress=options.progress,
            extra_settings={"experiment": EXPERIMENT.name, "seed": options.seed},
        )
    return results


def scores(final_returns: np.ndarray, eval_returns: np.ndarray) -> np.ndarray:
    """Of each seed the last return ``[S]`` and the mean of its evaluations ``[E, S]``; without those that diverged.

    Returns:
        ``[S', 2]``.
    """
    both = np.stack([final_returns, np.mean(eval_returns, axis=0)], axis=-1)
    return both[~np.isnan(both).any(axis=-1)]


def better(whole: np.ndarray, other: np.ndarray) -> Interval:
    """How likely a seed of the whole is above one of the other, over the run: scores ``[S, 2]`` and ``[S', 2]``."""
    return stratified_bootstrap(probability_of_improvement, whole[:, 1], other[:, 1])


def p_values(found: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Of each agent against the whole, over the run, from scores ``[S, 2]``: that chance alone makes as much of it.

    Exact Mann-Whitney tests, corrected by Holm for how many there are.
    """
    others = {label: of_seeds[:, 1] for label, of_seeds in found.items() if label != WHOLE}
    tests = [mann_whitney(found[WHOLE][:, 1], of_seeds) for of_seeds in others.values()]
    return dict(zip(others, holm(tests).tolist(), strict=True))


def table(found: Mapping[str, np.ndarray], num_diverged: Mapping[str, int] | None = None) -> list[str]:
    """A line an agent, from its scores ``[S, 2]``, with how many seeds are missing there because they diverged."""
    width = max(map(len, found))
    lines = [f"{'interquartile mean [95 %]':<{width}}  {'in the end':>24}  {'over the run':>24}  {WHOLE} is better"]
    corrected = p_values(found)
    for label, of_seeds in found.items():
        diverged = (num_diverged or {}).get(label, 0)
        end, run = (interval(column)._replace(num_missing=diverged).text("diverged") for column in of_seeds.T)
        versus = ""
        if label != WHOLE and len(of_seeds) and len(found[WHOLE]):
            versus = f"{better(found[WHOLE], of_seeds)}, p = {corrected[label]:.2g} (Holm)"
        lines.append(f"{label:<{width}}  {end:>24}  {run:>24}  {versus}".rstrip())
    return lines


def draw(results: Mapping[str, TrainResult], found: Mapping[str, np.ndarray], title: str) -> dict[str, object]:
    """Learning curves, and bars of the scores with their intervals: figures by the name of their file."""
    panels = {
        "in the end": lambda both: interquartile_mean(both[..., :1]),
        "mean over the run": lambda both: interquartile_mean(both[..., 1:]),
    }
    there = {label: both for label, both in found.items() if len(both)}  # of the others all seeds diverged
    curves = {label: (result.eval_steps, result.eval_returns) for label, result in results.items()}
    return {
        "curves.png": plots.compare(curves, title),
        "scores.png": plots.interval_estimates(there, panels, title, "episode return"),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    again = f"python -m experiments.studies.rainbow_ablation {shlex.join([*arguments, '--resume', '--out-dir'])}"
    with one_line_errors("rainbow_ablation", again, [Options]):
        options = parse_record(Options, arguments, "python -m experiments.studies.rainbow_ablation", __doc__)
        xla.set_cpu_flags(threads=options.cpu_threads)
        try:
            results = ablate(options)
        except Interrupted as stopped:  # in the folder of one agent; to be resumed are all of them
            raise Interrupted(str(stopped), stopped.signal, options.folder) from None
        found = {label: scores(result.final_returns, result.eval_returns) for label, result in results.items()}
        corrected = p_values(found)
        num_diverged = {label: result.summary["num_diverged"] for label, result in results.items()}
        num_env_steps = results[WHOLE].summary["num_env_steps"]
        title = f"Rainbow without its parts on {options.env}, {options.num_seeds} seeds"
        summary = {
            label: {
                "final_return": interval(both[:, 0])._asdict(),
                "mean_return": interval(both[:, 1])._asdict(),
                "final_return_of_each_seed": both[:, 0].tolist(),
                "mean_return_of_each_seed": both[:, 1].tolist(),
                "num_diverged": results[label].summary["num_diverged"],
                "p_value_holm": corrected.get(label),  # against the whole, over the run
            }
            for label, both in found.items()
        }
        files.write_json(options.folder / folder.SUMMARY, {"num_env_steps": num_env_steps, "agents": summary})
        for name, figure in draw(results, found, title).items():
            plots.save(figure, options.folder / name)
    print(f"{title}, {num_env_steps:,} steps each", *table(found, num_diverged), sep="\n")
    print(f"wrote {options.folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
