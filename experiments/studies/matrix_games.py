"""Matrix games: who learns their equilibria, by the average of what was played or by what is played last, and who not.

    python -m experiments.studies.matrix_games                                # rock, paper, scissors
    python -m experiments.studies.matrix_games --game prisoners_dilemma       # or biased_rock_paper_scissors, stag_hunt

Prints all equilibria, what dominance leaves and where each learner gets, and draws the ways of the first player beside
NashConv of averages and of last iterates.
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
from purerl.analysis import plots
from purerl.config_checks import check_options
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.envs.matrix_games import MATRIX_GAMES
from purerl.games.equilibria import support_enumeration
from purerl.kernels import game_dynamics as dynamics
from purerl.kernels.alpha_rank import alpha_rank
from purerl.kernels.normal_form import Profile, action_values, best_response, nash_conv, undominated
from purerl.ranges import setting

_REPLICATOR_TIME = 0.05  # of a step
_STEP_SIZE = 0.1
_TEMPERATURE = 0.2  # of the magnet


Array = np.ndarray | jax.Array


class Learner(NamedTuple):
    """One way to learn."""

    title: str
    step: Callable[[jax.Array, Profile], tuple[Profile, Profile]]  # (payoffs, state) -> (state, what is played)


class Course(NamedTuple):
    """What a learner has played, in T rounds."""

    played: Sequence[Array]  # [T, A] of each player
    average: Sequence[Array]  # [T, A] of all rounds so far
    last_distance: Array  # [T] NashConv of what is played
    average_distance: Array  # [T] and of the average


def _answer(payoffs: jax.Array, profile: Profile) -> tuple[Profile, Profile]:
    answers = best_response(payoffs, profile)
    return answers, answers


def _fictitious(payoffs: jax.Array, counts: Profile) -> tuple[Profile, Profile]:
    after = dynamics.fictitious_play(payoffs, counts)
    return after, tuple(new - old for new, old in zip(after, counts, strict=True))


def _evolve(payoffs: jax.Array, profile: Profile) -> tuple[Profile, Profile]:
    return dynamics.replicator_step(payoffs, profile, _REPLICATOR_TIME), profile


def _match(plus: bool, payoffs: jax.Array, regret: Profile) -> tuple[Profile, Profile]:
    profile = tuple(dynamics.regret_matching(r) for r in regret)
    values = action_values(payoffs, profile)
    pairs = zip(regret, values, profile, strict=True)
    return tuple(dynamics.add_regret(r, q, x, plus=plus) for r, q, x in pairs), profile


def _mirror(temperature: float, payoffs: jax.Array, profile: Profile) -> tuple[Profile, Profile]:
    pairs = zip(profile, action_values(payoffs, profile), strict=True)
    after = tuple(dynamics.mirror_step(x, q, jnp.full_like(x, 1 / len(x)), temperature, _STEP_SIZE) for x, q in pairs)
    return after, profile


LEARNERS = (
    Learner("best response to the last", _answer),
    Learner("fictitious play", _fictitious),
    Learner("replicator dynamics", _evolve),
    Learner("regret matching", partial(_match, False)),
    Learner("regret matching+", partial(_match, True)),
    Learner("multiplicative weights", partial(_mirror, 0.0)),
    Learner("mirror descent with a magnet", partial(_mirror, _TEMPERATURE)),
)


def first_profile(payoffs: jax.Array) -> Profile:
    """Where everybody begins: more of the first action for player 0, of the last for player 1."""
    slopes = [jnp.linspace(1.0, -1.0, size) * sign for size, sign in zip(payoffs.shape[1:], (1, -0.5), strict=True)]
    return tuple(jax.nn.softmax(slope) for slope in slopes)


@partial(jax.jit, static_argnames="num_rounds")
def courses(payoffs: jax.Array, num_rounds: int) -> list[Course]:
    """What every learner plays.

    Args:
        payoffs: ``[2, A, K]``.
        num_rounds: T.
    """

    def course(learner: Learner) -> Course:
        # Counts and regrets begin as the strategy that they stand for.
        start = first_profile(payoffs)
        _, played = jax.lax.scan(lambda state, _: learner.step(payoffs, state), start, length=num_rounds)
        number = jnp.arange(1, num_rounds + 1)[:, None]
        average = tuple(jnp.cumsum(x, axis=0) / number for x in played)
        distance = jax.vmap(partial(nash_conv, payoffs))
        return Course(played, average, distance(played), distance(average))

    return [course(learner) for learner in LEARNERS]


def facts(payoffs: jax.Array) -> list[str]:
    """Lines about a game: equilibria, dominance, and the ranking of its strategies where it is symmetric."""
    lines = [
        f"equilibrium: {_text(row)} and {_text(column)}" for row, column in support_enumeration(np.asarray(payoffs))
    ]
    left = [np.flatnonzero(alive).tolist() for alive in undominated(payoffs)]
    lines.append(f"not dominated: actions {left[0]} and {left[1]}")
    if payoffs.shape[1] == payoffs.shape[2] and bool(jnp.all(payoffs[1] == payoffs[0].T)):
        lines.append(f"alpha-rank, alpha 1: {_text(alpha_rank(payoffs[0], 1.0))}")
    return lines


def table(results: Sequence[Course]) -> list[str]:
    """A line a learner."""
    width = max(len(learner.title) for learner in LEARNERS)
    lines = [f"{'NashConv':<{width}}  of the average  of the last, most in the last tenth"]
    for learner, course in zip(LEARNERS, results, strict=True):
        tenth = course.last_distance[-max(1, len(course.last_distance) // 10) :]
        lines.append(f"{learner.title:<{width}}  {course.average_distance[-1]:14.2e}  {tenth.max():11.2e}")
    return lines


def draw(title: str, results: Sequence[Course]):
    """Ways of the first player, of the average as a line and of each round as points, and both distances."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * len(results), 6.2), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(2, len(results), sharey="row", squeeze=False)
    for learner, course, (above, below) in zip(LEARNERS, results, panels.T, strict=True):
        above.plot(*_flat(course.played), ".", markersize=1.5, color="C1", label="played", rasterized=True)
        above.plot(*_flat(course.average), linewidth=1, color="C0", label="average")
        above.set(title=learner.title, xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), aspect="equal")
        rounds = np.arange(1, len(course.last_distance) + 1)
        below.loglog(rounds, np.maximum(course.last_distance, 1e-9), linewidth=0.6, color="C1")
        below.loglog(rounds, np.maximum(course.average_distance, 1e-9), linewidth=1.2, color="C0")
        below.set(xlabel="rounds")
        below.grid(alpha=0.3)
    panels[0, 0].legend(frameon=False, fontsize="x-small")
    panels[1, 0].set_ylabel("NashConv")
    return figure


def _flat(strategies: Sequence[Array]) -> tuple[Array, Array]:
    """Points of a picture: in the triangle of the first player's three actions, or both players' first actions."""
    first, second = strategies
    if first.shape[1] == 3:
        return first[:, 1] + first[:, 2] / 2, first[:, 2] * np.sqrt(3) / 2
    return first[:, 0], second[:, 0]


def _text(strategy: Array) -> str:
    return "(" + ", ".join(f"{abs(x):.4g}" for x in np.asarray(strategy).round(6)) + ")"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to play, and where to draw it."""

    game: str = "rock_paper_scissors"
    """Which game, one of purerl.envs.matrix_games."""
    num_rounds: int = setting(10_000, low=10)
    """Rounds of every learner."""
    out: pathlib.Path | None = None
    """Image to write; None: runs/matrix_games/GAME.png."""
    cpu_threads: int | None = None
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.game not in MATRIX_GAMES:
            raise ValueError(f"game = {self.game!r}: choose one of {', '.join(MATRIX_GAMES)}.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("matrix_games", flags=[Options]):
        options = parse_record(Options, arguments, "python -m experiments.studies.matrix_games", __doc__)
        xla.set_cpu_flags(threads=options.cpu_threads, small_loops=True)
        out = options.out or pathlib.Path("runs", "matrix_games", f"{options.game}.png")
        plots.check_can_save(out)
        payoffs, title = MATRIX_GAMES[options.game](), options.game.replace("_", " ")
        results = jax.tree.map(np.asarray, courses(payoffs, options.num_rounds))
        print(f"{title}: {options.num_rounds} rounds", *facts(payoffs), "", *table(results), sep="\n")
        plots.save(draw(title, results), out)
    print(f"wrote {out}", file=sys.stderr)


if __name__ == "__main__":
    main()
