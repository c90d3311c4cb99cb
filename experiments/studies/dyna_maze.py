"""Dyna in the textbook's mazes: what planning from a learnt model gains, and what a wrong model costs.

    python -m experiments.studies.dyna_maze                    # steps per episode with 0, 5 and 50 steps of planning
    python -m experiments.studies.dyna_maze --study blocking   # the way is blocked: Dyna-Q and Dyna-Q+
    python -m experiments.studies.dyna_maze --study shortcut   # a shorter way opens: Dyna-Q and Dyna-Q+
    python -m experiments.studies.dyna_maze --study sweeping   # backups until the way is optimal in two mazes
    python -m experiments.studies.dyna_maze --study error      # how the errors of a learnt model compound

Each prints a table and draws a picture.
"""

import dataclasses
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl import xla
from purerl.algorithm import Algorithm
from purerl.algorithms.model_based.dyna import DynaConfig, DynaHypers, DynaState, dyna
from purerl.algorithms.tabular.dynamic_programming import value_iteration
from purerl.analysis import plots
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.envs.mdp import environment
from purerl.envs.textbook import blocking_maze, maps, maze, pictures, shortcut_maze
from purerl.mdp import MDP, MRP, greedy, model_error, random_mdp, solve, start_value
from purerl.types import PyTree


class Estimate(NamedTuple):
    """A mean over runs."""

    mean: np.ndarray  # [...]
    error: np.ndarray  # [...] half the width of its 95 % interval


class Player(NamedTuple):
    """Settings of Dyna."""

    config: DynaConfig
    hypers: DynaHypers


class Outcome(NamedTuple):
    """What came of a study."""

    lines: list[str]  # of a table
    figure: Any  # of matplotlib
    seconds: float  # without compilation


def estimate(runs: np.ndarray) -> Estimate:
    """Of runs ``[S, ...]``."""
    return Estimate(runs.mean(0), 1.96 * runs.std(0, ddof=1) / np.sqrt(len(runs)))


def player(n: int, *, step_size: float, epsilon: float = 0.1, kappa: float = 0.0, **config: Any) -> Player:
    """Dyna with n steps of planning after each real one."""
    settings = DynaConfig(num_steps=1, num_planning_steps=n, **config)
    return Player(settings, DynaHypers(step_size=step_size, gamma=0.95, epsilon=epsilon, kappa=kappa))


# --- lives ------------------------------------------------------------------------------------------------


def life(algorithm: Algorithm, hypers: DynaHypers, key: jax.Array) -> tuple[DynaState, Callable]:
    """The beginning, and ``(state, t) -> (state, metrics)``, its t-th step."""
    init_key, run_key = jax.random.split(key)

    def step(state: DynaState, t: jax.Array) -> tuple[DynaState, dict]:
        return algorithm.update(hypers, state, jax.random.fold_in(run_key, t))

    return algorithm.init(hypers, init_key), step


def episode_lengths(mdp: MDP, who: Player, key: jax.Array, num_episodes: int) -> jax.Array:
    """``[E]``, the steps that one run takes for each of its first episodes."""
    start, step = life(dyna(environment(mdp), who.config), who.hypers, key)

    def live(carry: tuple) -> tuple:
        state, t, lengths, episode = carry
        state, metrics = step(state, t)
        length, ended = metrics["episode_length"]
        return state, t + 1, lengths.at[episode].add(length), episode + ended.astype(jnp.int32)

    def unfinished(carry: tuple) -> jax.Array:
        return carry[-1] < num_episodes

    return jax.lax.while_loop(unfinished, live, (start, 0, jnp.zeros(num_episodes), jnp.int32(0)))[2]


def q_after(mdp: MDP, who: Player, key: jax.Array, num_steps: int) -> jax.Array:
    """``[S, A]``, what the same run has learnt after so many steps."""
    start, step = life(dyna(environment(mdp), who.config), who.hypers, key)
    return jax.lax.fori_loop(0, num_steps, lambda t, state: step(state, t)[0], start).tables.q


def rewards(before: MDP, after: MDP, who: Player, key: jax.Array, change: int, num_steps: int) -> jax.Array:
    """``[T]``, the rewards of one run in a world that is another from step ``change`` on. The agent is not told."""
    start, step = life(dyna(environment(before), who.config), who.hypers, key)
    _, step_after = life(dyna(environment(after), who.config), who.hypers, key)
    state, early = jax.lax.scan(step, start, jnp.arange(change))
    _, late = jax.lax.scan(step_after, state, jnp.arange(change, num_steps))
    return jnp.concatenate([early["reward"], late["reward"]])


def backups_until_optimal(mdp: MDP, shortest: int, who: Player, key: jax.Array, most: int = 100_000) -> jax.Array:
    """``[]``, backups of one run until its greedy way is a shortest one.

    Args:
        mdp: a maze with one start.
        shortest: steps of a shortest way.
        who: settings.
        key: typed key.
        most: real steps after which to give up.
    """
    first, after = jnp.argmax(mdp.start), jnp.argmax(mdp.transition, axis=-1)
    start, step = life(dyna(environment(mdp), who.config), who.hypers, key)

    def is_optimal(q: jax.Array) -> jax.Array:
        best = jnp.argmax(q, axis=-1)
        at = jax.lax.fori_loop(0, shortest, lambda _, state: after[state, best[state]], first)
        return mdp.terminal[at]

    def unfinished(carry: tuple) -> jax.Array:
        state, t, _ = carry
        return ~is_optimal(state.tables.q) & (t < most)

    def live(carry: tuple) -> tuple:
        state, t, backups = carry
        state, metrics = step(state, t)
        return state, t + 1, backups + metrics["backups"]

    return jax.lax.while_loop(unfinished, live, (start, 0, jnp.zeros(())))[2]


def way_length(mdp: MDP) -> int:
    """Steps of a shortest way from the start: the last of them has the reward 1, so ``V* = gamma^(steps - 1)``."""
    value = start_value(mdp, value_iteration(mdp, tolerance=1e-6).value)
    return 1 + round(float(jnp.log(value) / jnp.log(mdp.gamma)))


def finer(world: maps.Map, factor: int) -> maps.Map:
    """The same maze with each cell as a square of so many cells a side, and one start and one goal in a corner."""
    rows = ["".join(letter * factor for letter in row) for row in world for _ in range(factor)]
    cells = np.array([list(row) for row in rows])
    for letter in "SG":
        places = np.argwhere(cells == letter)
        cells[cells == letter] = "."
        cells[tuple(places[0 if letter == "S" else factor - 1])] = letter
    return tuple("".join(row) for row in cells)


def over_runs(function: Callable, world: PyTree, seed: int, num_runs: int) -> tuple[np.ndarray, float]:
    """``function(world, key)`` of many keys at once, ``[S, ...]``, and its seconds without compilation.

    The world is an argument and no constant, which XLA would fold for minutes.
    """
    keys = jax.random.split(jax.random.key(seed), num_runs)
    compiled = jax.jit(jax.vmap(function, (None, 0))).lower(world, keys).compile()
    began = time.perf_counter()
    result = np.asarray(compiled(world, keys), np.float64)
    return result, time.perf_counter() - began


# --- studies ----------------------------------------------------------------------------------------------

NUM_EPISODES = 50
PLANNING = (0, 5, 50)


def study_maze(seed: int, num_runs: int) -> Outcome:
    """Figures 8.2 and 8.3: steps per episode, and what is known half-way through the second."""
    mdp, seconds = maze(), 0.0
    lengths: dict[int, np.ndarray] = {}
    for n in PLANNING:
        who = player(n, step_size=0.1)
        lengths[n], took = over_runs(
            lambda mdp, key, who=who: episode_lengths(mdp, who, key, NUM_EPISODES), mdp, seed, num_runs
        )
        seconds += took
    lines = [f"{'':7}  {'episode 1':>13}  {'episode 2':>13}  {'last 10':>13}  first episode below 20 on average"]
    for n, runs in lengths.items():
        groups = (estimate(group) for group in (runs[:, 0], runs[:, 1], runs[:, -10:].mean(1)))
        below = np.flatnonzero(runs.mean(0) < 20)
        cells = "  ".join(f"{f'{group.mean:.1f} ± {group.error:.1f}':>13}" for group in groups)
        lines.append(f"{f'n = {n}':7}  {cells}  {below[0] + 1 if below.size else 'none'}")
    first_key = jax.random.split(jax.random.key(seed), num_runs)[0]
    policies = {n: _half_way(mdp, n, lengths[n][0], first_key) for n in (PLANNING[0], PLANNING[-1])}
    return Outcome(lines, draw_maze(lengths, policies), seconds)


def _half_way(mdp: MDP, n: int, lengths: np.ndarray, key: jax.Array) -> np.ndarray:
    """``[S, A]`` Q in the midst of the second episode of a run that was made before."""
    num_steps = int(lengths[0] + lengths[1] // 2)
    return np.asarray(jax.jit(lambda key: q_after(mdp, player(n, step_size=0.1), key, num_steps))(key))


def draw_maze(lengths: dict[int, np.ndarray], policies: dict[int, np.ndarray]):
    """Learning curves from the second episode on, and greedy policies where anything is known."""
    figure = _figure(12.5, 5.2)
    left, right = figure.subfigures(1, 2, width_ratios=(1.1, 1))
    axes = left.add_subplot()
    for i, (n, runs) in enumerate(lengths.items()):
        _band(axes, np.arange(2, runs.shape[1] + 1), estimate(runs[:, 1:]), f"n = {n}", f"C{i}")
    axes.axhline(14, color="black", linewidth=0.8, linestyle=":", label="shortest way")
    axes.set(xlabel="episode", ylabel="steps", yscale="log", title=f"steps per episode, {len(runs)} runs")
    axes.legend(frameon=False)
    for panel, (n, q) in zip(right.subplots(len(policies), 1), policies.items(), strict=True):
        pictures.draw_map(panel, maps.DYNA)
        known = q.max(-1, keepdims=True) > 0
        pictures.draw_policy(panel, np.where(known, greedy(jnp.asarray(q), ties="split"), 0.0), maps.DYNA)
        panel.set_title(f"n = {n}: greedy actions half-way through episode 2", fontsize="medium")
    return figure


class Change(NamedTuple):
    """A world that changes, and who lives in it."""

    before: MDP
    after: MDP
    change: int
    num_steps: int
    players: dict[str, Player]


def _both(n: int, kappa: float) -> dict[str, Player]:
    return {
        "Dyna-Q": player(n, step_size=1.0),
        "Dyna-Q+": player(n, step_size=1.0, kappa=kappa, plan_untried=True),
    }


def changes() -> dict[str, Change]:
    """The mazes of figures 8.4 and 8.5."""
    return {
        "blocking": Change(blocking_maze(), blocking_maze(changed=True), 1000, 3000, _both(10, 1e-4)),
        "shortcut": Change(shortcut_maze(), shortcut_maze(changed=True), 3000, 6000, _both(50, 1e-3)),
    }


def live_through(change: Change, seed: int, num_runs: int) -> tuple[dict[str, np.ndarray], float]:
    """Rewards so far ``[S, T]`` of each player, and seconds."""
    totals, seconds = {}, 0.0
    for name, who in change.players.items():
        found, took = over_runs(
            lambda worlds, key, who=who: rewards(worlds[0], worlds[1], who, key, change.change, change.num_steps),
            (change.before, change.after),
            seed,
            num_runs,
        )
        totals[name], seconds = found.cumsum(1), seconds + took
    return totals, seconds


def study_change(name: str) -> Callable[[int, int], Outcome]:
    """Figure 8.4 or 8.5."""

    def study(seed: int, num_runs: int) -> Outcome:
        change = changes()[name]
        totals, seconds = live_through(change, seed, num_runs)
        return Outcome(change_table(change, totals), draw_change(change, totals), seconds)

    return study


def change_table(change: Change, totals: dict[str, np.ndarray]) -> list[str]:
    """Reward before, after and at last."""
    last = (change.num_steps - change.change) // 4
    lines = [f"{'':8}  {'before':>14}  {'after':>14}  steps for a reward, last {last}"]
    for name, total in totals.items():
        before, end = total[:, change.change - 1], total[:, -1]
        late = (end - total[:, -1 - last]).mean()
        groups = (estimate(before), estimate(end - before))
        cells = "  ".join(f"{f'{group.mean:.1f} ± {group.error:.1f}':>14}" for group in groups)
        lines.append(f"{name:8}  {cells}  {last / late if late else np.inf:.1f}")
    ways = (f"{way_length(mdp)} steps {when}" for mdp, when in ((change.before, "before"), (change.after, "after")))
    return [*lines, f"shortest way: {', '.join(ways)}"]


def draw_change(change: Change, totals: dict[str, np.ndarray]):
    """Reward so far over the steps; the maze before and after."""
    figure = _figure(11.0, 4.2)
    left, right = figure.subfigures(1, 2, width_ratios=(1.6, 1))
    axes = left.add_subplot()
    for i, (name, total) in enumerate(totals.items()):
        _band(axes, np.arange(1, total.shape[1] + 1), estimate(total), name, f"C{i}")
    axes.axvline(change.change, color="black", linewidth=0.8, linestyle=":", label="the maze changes")
    axes.set(xlabel="steps", ylabel="reward so far", title=f"{len(total)} runs")
    axes.legend(frameon=False)
    for panel, mdp, when in zip(right.subplots(2, 1), change[:2], ("before", "after"), strict=True):
        pictures.draw_map(panel, _map_of(mdp))
        panel.set_title(when, fontsize="medium")
    return figure


def _map_of(mdp: MDP) -> maps.Map:
    """Which of the changing mazes it is."""
    known = {maze(world).terminal.tobytes(): world for world in (maps.GAP_LEFT, maps.GAP_RIGHT, maps.GAPS)}
    return known[mdp.terminal.tobytes()]


SIZES = (1, 2)
# Actions are random: both agents see the same, and whether a shorter way is discovered is not left to their habits.
SWEEPERS = {
    "Dyna-Q": player(5, step_size=1.0, epsilon=1.0),
    "prioritised sweeping": player(5, step_size=1.0, epsilon=1.0, planning="prioritized"),
}


def study_sweeping(seed: int, num_runs: int) -> Outcome:
    """Example 8.4: backups until the greedy way is a shortest one."""
    found: dict[str, list[Estimate]] = {name: [] for name in SWEEPERS}
    states, seconds = [], 0.0
    for size in SIZES:
        mdp = maze(finer(maps.DYNA, size))
        states.append(int((~mdp.terminal).sum()))
        for name, who in SWEEPERS.items():
            shortest = way_length(mdp)
            runs, took = over_runs(
                lambda mdp, key, who=who, shortest=shortest: backups_until_optimal(mdp, shortest, who, key),
                mdp,
                seed,
                num_runs,
            )
            found[name].append(estimate(runs))
            seconds += took
    width = max(map(len, SWEEPERS))
    lines = [f"{'states':{width}}  " + "  ".join(f"{count:>18,}" for count in states)]
    for name, estimates in found.items():
        cells = (f"{f'{e.mean:,.0f} ± {e.error:,.0f}':>18}" for e in estimates)
        lines.append(f"{name:{width}}  " + "  ".join(cells))
    figure = _figure(6.5, 4.5)
    axes = figure.add_subplot()
    for i, (name, estimates) in enumerate(found.items()):
        mean, error = np.transpose(estimates)
        axes.errorbar(states, mean, error, color=f"C{i}", marker="o", markersize=4, capsize=3, label=name)
    axes.set(xscale="log", yscale="log", xlabel="states", ylabel="backups until the way is a shortest one")
    axes.set_xticks(states, [str(count) for count in states], minor=False)
    axes.minorticks_off()
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    return Outcome(lines, figure, seconds)


SAMPLES = (10, 100, 1000)
HORIZON = 50


def study_error(seed: int, num_runs: int) -> Outcome:
    """A chain of ten states, learnt by counting: how far the model's state is from the world's after h steps."""
    gamma, steps = 0.95, jnp.arange(HORIZON + 1)

    def errors(num_samples: int, key: jax.Array) -> jax.Array:  # [4, H + 1]
        world_key, reward_key, sample_key = jax.random.split(key, 3)
        world = random_mdp(world_key, 10, 1, gamma=gamma, branching=3)
        chain = world.transition[:, 0]
        draws = jax.random.categorical(sample_key, jnp.log(chain), axis=-1, shape=(num_samples, 10))
        model = jax.nn.one_hot(draws, 10).mean(0)
        eps = model_error.one_step_error(chain, model)
        distributions = (model_error.distributions_after(x, jnp.eye(10)[0], HORIZON) for x in (chain, model))
        reward = jax.random.uniform(reward_key, (10,))
        values = (solve(MRP(x, reward, world.terminal, world.gamma)) for x in (chain, model))
        spread = jnp.max(reward) - jnp.min(reward)
        value_error = jnp.abs(jnp.subtract(*values)).max() / model_error.value_error_bound(eps, 0.0, spread, gamma)
        return jnp.stack(
            [
                model_error.total_variation(*distributions),
                model_error.trajectory_error_bound(eps, steps),
                model_error.distribution_error_bound(eps, steps),
                jnp.broadcast_to(value_error, steps.shape),
            ]
        )

    seconds, by_samples = 0.0, {}
    for num in SAMPLES:
        by_samples[num], took = over_runs(lambda _, key, num=num: errors(num, key), (), seed, num_runs)
        seconds += took
    lines = [f"{'samples':>7}  {'eps':>6}  TV after {HORIZON} steps  1 - (1 - eps/2)^{HORIZON}  error of V / its bound"]
    for num, runs in by_samples.items():
        state, sharp, loose, value = runs.mean(0)
        lines.append(f"{num:7}  {2 * loose[1]:6.3f}  {state[-1]:17.3f}  {sharp[-1]:19.3f}  {value[0]:22.3f}")
    return Outcome(lines, draw_error(by_samples), seconds)


def draw_error(by_samples: dict[int, np.ndarray]):
    """Distances and bounds over the steps, a panel for each size of the data."""
    figure = _figure(12.0, 3.8)
    for axes, (num, runs) in zip(figure.subplots(1, len(by_samples), sharey=True), by_samples.items(), strict=True):
        steps = np.arange(runs.shape[-1])
        for i, name in enumerate(("state after h steps", "bound of all paths, 1 - (1 - ε/2)^h", "bound h ε/2")):
            _band(axes, steps, estimate(runs[:, i]), name, f"C{i}")
        axes.set(xlabel="steps h", title=f"{num} samples a state", ylim=(0, 1.05))
    figure.axes[0].set_ylabel("total variation")
    figure.axes[-1].legend(frameon=False, fontsize="small")
    return figure


def _figure(width: float, height: float):
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _band(axes, x: np.ndarray, y: Estimate, label: str, color: str) -> None:
    """A line with its 95 % interval."""
    axes.plot(x, y.mean, color=color, linewidth=1.2, label=label)
    axes.fill_between(x, y.mean - y.error, y.mean + y.error, color=color, alpha=0.25, linewidth=0)
    axes.grid(alpha=0.3)


class Study(NamedTuple):
    """A title, and what is done."""

    title: str
    run: Callable[[int, int], Outcome]  # (seed, num_runs)


STUDIES = {
    "maze": Study("Dyna maze: steps per episode", study_maze),
    "blocking": Study("blocking maze: reward", study_change("blocking")),
    "shortcut": Study("shortcut maze: reward", study_change("shortcut")),
    "sweeping": Study("Dyna maze, coarse and fine: backups until the way is a shortest one", study_sweeping),
    "error": Study("ten states learnt by counting: errors of the model", study_error),
}


# --- command line -----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to study, how often, and where to draw it."""

    study: str = "maze"
    """Which question: maze, blocking, shortcut, sweeping or error."""
    num_runs: int = 100
    """Independent runs of each agent, over which means and 95 % intervals are taken."""
    seed: int = 0
    """Fixes everything random."""
    out: pathlib.Path | None = None
    """Image to write; None: runs/dyna_maze/STUDY.png."""
    cpu_threads: int | None = None
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        if self.study not in STUDIES:
            raise ValueError(f"study = {self.study!r}: choose one of {', '.join(STUDIES)}.")
        if self.num_runs < 2:
            raise ValueError(f"num_runs = {self.num_runs}: an interval needs at least 2.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("dyna_maze", flags=[Options]):
        options = parse_record(Options, arguments, "python -m experiments.studies.dyna_maze", __doc__)
        xla.set_cpu_flags(threads=options.cpu_threads, small_loops=True)
        study, out = STUDIES[options.study], options.out or pathlib.Path("runs", "dyna_maze", f"{options.study}.png")
        plots.check_can_save(out)
        lines, figure, seconds = study.run(options.seed, options.num_runs)
        print(f"{study.title}, {options.num_runs} runs", *lines, sep="\n")
        figure.suptitle(study.title)
        plots.save(figure, out)
    print(f"{seconds:.1f} s after compilation; wrote {out}", file=sys.stderr)


if __name__ == "__main__":
    main()
