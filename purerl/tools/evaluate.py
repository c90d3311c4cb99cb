"""Evaluate the agents that a run has left in its checkpoints: returns, lengths, and a picture of an episode.

purerl evaluate runs/ppo/TIME-ENV --best --render episode.gif
"""

import dataclasses
import inspect
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from purerl import files, xla
from purerl.analysis import animation
from purerl.analysis.statistics import Interval, interval
from purerl.config_checks import check_options
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.driver.command_line.report import with_diverged
from purerl.driver.hypers.names import fold_in_name
from purerl.driver.running import program
from purerl.driver.storage.restore import Agents, load_agents
from purerl.envs import drawing
from purerl.kernels.attempts import pass_at_k
from purerl.ranges import setting

_PERCENTS = (5, 25, 50, 75, 95)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to evaluate, and how."""

    folder: tyro.conf.Positional[pathlib.Path]
    """Folder of a run, finished or not, such as runs/ppo/TIME-ENV."""
    episodes: int = setting(1000, low=1)
    """Episodes of each seed, in fresh environments."""
    step: int | None = setting(None, low=0)
    """Environment step of the checkpoint to evaluate; None: the last."""
    best: bool = False
    """Take the checkpoint with the best evaluation during the run."""
    allow: tuple[str, ...] = ()
    """Modules of your own that the run may import, such as that of its environment; whatever is in them runs."""
    seed: int = setting(0, low=0, high=2**32 - 1)
    """Fixes everything random about the evaluation. Its random numbers are none that the run has used. Which of the
    run's agents play is --agent's to say."""
    sampled: bool = False
    """Draw actions from the policy instead of taking its mode."""
    attempts: int = setting(1, low=1)
    """Of a language model, with --sampled: answers to each prompt, which tell how often one of k is right, pass@k.
    Divides --episodes."""
    point: int | None = setting(None, low=0)
    """Evaluate this point of a sweep alone; None: all."""
    agent: int | None = setting(None, low=0)
    """Evaluate the agent of this seed alone, counted from 0; None: those of all."""
    render: pathlib.Path | None = None
    """Draw an episode of the seed with the best mean return to this file, an animated GIF; of a game, self-play.
    None: draw nothing."""
    max_steps: int = setting(500, low=1)
    """Steps after which the picture ends, if the episode does not."""
    json: pathlib.Path | None = None
    """Also write everything to this file; None: print it alone."""
    progress: bool = True
    """Show a progress bar."""
    cpu_threads: int | None = setting(None, low=1)
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.best and self.step is not None:
            raise ValueError(f"--best chooses the step by itself: drop it, or --step {self.step}.")
        if self.render is not None and self.render.suffix.lower() != ".gif":
            raise ValueError(f"--render {self.render}: the picture is a GIF, so its name must end in .gif.")
        if self.attempts > 1 and (not self.sampled or self.episodes % self.attempts):
            raise ValueError(
                f"--attempts {self.attempts} goes with --sampled, lest all be the same, and must divide --episodes "
                f"{self.episodes}."
            )


class Played(NamedTuple):
    """What a trial has played: one seed at one point (0 where there is no sweep)."""

    trial: int
    point: int
    seed: int
    returns: np.ndarray  # [N] NaN for one that diverged
    lengths: np.ndarray  # [N]
    num_cut: int = 0  # episodes that did not end
    solved: np.ndarray | None = None  # [N] bool

    @property
    def mean_return(self) -> float:
        """Mean over episodes."""
        return float(np.mean(self.returns))


class Point(NamedTuple):
    """A point of a sweep, or all there is without one, over its seeds."""

    number: int
    values: dict[str, Any]  # of the swept fields
    returns: Interval  # interquartile mean over seeds of their mean returns
    lengths: Interval
    num_diverged: int
    played: list[Played]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("evaluate", flags=[Options]):
        options = parse_record(Options, arguments, "purerl evaluate", __doc__)
        xla.set_cpu_flags(threads=options.cpu_threads)
        agents = load_agents(options.folder, options.step, options.best, options.allow)
        draw = None if options.render is None else _drawing(agents)  # first, lest all be played in vain
        points = ranked(agents, play(agents, options))
        lines = report(agents, options, points)
        if options.render is not None:
            lines.append(render(agents, options, points[0], draw))
        if options.json is not None:
            files.write_json(options.json, record(agents, options, points))
            lines.append(f"wrote {options.json}")
    print("\n".join(lines))


def play(agents: Agents, options: Options) -> list[Played]:
    """The episodes of every trial that is asked for.

    One trial after the other, so that memory does not grow with their number. Which others are played makes no
    difference to a trial, and seed ``i`` meets the same randomness at every point.

    Raises:
        ValueError: if there is no such trial, it cannot be evaluated in this way, or all asked for have diverged.
    """
    from tqdm import tqdm

    evaluate, how = agents.run.algorithm.spec.evaluate, _how(agents, options)
    assert evaluate is not None
    episodes = jax.jit(lambda hypers, state, key: evaluate(hypers, state, key, options.episodes, **how))
    trials, keys = _chosen(agents, options), _keys(agents, options, "episodes")
    nothing = np.full(options.episodes, np.nan)
    played = []
    for m in tqdm(trials, unit="seed", disable=not options.progress or len(trials) == 1):
        point, seed = divmod(m, agents.columns.num_seeds)
        returns, lengths, num_cut, solved = nothing, nothing, 0, None
        if m not in agents.diverged:  # an agent of NaNs might play for ever
            result = jax.device_get(episodes(*agents.trial(m), keys[seed]))
            returns, lengths = (np.asarray(values, np.float64) for values in (result.returns, result.lengths))
            num_cut, solved = int(result.num_cut or 0), result.solved
        played.append(Played(m, point, seed, returns, lengths, num_cut, solved))
    return played


def ranked(agents: Agents, played: Sequence[Played]) -> list[Point]:
    """The points, best first: by interquartile mean, those with a diverged seed after all others."""

    def point(number: int) -> Point:
        seeds = [one for one in played if one.point == number]
        return Point(
            number,
            {name: column[number].item() for name, column in agents.columns.swept.items()},
            interval([one.mean_return for one in seeds]),
            interval([np.mean(one.lengths) for one in seeds]),
            sum(one.trial in agents.diverged for one in seeds),
            seeds,
        )

    points = [point(number) for number in sorted({one.point for one in played})]
    return sorted(points, key=lambda point: (point.num_diverged > 0, _last_if_nan(-point.returns.estimate)))


def report(agents: Agents, options: Options, points: Sequence[Point]) -> list[str]:
    """Lines for a person: of a sweep the points, and of the best one its seeds."""
    how = "actions drawn from the policy" if options.sampled else "the mode of the policy"
    lines = [
        f"{_title(agents)} at step {agents.step:,} ({_which(options)}): {options.episodes:,} "
        f"{agents.run.algorithm.spec.evaluated_in.removeprefix('evaluation ')} of each seed "
        f"with {how}, randomness of --seed {options.seed}"
    ]
    if len(points) > 1:
        width = max(len(_label(point)) for point in points)
        lines.append(f"  {'':{width}}  return over seeds, interquartile mean [95 % interval]")
        lines += [f"  {_label(point):{width}}  {with_diverged(point.returns, point.num_diverged)}" for point in points]
    if num_cut := sum(one.num_cut for point in points for one in point.played):
        lines.append(f"  {num_cut:,} of them did not end and were cut off; their returns are of what was played")
    if agents.columns.swept:
        lines.append(f"{'the best, ' * (len(points) > 1)}{_label(points[0])}")
    lines += _solved(points[0], options.attempts)
    return lines + _table(agents, points[0], "return") + _table(agents, points[0], "length")


def record(agents: Agents, options: Options, points: Sequence[Point]) -> dict[str, Any]:
    """The evaluation as plain values, for a file."""
    return {
        "title": _title(agents),
        "folder": str(options.folder),
        "step": agents.step,
        "episodes": options.episodes,
        "random_seed": options.seed,
        "sampled": options.sampled,
        "points": [
            {
                "point": point.number,
                "values": point.values,
                "return": point.returns._asdict(),
                "length": point.lengths._asdict(),
                "num_diverged": point.num_diverged,
                "solved_within": {k: share._asdict() for k, share in solved_within(point, options.attempts).items()},
                "seeds": [
                    {
                        "seed": one.seed,
                        "return": _describe(one.returns),
                        "length": _describe(one.lengths),
                        "num_cut": one.num_cut,
                    }
                    for one in point.played
                ],
            }
            for point in points
        ],
    }


def solved_within(point: Point, attempts: int) -> dict[int, Interval]:
    """How often one of k attempts at a prompt is right, for k = 1, 2, 4 and so on: interquartile mean over seeds."""
    counts = [np.reshape(one.solved, (-1, attempts)).sum(axis=1) for one in point.played if one.solved is not None]
    ks = [2**i for i in range(attempts.bit_length())] if counts else []
    return {k: interval([float(np.mean(pass_at_k(jnp.asarray(count), attempts, k))) for count in counts]) for k in ks}


def render(agents: Agents, options: Options, point: Point, draw: drawing.Draw | None) -> str:
    """Draw an episode of the seed with the best mean return at a point; says whose it is."""
    assert options.render is not None
    best = min(point.played, key=lambda one: _last_if_nan(-one.mean_return))
    pictures = drawing.frames(
        agents.run.env,
        agents.run.algorithm.agent(*agents.trial(best.trial), options.sampled),
        _keys(agents, options, "picture")[best.seed],
        options.max_steps,
        draw,
    )
    animation.save_gif(options.render, pictures)
    return f"wrote {options.render}: {agents.columns.describe(best.trial)}, {len(pictures) - 1} steps"


def _chosen(agents: Agents, options: Options) -> list[int]:
    """The trials that are asked for.

    Raises:
        ValueError: if there is no such point or seed, or all have diverged.
    """
    columns = agents.columns
    choices = (
        ("point", "point", options.point, columns.num_points),
        ("agent", "seed", options.agent, columns.num_seeds),
    )
    for flag, name, number, count in choices:
        if number is not None and not 0 <= number < count:
            raise ValueError(f"--{flag} {number}: the run has {count} {name}{'s' * (count > 1)}, counted from 0.")
    trials = [
        m
        for m in range(columns.num_trials)
        if options.point in (None, m // columns.num_seeds) and options.agent in (None, m % columns.num_seeds)
    ]
    if agents.diverged.issuperset(trials):
        others = ", and so have all others" if len(trials) > 1 else ""
        raise ValueError(f"{columns.describe(trials[0])} has diverged{others}: there is nothing to evaluate.")
    return trials


def _solved(point: Point, attempts: int) -> list[str]:
    """How many episodes were solved, where that is a question."""
    return [f"  solved{f', pass@{k}' * (attempts > 1)}  {share}" for k, share in solved_within(point, attempts).items()]


def _how(agents: Agents, options: Options) -> dict[str, Any]:
    """What to say to an agent about how to act.

    Raises:
        ValueError: if it does not act, or in one way alone.
    """
    spec = agents.run.algorithm.spec
    if spec.evaluate is None:
        raise ValueError(f"{spec.name} does not act: there is nothing to evaluate.")
    if not options.sampled:
        return {}
    if "sample" not in inspect.signature(spec.evaluate).parameters:
        raise ValueError(f"{spec.name} acts in one way alone: drop --sampled.")
    if options.attempts == 1:
        return {"sample": True}
    if "attempts" not in inspect.signature(spec.evaluate).parameters:
        raise ValueError(f"--attempts is for language models, and {spec.name} is none: drop it.")
    return {"sample": True, "attempts": options.attempts}


def _drawing(agents: Agents) -> drawing.Draw:
    """What draws the agents' environment.

    Raises:
        ValueError: if nothing does, or nobody acts in it.
    """
    algorithm = agents.run.algorithm
    if algorithm.act is None:
        raise ValueError(f"{algorithm.spec.name} does not act: there is nothing to render.")
    return drawing.drawing_of(agents.run.env)


def _keys(agents: Agents, options: Options, purpose: str) -> jax.Array:
    """A key for each seed ``[S]``, none of which is one of the run's."""
    key = fold_in_name(fold_in_name(jax.random.key(options.seed), "evaluate"), purpose)
    return program.seed_keys(key, agents.columns.num_seeds)


def _describe(values: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation and quantiles over episodes ``[N]``."""
    quantiles = np.percentile(values, _PERCENTS)
    named = {f"p{percent:02}": float(value) for percent, value in zip(_PERCENTS, quantiles, strict=True)}
    return {"mean": float(np.mean(values)), "std": float(np.std(values)), **named}


def _title(agents: Agents) -> str:
    return f"{agents.run.algorithm.spec.name} on {agents.run.env_name}"


def _which(options: Options) -> str:
    if options.best:
        return "the checkpoint with the best evaluation"
    return "the last checkpoint" if options.step is None else "as asked for"


def _label(point: Point) -> str:
    values = [f"{name}={f'{value:g}' if isinstance(value, float) else value}" for name, value in point.values.items()]
    return " ".join([f"point {point.number}", *values])


def _last_if_nan(value: float) -> float:
    """For sorting: NaN after every number."""
    return np.inf if np.isnan(value) else value


def _table(agents: Agents, point: Point, name: str) -> list[str]:
    """Returns or lengths of a point's seeds, a line each, and over them."""
    lines = [_row(name, ["mean", "std", *(f"{percent} %" for percent in _PERCENTS)])]
    for one in point.played:
        cells = [f"{value:.5g}" for value in _describe(getattr(one, f"{name}s")).values()]
        lines.append(_row(f"  seed {one.seed}", ["diverged"] if one.trial in agents.diverged else cells))
    if len(point.played) > 1:
        text = with_diverged(point.returns if name == "return" else point.lengths, point.num_diverged)
        lines.append(f"    over seeds, interquartile mean [95 % interval]: {text}")
    return lines


def _row(name: str, cells: Sequence[str]) -> str:
    return f"  {name:10}" + "".join(f"{cell:>10}" for cell in cells)


if __name__ == "__main__":
    main()
