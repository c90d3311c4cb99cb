"""LOLA: learners who know what their steps do to the other's, beside naive ones, in an iterated matrix game.

    python -m experiments.studies.lola                             # the prisoner's dilemma
    python -m experiments.studies.lola --game matching_pennies

Pairs of players with random policies that remember the last pair of actions follow exact gradients of their discounted
returns. Prints what they earn a step at the end, and what their policies have become; draws both.
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

from purerl import files, xla
from purerl.analysis import plots
from purerl.analysis.statistics import mean, stratified_bootstrap
from purerl.config_checks import check_options
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.envs.matrix_games import MATRIX_GAMES
from purerl.kernels.opponent_shaping import iterated_values, lola_gradients
from purerl.ranges import setting

LEARNERS = ("naive", "LOLA")
_LOGIT_SCALE = 0.5**0.5  # standard deviation of the first logits

Array = np.ndarray | jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to play, how to learn, and where to write."""

    game: str = "prisoners_dilemma"
    """Which game, one of purerl.envs.matrix_games."""
    gamma: float = setting(0.96, low=0, high=0.9999)
    """Discount of the iterated game."""
    step_size: float = setting(1.0, above=0)
    """Of everybody's steps."""
    lookahead: float = setting(1.0, above=0)
    """Size of the step that LOLA thinks the other will take."""
    num_pairs: int = setting(200, low=2)
    """Of players, each pair by itself."""
    num_steps: int = setting(200, low=1)
    """Gradient steps of each."""
    seed: int = 0
    """Of the first policies."""
    out_dir: pathlib.Path = pathlib.Path("runs", "lola")
    """Folder of GAME.png and GAME.json."""
    cpu_threads: int | None = None
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.game not in MATRIX_GAMES:
            raise ValueError(f"game = {self.game!r}: choose one of {', '.join(MATRIX_GAMES)}.")


class Course(NamedTuple):
    """What has become of all pairs of one kind of learners."""

    earned: Array  # [N, T, 2] by each player a step, ``(1 - gamma) V``, before each gradient step
    policy: Array  # [N, 1 + A K, A] of the first player at the end


@partial(jax.jit, static_argnames=("num_pairs", "num_steps"))
def courses(
    payoffs: jax.Array,
    key: jax.Array,
    num_pairs: int,
    num_steps: int,
    *,
    gamma: float,
    step_size: float,
    lookahead: float,
) -> Course:
    """All pairs of both kinds of :data:`LEARNERS`, ``[2, N, ...]``, from the same first policies.

    Args:
        payoffs: ``[2, A, K]``.
        key: of the first policies.
        num_pairs: N.
        num_steps: T.
        gamma: discount.
        step_size: of the gradient steps.
        lookahead: of LOLA; naive learners have 0.
    """
    num_actions = payoffs.shape[1:]
    values = partial(iterated_values, payoffs, gamma=gamma)

    def pair(key: jax.Array, lookahead: jax.Array) -> Course:
        shapes = [(1 + num_actions[0] * num_actions[1], own) for own in num_actions]
        first = [jax.random.normal(k, shape) for k, shape in zip(jax.random.split(key), shapes, strict=True)]

        def step(logits: tuple, _: None) -> tuple[tuple, jax.Array]:
            gradients = lola_gradients(values, logits, lookahead)
            after = tuple(x + step_size * g for x, g in zip(logits, gradients, strict=True))
            return after, (1 - gamma) * values(logits)

        logits, earned = jax.lax.scan(step, (_LOGIT_SCALE * first[0], _LOGIT_SCALE * first[1]), length=num_steps)
        return Course(earned, jax.nn.softmax(logits[0]))

    pairs = jax.vmap(pair, in_axes=(0, None))
    return jax.vmap(pairs, in_axes=(None, 0))(jax.random.split(key, num_pairs), jnp.array([0.0, lookahead]))


def rows(found: Course) -> dict[str, dict[str, Any]]:
    """Numbers of each kind of learners: mean and deviation over pairs, the interval of the mean, the mean policy."""
    result = {}
    for kind, name in enumerate(LEARNERS):
        earned = found.earned[kind, :, -1].mean(axis=-1)
        interval = stratified_bootstrap(mean, np.asarray(earned))
        result[name] = {
            "earned_a_step": float(earned.mean()),
            "low": float(interval.low),
            "high": float(interval.high),
            "deviation": float(earned.std()),
            "first_action": found.policy[kind].mean(axis=0)[:, 0].tolist(),
        }
    return result


def report(results: dict[str, dict[str, Any]], num_actions: tuple[int, ...]) -> list[str]:
    """A line a kind of learners."""
    lines = [
        "       earned a step  95 % of the mean  deviation  probability of action 0: at first, after "
        + _pairs(num_actions)
    ]
    for name, row in results.items():
        interval = f"[{row['low']:.3f}, {row['high']:.3f}]"
        policy = " ".join(f"{p:.2f}" for p in row["first_action"])
        lines.append(f"{name:5}  {row['earned_a_step']:13.3f}  {interval:>16}  {row['deviation']:9.3f}  {policy}")
    return lines


def draw(title: str, found: Course, num_actions: tuple[int, ...]):
    """What is earned as learning goes on; by both players of each pair at the end; the policies at the end."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 3.8), layout="constrained")
    figure.suptitle(title)
    left, middle, right = figure.subplots(1, 3)
    places = ["start", *_pairs(num_actions).split()]
    for kind, name in enumerate(LEARNERS):
        both = found.earned[kind].mean(axis=-1)
        low, middle_line, high = np.quantile(both, (0.1, 0.5, 0.9), axis=0)
        left.plot(middle_line, color=f"C{kind}", label=name)
        left.fill_between(np.arange(len(low)), low, high, color=f"C{kind}", alpha=0.2, linewidth=0)
        middle.plot(*found.earned[kind, :, -1].T, ".", color=f"C{kind}", markersize=4, alpha=0.6, label=name)
        at = np.arange(len(places)) + 0.38 * kind - 0.19
        right.bar(at, found.policy[kind, :, :, 0].mean(axis=0), 0.36, color=f"C{kind}", label=name)
    left.set(xlabel="gradient steps", ylabel="earned a step", title="median and 80 % of the pairs")
    middle.set(xlabel="earned a step by the first", ylabel="by the second", title="each pair at the end")
    right.set(xticks=range(len(places)), xticklabels=places, ylim=(0, 1), title="probability of action 0, after")
    for axes in (left, middle):
        axes.grid(alpha=0.3)
    left.legend(frameon=False)
    return figure


def _pairs(num_actions: tuple[int, ...]) -> str:
    return " ".join(f"{a}{b}" for a in range(num_actions[0]) for b in range(num_actions[1]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("lola", flags=[Options]):
        options = parse_record(Options, arguments, "python -m experiments.studies.lola", __doc__)
        xla.set_cpu_flags(threads=options.cpu_threads, small_loops=True)
        image, numbers = (options.out_dir / f"{options.game}.{kind}" for kind in ("png", "json"))
        plots.check_can_save(image)
        payoffs, title = MATRIX_GAMES[options.game](), options.game.replace("_", " ")
        num_actions = payoffs.shape[1:]
        sizes = {"gamma": options.gamma, "step_size": options.step_size, "lookahead": options.lookahead}
        key = jax.random.key(options.seed)
        found = jax.tree.map(np.asarray, courses(payoffs, key, options.num_pairs, options.num_steps, **sizes))
        results = rows(found)
        print(f"{title}: {options.num_pairs} pairs, {options.num_steps} steps", *report(results, num_actions), sep="\n")
        plots.save(draw(title, found, num_actions), image)
        about = {name: getattr(options, name) for name in ("num_pairs", "num_steps", "seed")}
        files.write_json(numbers, {**about, **sizes, **results})
    print(f"wrote {image} and {numbers}", file=sys.stderr)


if __name__ == "__main__":
    main()
