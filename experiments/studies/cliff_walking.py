"""Cliff Walking: the edge is the shortest way, and the worst for someone who stumbles.

    python -m experiments.studies.cliff_walking  # SARSA, Expected SARSA and Q-learning, 1000 runs of each
    python -m experiments.studies.cliff_walking --step-size 0.1      # slower, and less restless
    python -m experiments.studies.cliff_walking --exploration-decay 0.5  # exploration that decays finds the edge, too

Draws the return of each episode while learning, the return of the greedy policy in the end, and where it walks;
prints a table.
"""

import dataclasses
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import purerl
from purerl import xla
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers, control, control_rollout
from purerl.algorithms.tabular.n_step import n_step
from purerl.algorithms.tabular.update_rule import UpdateRule
from purerl.analysis import plots
from purerl.config_checks import check_options
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.envs import textbook
from purerl.envs.textbook import maps, pictures
from purerl.ranges import setting

RULES = {
    "SARSA": n_step(1, "sampled"),
    "Expected SARSA": n_step(1, "expected"),
    "Q-learning": n_step(1, "expected", on_policy=False),
}
_CHUNK = 250  # steps between two looks at who is done
_LONGEST = 60  # steps of a path, after which it goes round in circles
_LAST = 100  # episodes that count as the end of learning


class Learned(NamedTuple):
    """Returns and tables of one update rule."""

    returns: np.ndarray  # [runs, episodes] while learning
    tables: np.ndarray  # [runs, S, A] soon after the last episode
    seconds: float  # without compilation


class Paths(NamedTuple):
    """Where greedy policies walk."""

    states: np.ndarray  # [runs, _LONGEST + 1], the last one repeated
    returns: np.ndarray  # [runs], NaN where the goal is not reached


def learn(rule: UpdateRule, hypers: ControlHypers, key: jax.Array, num_runs: int, num_episodes: int) -> Learned:
    """Learn by an update rule in many runs side by side, until the last one has had its episodes.

    A run that is done goes on with the others, but nothing more of it is kept.
    """
    env, config = purerl.envs.make("CliffWalking"), ControlConfig(num_steps=_CHUNK)
    algorithm = control(env, rule, config)

    def chunk(states, keys, t):
        def run(state, key):
            return control_rollout(env, rule, config, hypers, state, jax.random.fold_in(key, t))

        states, steps = jax.vmap(run)(states, keys)
        return states, steps.transition.terminated, steps.episode_return  # the two [runs, T]

    init_keys, run_keys = jax.random.split(key, (2, num_runs))
    states = jax.jit(jax.vmap(lambda key: algorithm.init(hypers, key)))(init_keys)
    compiled = jax.jit(chunk, donate_argnums=0).lower(states, run_keys, 0).compile()

    returns, done = np.zeros((num_runs, num_episodes), np.float32), np.zeros(num_runs, int)
    tables, t = np.zeros(states.tables.q.shape, np.float32), 0
    began = time.perf_counter()
    while (done < num_episodes).any():
        states, ended, episode_return = compiled(states, run_keys, t)
        ended, t = np.asarray(ended), t + 1
        episode = done[:, None] + np.cumsum(ended, axis=1) - 1
        run, step = np.nonzero(ended & (episode < num_episodes))
        returns[run, episode[run, step]] = np.asarray(episode_return)[run, step]
        before, done = done, done + ended.sum(axis=1)
        finished = (before < num_episodes) & (done >= num_episodes)
        if finished.any():
            tables[finished] = np.asarray(states.tables.q)[finished]
    return Learned(returns, tables, time.perf_counter() - began)


def greedy_paths(tables: np.ndarray) -> Paths:
    """Follow the first of the best actions from the start, in all tables ``[runs, S, A]`` at once."""
    world = textbook.cliff_walking()
    after = np.asarray(world.transition).argmax(-1)  # [S, A]
    reward = np.take_along_axis(np.asarray(world.reward), after[..., None], -1)[..., 0]
    runs, goal = np.arange(len(tables)), maps.cell(maps.CLIFF, "G")
    state, total = np.full(len(tables), maps.cell(maps.CLIFF, "S")), np.zeros(len(tables))
    states = [state]
    for _ in range(_LONGEST):
        action = tables[runs, state].argmax(-1)
        total += np.where(state == goal, 0.0, reward[state, action])
        state = np.where(state == goal, goal, after[state, action])
        states.append(state)
    return Paths(np.stack(states, axis=1), np.where(state == goal, total, np.nan))


def shares(returns: np.ndarray) -> dict[str, float]:
    """How often each greedy return occurs, the best first; "never" for a goal that is not reached."""
    values, counts = np.unique(returns[~np.isnan(returns)], return_counts=True)
    found = {f"{value:.0f}": count / len(returns) for value, count in zip(values[::-1], counts[::-1], strict=True)}
    return found | ({"never": float(np.isnan(returns).mean())} if np.isnan(returns).any() else {})


def mean_and_error(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over the runs, the first axis: the mean, and half the width of its 95 % interval."""
    return x.mean(axis=0), 1.96 * x.std(axis=0) / np.sqrt(len(x))


def table(learned: Mapping[str, Learned], paths: Mapping[str, Paths]) -> list[str]:
    """A line an algorithm."""
    width = max(map(len, learned))
    last = min(_LAST, next(iter(learned.values())).returns.shape[1])
    lines = [f"{'return':<{width}}  {f'last {last} episodes':>18}  of the greedy policy"]
    for label, (returns, _, _) in learned.items():
        mean, error = mean_and_error(returns[:, -last:].mean(axis=1))
        found = ", ".join(f"{value}: {share:.1%}" for value, share in shares(paths[label].returns).items())
        lines.append(f"{label:<{width}}  {f'{mean:.2f} ± {error:.2f}':>18}  {found}")
    return lines


def draw(learned: Mapping[str, Learned], paths: Mapping[str, Paths], title: str):
    """Returns while learning with 95 % intervals over runs, greedy returns, and the commonest greedy paths."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 6.0), layout="constrained")
    number = len(learned)
    rows: list[Any] = [
        ["online"] * (number + 1) + ["greedy"] * (number - 1),
        [label for label in learned for _ in range(2)],
    ]
    panels = figure.subplot_mosaic(rows, height_ratios=(2.6, 1))
    online, greedy = panels["online"], panels["greedy"]
    names = sorted({name for p in paths.values() for name in shares(p.returns)}, key=_by_return)
    for i, (label, (returns, _, _)) in enumerate(learned.items()):
        mean, error = mean_and_error(returns)
        episode = np.arange(1, len(mean) + 1)
        online.plot(episode, mean, color=f"C{i}", linewidth=1, label=label)
        online.fill_between(episode, mean - error, mean + error, color=f"C{i}", alpha=0.25, linewidth=0)
        share = shares(paths[label].returns)
        offset = (i - (number - 1) / 2) * 0.27
        greedy.bar(np.arange(len(names)) + offset, [share.get(n, 0.0) for n in names], 0.25, color=f"C{i}", label=label)
    online.set(xlabel="episode", ylabel="return while learning", ylim=(-100, -10))
    online.legend(frameon=False, loc="lower right")
    greedy.set(xlabel="return of the greedy policy in the end", ylabel="share of runs", ylim=(0, 1.05))
    greedy.set_xticks(np.arange(len(names)), names)
    for axes in (online, greedy):
        axes.grid(alpha=0.3)
    for i, (label, found) in enumerate(paths.items()):
        axes = panels[label]
        ways, counts = np.unique(found.states, axis=0, return_counts=True)
        commonest = ways[counts.argmax()]
        end = np.argmax(commonest == commonest[-1])  # the goal, or wherever it is after the last step
        pictures.draw_map(axes, maps.CLIFF)
        pictures.draw_trajectory(axes, commonest[: end + 1], maps.CLIFF, color=f"C{i}")
        axes.set_title(f"{label}: the commonest path, {counts.max() / counts.sum():.0%} of runs", fontsize="small")
    figure.suptitle(title)
    return figure


def _by_return(name: str) -> float:
    return np.inf if name == "never" else -float(name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How to learn, how often, and where to draw it."""

    num_runs: int = setting(1000, low=1)
    """Independent runs of every algorithm."""
    num_episodes: int = setting(500, low=1)
    """Episodes of each."""
    step_size: float = setting(0.5, above=0, high=1)
    """alpha."""
    epsilon: float = 0.1
    """Share of uniformly drawn actions at a state's first visit."""
    exploration_decay: float = setting(0.0, low=0)
    """Exponent e of epsilon / N^e at a state's visit N."""
    seed: int = 0
    """Fixes everything random."""
    out: pathlib.Path = pathlib.Path("runs", "cliff_walking", "cliff_walking.png")
    """Image to write."""
    cpu_threads: int | None = None
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        check_options(self)
        if not 0 <= self.epsilon < 1:
            raise ValueError(f"epsilon = {self.epsilon}: it must lie in [0, 1), else no policy ever counts.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("cliff_walking", flags=[Options]):
        options = parse_record(Options, arguments, "python -m experiments.studies.cliff_walking", __doc__)
        xla.set_cpu_flags(threads=options.cpu_threads)
        plots.check_can_save(options.out)
        hypers = ControlHypers(
            step_size=options.step_size, epsilon=options.epsilon, exploration_decay=options.exploration_decay
        )
        key = jax.random.key(options.seed)
        learned = {
            label: learn(rule, hypers, key, options.num_runs, options.num_episodes) for label, rule in RULES.items()
        }
        paths = {label: greedy_paths(result.tables) for label, result in learned.items()}
        title = f"Cliff Walking: {options.num_runs} runs, α = {options.step_size:g}, ε = {options.epsilon:g}"
        print(f"{title}, {options.num_episodes} episodes", *table(learned, paths), sep="\n")
        plots.save(draw(learned, paths, title), options.out)
    seconds = ", ".join(f"{label} {result.seconds:.1f} s" for label, result in learned.items())
    print(f"{seconds} after compilation; wrote {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
