"""Bandits: every agent on the same few thousand games, all in one program.

    python -m experiments.studies.bandits                    # the 10-armed testbed
    python -m experiments.studies.bandits --study gradient   # gradient bandits where rewards are far from 0
    python -m experiments.studies.bandits --study walk       # arms that change
    python -m experiments.studies.bandits --study regret     # coins, with what theory says about the regret
    python -m experiments.studies.bandits --study context    # arms that depend on what is seen

Each prints a table and draws a picture.
"""

import dataclasses
import math
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl import xla
from purerl.algorithms.bandits.bandit import BanditAgent, BanditConfig, bandit
from purerl.algorithms.bandits.epsilon_greedy import EpsilonGreedyHypers, epsilon_greedy
from purerl.algorithms.bandits.exp3 import EXP3Hypers, exp3
from purerl.algorithms.bandits.gradient import GradientHypers, gradient
from purerl.algorithms.bandits.kl_ucb import KLUCBHypers, bernoulli_kl, kl_ucb
from purerl.algorithms.bandits.linucb import LinUCBHypers, linucb
from purerl.algorithms.bandits.thompson import (
    BernoulliThompsonHypers,
    GaussianThompsonHypers,
    bernoulli_thompson,
    gaussian_thompson,
)
from purerl.algorithms.bandits.ucb1 import UCB1Hypers, ucb1
from purerl.analysis import plots
from purerl.config_checks import check_options
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.envs import bandits as problems
from purerl.envs.base import Environment
from purerl.ranges import setting

COINS = (0.9, 0.8, 0.5, 0.3)


class Player(NamedTuple):
    """An agent with its hyperparameters."""

    agent: BanditAgent
    hypers: Any


class Study(NamedTuple):
    """Who plays what, and which bounds on the regret after t pulls hold there."""

    title: str
    env: Environment
    players: dict[str, Player]
    bounds: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {}


class Curve(NamedTuple):
    """A metric at each step over all games."""

    mean: np.ndarray | jax.Array  # [T]
    error: np.ndarray | jax.Array  # [T] standard error of the mean


class Result(NamedTuple):
    """Curves and time of a study."""

    curves: dict[str, dict[str, Curve]]  # by player and metric, "cumulative_regret" among them
    seconds: float  # without compilation


def _epsilon_greedy(**hypers: float) -> Player:
    return Player(epsilon_greedy, EpsilonGreedyHypers(**hypers))


def _gradient(step_size: float, baseline: float) -> Player:
    return Player(gradient, GradientHypers(step_size=step_size, baseline=baseline))


def gaps(means: Sequence[float]) -> np.ndarray:
    """By how much the best arm's mean exceeds those of the worse arms."""
    gap = max(means) - np.asarray(means)
    return gap[gap > 0]


def ucb1_bound(means: Sequence[float], t: np.ndarray) -> np.ndarray:
    """``8 ln t sum 1/gap + (1 + pi^2/3) sum gap``: UCB1's regret is below it. Auer et al. 2002, theorem 1."""
    gap = gaps(means)
    return 8 * np.log(t) * (1 / gap).sum() + (1 + math.pi**2 / 3) * gap.sum()


def lai_robbins(means: Sequence[float], t: np.ndarray) -> np.ndarray:
    """``ln t sum gap / KL(mean ; best)``: what the regret of coins cannot stay below. Lai and Robbins 1985."""
    worse = np.array([mean for mean in means if mean < max(means)])
    divergence = np.asarray(bernoulli_kl(jnp.asarray(worse), jnp.asarray(max(means))))
    return np.log(t) * (gaps(means) / divergence).sum()


STUDIES = {
    "testbed": Study(
        "10-armed testbed",
        problems.gaussian(),
        {
            "greedy": _epsilon_greedy(epsilon=0.0),
            "ε = 0.01": _epsilon_greedy(epsilon=0.01),
            "ε = 0.1": _epsilon_greedy(epsilon=0.1),
            "ε = 0.1, step 0.1": _epsilon_greedy(epsilon=0.1, step_size=0.1, step_decay=0.0),
            "optimistic 5, step 0.1": _epsilon_greedy(epsilon=0.0, step_size=0.1, step_decay=0.0, initial_value=5.0),
            "UCB, c = 2": Player(ucb1, UCB1Hypers(bonus=2.0)),
            "gradient, step 0.1": _gradient(0.1, 1.0),
            "Thompson": Player(gaussian_thompson, GaussianThompsonHypers()),
        },
    ),
    "gradient": Study(
        "10-armed testbed, means around 4",
        problems.gaussian(mean=4.0),
        {
            f"step {step_size}, {'mean reward as' if baseline else 'no'} baseline": _gradient(step_size, baseline)
            for baseline in (1.0, 0.0)
            for step_size in (0.1, 0.4)
        },
    ),
    "walk": Study(
        "10 arms that walk at random",
        problems.random_walk(),
        {
            "ε = 0.1, average": _epsilon_greedy(),
            "ε = 0.1, step 0.1": _epsilon_greedy(step_size=0.1, step_decay=0.0),
            "optimistic 5, step 0.1": _epsilon_greedy(epsilon=0.0, step_size=0.1, step_decay=0.0, initial_value=5.0),
            "UCB, c = 2": Player(ucb1, UCB1Hypers(bonus=2.0)),
            "gradient, step 0.1": _gradient(0.1, 1.0),
        },
    ),
    "regret": Study(
        f"coins of {', '.join(map(str, COINS))}",
        problems.bernoulli(means=COINS),
        {
            "ε = 0.1": _epsilon_greedy(),
            "ε = 1 / √t": _epsilon_greedy(epsilon=1.0, epsilon_decay=0.5),
            "UCB1": Player(ucb1, UCB1Hypers()),
            "KL-UCB": Player(kl_ucb, KLUCBHypers()),
            "Thompson": Player(bernoulli_thompson, BernoulliThompsonHypers()),
            "EXP3, γ = 0.1": Player(exp3, EXP3Hypers()),
        },
        {
            "bound of UCB1": lambda t: ucb1_bound(COINS, t),
            "Lai and Robbins, asymptotic": lambda t: lai_robbins(COINS, t),
        },
    ),
    "context": Study(
        "10 arms linear in 5 features",
        problems.linear(),
        {
            "LinUCB, α = 1": Player(linucb, LinUCBHypers()),
            "LinUCB, α = 0.2": Player(linucb, LinUCBHypers(bonus=0.2)),
            "ε = 0.1, blind": _epsilon_greedy(),
        },
    ),
}


def play(study: Study, key: jax.Array, num_games: int, num_steps: int) -> Result:
    """Let every player play the same games.

    Args:
        study: the game and its players.
        key: typed key.
        num_games: draws of the game.
        num_steps: pulls in each, T.
    """
    config = BanditConfig(num_steps=1)

    def game(agent: BanditAgent, hypers: Any, key: jax.Array) -> dict[str, jax.Array]:
        algorithm = bandit(study.env, agent, config)
        init_key, run_key = jax.random.split(key)

        def step(state, t):
            return algorithm.update(hypers, state, jax.random.fold_in(run_key, t))

        metrics = jax.lax.scan(step, algorithm.init(hypers, init_key), jnp.arange(num_steps))[1]
        return metrics | {"cumulative_regret": jnp.cumsum(metrics["regret"])}

    def curve(x: jax.Array) -> Curve:  # [S, T]
        return Curve(mean=jnp.mean(x, axis=0), error=jnp.std(x, axis=0) / math.sqrt(num_games))

    # Players of one kind differ in numbers alone: they are points of a sweep, and share what is random.
    kinds: dict[BanditAgent, list[str]] = {}
    for label, player in study.players.items():
        kinds.setdefault(player.agent, []).append(label)

    @jax.jit
    def all_games(key: jax.Array) -> list[dict[str, Curve]]:  # leaves [P, T] of each kind
        keys = jax.random.split(key, num_games)

        def over_games(agent: BanditAgent, hypers: Any) -> dict[str, Curve]:
            return jax.tree.map(curve, jax.vmap(lambda key: game(agent, hypers, key))(keys))

        stacked = [
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *(study.players[label].hypers for label in labels))
            for labels in kinds.values()
        ]
        return [jax.vmap(partial(over_games, agent))(hypers) for agent, hypers in zip(kinds, stacked, strict=True)]

    compiled = all_games.lower(key).compile()
    began = time.perf_counter()
    curves = jax.tree.map(np.asarray, compiled(key))
    seconds = time.perf_counter() - began
    by_label = {
        label: jax.tree.map(lambda x, i=i: x[i], of_kind)
        for labels, of_kind in zip(kinds.values(), curves, strict=True)
        for i, label in enumerate(labels)
    }
    return Result({label: by_label[label] for label in study.players}, seconds)


def table(curves: Mapping[str, Mapping[str, Curve]]) -> list[str]:
    """A line a player: the last tenth of the steps, and the regret of all."""
    width = max(map(len, curves))
    num_steps = len(next(iter(curves.values()))["reward"].mean)
    last = max(1, num_steps // 10)
    lines = [f"{f'last {last} steps':<{width}}  {'reward':>7}  {'of best':>7}  {'optimal':>7}  regret of {num_steps}"]
    for label, metrics in curves.items():
        reward, regret, optimal = (metrics[name].mean[-last:].mean() for name in ("reward", "regret", "optimal"))
        total = metrics["cumulative_regret"]
        lines.append(
            f"{label:<{width}}  {reward:7.3f}  {reward / (reward + regret):7.1%}  {optimal:7.1%}  "
            f"{total.mean[-1]:.1f} ± {1.96 * total.error[-1]:.1f}"
        )
    return lines


def draw(study: Study, curves: Mapping[str, Mapping[str, Curve]]):
    """Reward, share of best arms, and regret over the steps, with 95 % intervals over games."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 4.3), layout="constrained")
    panels = figure.subplots(1, 3)
    names = {"reward": "reward", "optimal": "share of best arms", "cumulative_regret": "regret so far"}
    for axes, (name, label) in zip(panels, names.items(), strict=True):
        for i, metrics in enumerate(curves.values()):
            mean, error = metrics[name]
            t = np.arange(1, len(mean) + 1)
            axes.plot(t, mean, color=f"C{i}", linewidth=1)
            axes.fill_between(t, mean - 1.96 * error, mean + 1.96 * error, color=f"C{i}", alpha=0.25, linewidth=0)
        axes.set(xlabel="pulls", ylabel=label)
        axes.grid(alpha=0.3)
    panels[1].set_ylim(0, 1)
    for (label, bound), dash in zip(study.bounds.items(), ("--", ":", "-."), strict=False):
        panels[2].plot(t, bound(t), color="black", linestyle=dash, linewidth=1, label=label)
    if study.bounds:
        panels[2].set(xscale="log", yscale="log", ylim=(1, None))  # what grows as ln t, and bounds far above it
        panels[2].legend(loc="lower right", framealpha=0.8, edgecolor="none", fontsize="small")
    figure.legend(panels[0].lines, list(curves), loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    figure.suptitle(study.title)
    return figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to play, how often, and where to draw it."""

    study: str = "testbed"
    """Which games and players: testbed, gradient, walk, regret or context."""
    num_games: int = setting(2000, low=1)
    """Draws of the game, each of which every agent plays once."""
    num_steps: int = setting(1000, low=1)
    """Pulls in each."""
    seed: int = 0
    """Fixes everything random."""
    out: pathlib.Path | None = None
    """Image to write; None: runs/bandits/STUDY.png."""
    cpu_threads: int | None = None
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.study not in STUDIES:
            raise ValueError(f"study = {self.study!r}: choose one of {', '.join(STUDIES)}.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("bandits", flags=[Options]):
        options = parse_record(Options, arguments, "python -m experiments.studies.bandits", __doc__)
        xla.set_cpu_flags(threads=options.cpu_threads)
        study, out = STUDIES[options.study], options.out or pathlib.Path("runs", "bandits", f"{options.study}.png")
        plots.check_can_save(out)
        curves, seconds = play(study, jax.random.key(options.seed), options.num_games, options.num_steps)
        print(f"{study.title}: {options.num_games} games of {options.num_steps} pulls", *table(curves), sep="\n")
        plots.save(draw(study, curves), out)
    print(f"{seconds:.1f} s after compilation; wrote {out}", file=sys.stderr)


if __name__ == "__main__":
    main()
