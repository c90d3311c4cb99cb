"""Dynamic programming on the textbook's three problems: how values and policies come about, iteration by iteration.

    python -m experiments.studies.policy_iteration                        # car rental: the policies of policy iteration
    python -m experiments.studies.policy_iteration --study gridworld  # 4x4 gridworld: evaluation of the random policy
    python -m experiments.studies.policy_iteration --study gambler        # the gambler: sweeps of value iteration

Each prints how many iterations every solver needs, with what residual and bound, and draws the textbook's picture.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl import xla
from purerl.algorithms.tabular import dynamic_programming as dp
from purerl.algorithms.tabular.dynamic_programming import Solution
from purerl.analysis import plots
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.envs.textbook import car_rental, gambler, gridworld_4x4, maps, pictures
from purerl.envs.textbook.operations import MOST_MOVED
from purerl.mdp import MDP, greedy, lookahead, start_value

_AS_GOOD = 1e-5  # actions that differ by no more than single precision's rounding are both drawn as best


class Study(NamedTuple):
    """A problem and its picture."""

    title: str
    mdp: Callable[[], MDP]
    draw: Callable  # (title, mdp) -> figure


class Row(NamedTuple):
    """A solver, what it counts, and what it found."""

    method: str
    counts: str
    solution: Solution


def solve(mdp: MDP) -> list[Row]:
    """What every solver makes of a process, at its default tolerance."""
    order = jnp.arange(len(mdp.start))
    methods = {
        ("value iteration", "sweeps"): dp.value_iteration,
        ("value iteration, in place", "sweeps"): lambda mdp: dp.value_iteration(mdp, order=order),
        ("modified policy iteration, 10 sweeps", "improvements"): lambda mdp: dp.modified_policy_iteration(mdp, 10),
        ("policy iteration", "improvements"): lambda mdp: dp.policy_iteration(mdp)[1],
        ("prioritized sweeping", "backups"): dp.prioritized_sweeping,
    }
    return [Row(*name, jax.tree.map(np.asarray, jax.jit(method)(mdp))) for name, method in methods.items()]


def table(rows: Sequence[Row], mdp: MDP) -> list[str]:
    """A line a solver."""
    width = max(len(row.method) for row in rows)
    lines = [f"{'':<{width}}  {'iterations':>20}  {'residual':>8}  {'bound':>8}  value of the start"]
    for method, counts, solution in rows:
        value = start_value(mdp, jnp.asarray(solution.value))
        lines.append(
            f"{method:<{width}}  {f'{solution.iterations} {counts}':>20}  {solution.residual:8.1e}  "
            f"{solution.bound:8.1e}  {value:.4f}"
        )
    return lines


@jax.jit
def evaluations(mdp: MDP, sweeps: jax.Array) -> jax.Array:
    """Values of the uniformly random policy after ``sweeps [K]`` sweeps, ``[K, S]``."""
    num_actions = mdp.transition.shape[1]
    policy = jnp.full(mdp.transition.shape[:2], 1 / num_actions)

    def after(k: jax.Array) -> jax.Array:
        return dp.policy_evaluation(mdp, policy, max_sweeps=k).value

    return jax.vmap(after)(sweeps)


@partial(jax.jit, static_argnames=("first", "num_policies"))
def improvements(mdp: MDP, first: int, num_policies: int) -> tuple[jax.Array, jax.Array]:
    """The policies of policy iteration from "always ``first``" on, and their values, both ``[K, S]``."""

    def after(k: jax.Array) -> tuple[jax.Array, jax.Array]:
        action, solution = dp.policy_iteration(
            mdp, action=jnp.full(len(mdp.start), first, jnp.int32), max_improvements=k
        )
        return action, solution.value

    return jax.vmap(after)(jnp.arange(num_policies))


def best_actions(mdp: MDP, value: np.ndarray) -> np.ndarray:
    """The greedy policy ``[S, A]``, split evenly among actions that are as good."""
    q = lookahead(mdp, jnp.asarray(value))
    return np.asarray(greedy(q, ties="split", tolerance=_AS_GOOD))


def draw_gridworld(title: str, mdp: MDP):
    """Values of the random policy after k sweeps, and what is greedy with respect to them: optimal from k = 3 on.

    Source: Sutton & Barto 2018, figure 4.1.
    """
    sweeps = (0, 1, 2, 3, 10, 1000)
    figure = _figure((2.3 * len(sweeps), 5.2), title)
    panels = figure.subplots(2, len(sweeps))
    for k, value, (above, below) in zip(sweeps, np.asarray(evaluations(mdp, jnp.array(sweeps))), panels.T, strict=True):
        pictures.draw_values(above, value.reshape(4, 4), form=".1f")
        pictures.draw_map(below, maps.SMALL)
        pictures.draw_policy(below, best_actions(mdp, value), maps.SMALL)
        above.set_title("settled" if k == sweeps[-1] else f"k = {k}")
    panels[0, 0].set_ylabel("value of the random policy")
    panels[1, 0].set_ylabel("greedy policy")
    return figure


def draw_car_rental(title: str, mdp: MDP):
    """Cars moved by each policy of policy iteration, and the last one's value.

    Source: Sutton & Barto 2018, figure 4.2.
    """
    actions, values = jax.tree.map(np.asarray, improvements(mdp, first=MOST_MOVED, num_policies=5))
    side = int(np.sqrt(len(mdp.start)))
    at_first, at_second = (cars.ravel() for cars in np.indices((side, side)))
    figure = _figure((11, 7.5), title)
    panels = figure.subplots(2, 3).ravel()
    for k, (axes, action) in enumerate(zip(panels, actions, strict=False)):
        moved = np.clip(action - MOST_MOVED, -at_second, at_first)
        image = axes.imshow(moved.reshape(side, side), cmap="PuOr", vmin=-MOST_MOVED, vmax=MOST_MOVED, origin="lower")
        axes.set_title(f"$\\pi_{k}$: cars moved to the second")
        figure.colorbar(image, ax=axes, shrink=0.8)
    image = panels[-1].imshow(values[-1].reshape(side, side), origin="lower")
    panels[-1].set_title(f"value of $\\pi_{len(values) - 1}$")
    figure.colorbar(image, ax=panels[-1], shrink=0.8)
    figure.supxlabel("cars at the second location")
    figure.supylabel("cars at the first location")
    return figure


def draw_gambler(title: str, mdp: MDP):
    """Values after some sweeps, and all stakes that are best in the end, the least of them as a line.

    Source: Sutton & Barto 2018, figure 4.3.
    """
    sweeps = (1, 2, 3, 32)
    after = jax.vmap(lambda k: dp.value_iteration(mdp, max_sweeps=k).value)(jnp.asarray(sweeps))
    solved = np.asarray(dp.value_iteration(mdp, tolerance=0.0).value)
    figure = _figure((10, 4.2), title)
    left, right = figure.subplots(1, 2)
    capital = np.arange(1, len(solved) - 1)
    for k, value in zip(sweeps, np.asarray(after), strict=True):
        left.plot(capital, value[1:-1], linewidth=1, label=f"sweep {k}")
    left.plot(capital, solved[1:-1], linewidth=1, color="black", linestyle=":", label="settled")
    left.set(xlabel="capital", ylabel="probability of reaching the goal")
    left.legend(frameon=False)
    best = best_actions(mdp, solved)[1:-1] > 0
    possible = np.arange(best.shape[1]) + 1 <= np.minimum(capital, len(solved) - 1 - capital)[:, None]
    at, stake = np.nonzero(best & possible)
    right.plot(capital[at], stake + 1, ".", markersize=3, color="C0", label="all best stakes")
    right.step(capital, best.argmax(1) + 1, where="mid", linewidth=0.8, color="C1", label="the least of them")
    right.set(xlabel="capital", ylabel="stake")
    right.legend(frameon=False, loc="upper left")
    return figure


def _figure(size: tuple[float, float], title: str):
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title)
    return figure


STUDIES = {
    "car-rental": Study("Jack's car rental", car_rental, draw_car_rental),
    "gridworld": Study("4x4 gridworld", gridworld_4x4, draw_gridworld),
    "gambler": Study("Gambler's problem, heads 0.4", gambler, draw_gambler),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to solve, and where to draw it."""

    study: str = "car-rental"
    """Which problem: car-rental, gridworld or gambler."""
    out: pathlib.Path | None = None
    """Image to write; None: runs/policy_iteration/STUDY.png."""
    cpu_threads: int | None = None
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        if self.study not in STUDIES:
            raise ValueError(f"study = {self.study!r}: choose one of {', '.join(STUDIES)}.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("policy_iteration", flags=[Options]):
        options = parse_record(Options, arguments, "python -m experiments.studies.policy_iteration", __doc__)
        xla.set_cpu_flags(threads=options.cpu_threads)
        out = options.out or pathlib.Path("runs", "policy_iteration", f"{options.study}.png")
        plots.check_can_save(out)
        study = STUDIES[options.study]
        mdp = study.mdp()
        rows = solve(mdp)
        print(f"{study.title}: {len(mdp.start)} states, gamma {mdp.gamma:g}", *table(rows, mdp), sep="\n")
        plots.save(study.draw(study.title, mdp), out)
    print(f"wrote {out}", file=sys.stderr)


if __name__ == "__main__":
    main()
