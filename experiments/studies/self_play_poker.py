"""Self-play in poker: which ways of playing against oneself lead to an equilibrium, and which go round for ever.

    python -m experiments.studies.self_play_poker                              # Kuhn's poker
    python -m experiments.studies.self_play_poker --game pgx/leduc_holdem

Exact NashConv of counterfactual regret minimisation, magnetic mirror descent, and a pool of best responses, each beside
what it is without its safeguard: self-play without regularisation, answers to the last answer alone. Draws the curves,
and how the policy of each round fares against all that came before it: who answers only the last forgets.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl import envs, files, xla
from purerl.algorithms.games import cfr, mmd, psro
from purerl.analysis import plots
from purerl.config_checks import check_options
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.envs.games import Game
from purerl.games import sequence_form
from purerl.games.extensive import Tree, extract
from purerl.ranges import setting

POOLS = {"double oracle": psro.equilibrium, "fictitious play": psro.uniform, "answers to the last": psro.latest}
MAGNETS = {
    "mirror descent, falling temperature": mmd.MMDHypers(),
    "mirror descent, temperature .01": mmd.PURE.replace(temperature=0.01),
    "mirror descent, no temperature": mmd.PURE,
}


class Course(NamedTuple):
    """NashConv as a learner goes on."""

    step: np.ndarray  # [T] iterations, or best responses of each player
    nash_conv: np.ndarray  # [T]


class Found(NamedTuple):
    """What the study has found."""

    courses: dict[str, Course]
    tables: dict[str, np.ndarray]  # [K, K] what the policy after each round earns against the one after an earlier


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to play, for how long, and where to write."""

    game: str = "pgx/kuhn_poker"
    """A small game with hidden cards."""
    num_iterations: int = setting(10_000, low=10)
    """Of regret minimisation and mirror descent."""
    num_rounds: int = setting(60, low=2)
    """Of the pools, one best response of each player a round."""
    out_dir: pathlib.Path = pathlib.Path("runs", "self_play_poker")
    """Folder of GAME.png and GAME.json."""
    cpu_threads: int | None = None
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        check_options(self)


def run(tree: Tree, num_iterations: int, num_rounds: int) -> Found:
    """Every learner's course in a game, and what the pools remember.

    Args:
        tree: of the game.
        num_iterations: of those that iterate.
        num_rounds: of those that answer.
    """
    iterations = np.arange(1, num_iterations + 1)
    courses = {"CFR+, the average": Course(iterations, np.asarray(regret_matching(tree, num_iterations)))}
    hypers = jax.tree.map(lambda *x: jnp.array(x), *MAGNETS.values())
    mirrored = np.asarray(jax.jit(jax.vmap(partial(mirror_descent, tree, num_iterations)))(hypers))
    courses |= {name: Course(iterations, row) for name, row in zip(MAGNETS, mirrored, strict=True)}
    tables = {}
    for name, mixture in POOLS.items():
        rounds = list(psro.psro(tree, mixture, num_rounds=num_rounds))
        courses[name] = Course(np.arange(num_rounds), np.array([one.nash_conv for one in rounds]))
        tables[name] = against_the_past(tree, rounds)
    return Found(courses, tables)


def regret_matching(tree: Tree, num_iterations: int) -> jax.Array:
    """NashConv ``[T]`` of the average policies of CFR+."""

    def step(carry: tuple, _: None) -> tuple[tuple, jax.Array]:
        carry, _ = cfr.iterate(tree, cfr.CFRConfig(), cfr.PLUS, carry, None)
        return carry, sequence_form.nash_conv(tree, [total / total[0] for total in carry[0].plan_sum])

    first, second = tree.sides
    regret = jnp.zeros(first.legal.shape), jnp.zeros(second.legal.shape)
    sums = jnp.zeros(first.num_sequences), jnp.zeros(second.num_sequences)
    start = cfr.CFRState(regret=regret, plan_sum=sums, count=jnp.zeros(()))
    return jax.jit(lambda: jax.lax.scan(step, (start, cfr.play(tree, regret)), length=num_iterations)[1])()


def mirror_descent(tree: Tree, num_iterations: int, hypers: mmd.MMDHypers) -> jax.Array:
    """NashConv ``[T]`` of the policies as they stand."""

    def step(state: mmd.MMDState, _: None) -> tuple[mmd.MMDState, jax.Array]:
        state = mmd.iterate(tree, hypers, state)
        plans = list(map(sequence_form.realization_plan, tree.sides, state.policy))
        return state, sequence_form.nash_conv(tree, plans)

    first, second = map(sequence_form.uniform, tree.sides)
    return jax.lax.scan(step, mmd.MMDState((first, second), jnp.zeros(())), length=num_iterations)[1]


def against_the_past(tree: Tree, rounds: Sequence[psro.Round]) -> np.ndarray:
    """What each round's policy earns against that of every round before it, both seats together.

    ``(x_k U y_j - x_j U y_k) / 2`` for ``j < k``

    Returns:
        ``[K, K]``, NaN for later rounds; an equilibrium never has less than 0.
    """
    matrix = sequence_form.payoff_matrix(tree)
    first, second = (np.stack([one.plans[player] for one in rounds]) for player in (0, 1))
    payoff = first @ matrix @ second.T
    later = np.triu(np.ones(payoff.shape, bool))
    return np.where(later, np.nan, (payoff - payoff.T) / 2)


def rows(found: Found) -> dict[str, dict[str, float]]:
    """Numbers of each learner: NashConv at the end, the most in the last tenth, the worst against a past self."""
    result = {}
    for name, course in found.courses.items():
        tenth = course.nash_conv[-max(1, len(course.nash_conv) // 10) :]
        result[name] = {"nash_conv": float(course.nash_conv[-1]), "most_in_last_tenth": float(tenth.max())}
        if name in found.tables:
            result[name]["worst_against_past"] = float(np.nanmin(found.tables[name][len(tenth) :]))
    return result


def report(results: dict[str, dict[str, float]]) -> list[str]:
    """A line a learner."""
    width = max(map(len, results))
    lines = [f"{'NashConv':<{width}}  at the end  most in the last tenth  least against a past self"]
    for name, row in results.items():
        past = f"{row['worst_against_past']:25.3f}" if "worst_against_past" in row else ""
        lines.append(f"{name:<{width}}  {row['nash_conv']:10.2e}  {row['most_in_last_tenth']:22.2e}  {past}".rstrip())
    return lines


def draw(title: str, found: Found) -> Any:
    """Curves of NashConv, and for two pools what is earned against the past."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14.0, 4.2), layout="constrained")
    figure.suptitle(title)
    left, *others = figure.subplots(1, 3, width_ratios=[1.6, 1, 1])
    for color, (name, course) in enumerate(found.courses.items()):
        style = "--" if name in found.tables else "-"
        seen = np.maximum(course.nash_conv, 1e-7)
        left.loglog(course.step + (name in found.tables), seen, style, color=f"C{color}", linewidth=1.0, label=name)
    left.set(xlabel="iterations, or best responses (dashed)", ylabel="NashConv")
    left.legend(frameon=False, fontsize="x-small")
    left.grid(alpha=0.3)
    most = max(float(np.nanmax(np.abs(table))) for table in found.tables.values())
    for axes, name in zip(others, ("answers to the last", "double oracle"), strict=True):
        image = axes.imshow(found.tables[name], cmap="RdBu", vmin=-most, vmax=most)
        axes.set(xlabel="against that of round", title=name)
    others[0].set_ylabel("policy of round")
    figure.colorbar(image, ax=others, label="earned a game")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("self_play_poker", flags=[Options]):
        options = parse_record(Options, arguments, "python -m experiments.studies.self_play_poker", __doc__)
        xla.set_cpu_flags(threads=options.cpu_threads, small_loops=True)
        name = options.game.rpartition("/")[2]
        image, numbers = (options.out_dir / f"{name}.{kind}" for kind in ("png", "json"))
        plots.check_can_save(image)
        game: Any = envs.make(options.game)  # or a game
        if not isinstance(game, Game):
            raise ValueError(f"game = {options.game!r}: choose a small game of two players, such as pgx/leduc_holdem.")
        tree = extract(game)
        found = run(tree, options.num_iterations, options.num_rounds)
        results = rows(found)
        sizes = {"num_iterations": options.num_iterations, "num_rounds": options.num_rounds}
        print(f"{options.game}: {tree.num_nodes} nodes", *report(results), sep="\n")
        plots.save(draw(name.replace("_", " "), found), image)
        files.write_json(numbers, {**sizes, **results})
    print(f"wrote {image} and {numbers}", file=sys.stderr)


if __name__ == "__main__":
    main()
