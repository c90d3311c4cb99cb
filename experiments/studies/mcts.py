"""Monte Carlo tree search: strength and accuracy of its values against the number of simulations.

    python -m experiments.studies.mcts --game pgx/tic_tac_toe
    python -m experiments.studies.mcts --game pgx/tic_tac_toe --searches uct puct
    python -m experiments.studies.mcts --game pgx/connect_four --simulations 10 40 160 --num-games 100

The searches evaluate leaves by random playouts. A game that is small enough is solved: then perfect play is
one of the opponents, and the values and moves of the search are compared with those of minimax. Prints two tables and
draws a picture.
"""

import dataclasses
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.studies.league import make_game
from purerl import files, search, xla
from purerl.agent import Agent, reactive
from purerl.analysis import plots
from purerl.config_checks import check_options
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.envs.games import Game
from purerl.games import exhaustive, planners
from purerl.games.exhaustive import Solution, perfect_player
from purerl.games.match import Score, both_sides, score
from purerl.games.planners import LeafEvaluator
from purerl.games.players import one_ply, random_player
from purerl.ranges import setting
from purerl.search import qtransforms, rules
from purerl.search.mcts import backup, expand, select
from purerl.search.tree import Tree, init_tree, mean_value, root_of
from purerl.types import PyTree, Seen

SEARCHES = {"uct": rules.uct(), "puct": rules.puct(qtransforms.identity)}
OPPONENTS = ("minimax", "one_ply", "random")


class Watched(NamedTuple):
    """Root value and move of searches after each simulation."""

    value: jax.Array  # [S, B] of the root, from the perspective of the player to move there
    action: jax.Array  # [S, B] the most visited


class Accuracy(NamedTuple):
    """Accuracy of a search against minimax after each simulation; over positions."""

    error: np.ndarray  # [S] mean of |V - v*|
    spread: np.ndarray  # [S] standard error of that mean
    right: np.ndarray  # [S] share of positions in which the most visited move is perfect


Strength = dict[tuple[str, str], list[Score]]
"""By search and opponent, at each number of simulations."""


def searcher(game: Game, name: str, num_simulations: int, max_moves: int) -> Agent:
    """Agent that searches with random playouts, by the rule of that name, and takes the most visited move."""
    policy = partial(search.muzero, rule=SEARCHES[name], dirichlet_fraction=0.0, temperature=0.0)
    evaluate_leaf = planners.playout_evaluator(game, max_moves)
    return planners.agent(planners.search_policy(game, evaluate_leaf, policy, (), num_simulations))


def strength(
    game: Game,
    opponents: Mapping[str, Agent],
    searches: Sequence[str],
    simulations: Sequence[int],
    key: jax.Array,
    num_games: int,
    max_moves: int,
) -> Strength:
    """Match results of searches against opponents. Each side begins half of the games of a pair.

    Args:
        game: what is played.
        opponents: reactive agents, by name.
        searches: names in ``SEARCHES``.
        simulations: a move, of which to try each.
        key: typed key.
        num_games: of each pair, even.
        max_moves: of a playout, and of a game.
    """

    @partial(jax.jit, static_argnums=(0, 1))
    def games(name: str, num_simulations: int, key: jax.Array):
        player = searcher(game, name, num_simulations, max_moves)

        def against(number_and_key: tuple[jax.Array, jax.Array]):
            number, key = number_and_key

            def opponent(seen: Seen, key: jax.Array) -> jax.Array:
                policies = [agent.policy for agent in opponents.values()]
                return jax.lax.switch(number, policies, (), seen, key)[1]

            return both_sides(game, (player, reactive(opponent)), key, num_games, max_moves)

        # One opponent after the other, so that the search is compiled once.
        return jax.lax.map(against, (jnp.arange(len(opponents)), jax.random.split(key, len(opponents))))

    results: Strength = {(name, opponent): [] for name in searches for opponent in opponents}
    for name in searches:
        for n in simulations:
            outcomes = jax.device_get(games(name, n, key))
            for i, opponent in enumerate(opponents):
                results[name, opponent].append(score(jax.tree.map(lambda x, i=i: x[i], outcomes)))
    return results


def watch(
    game: Game,
    evaluate_leaf: LeafEvaluator,
    rule: rules.Rule,
    obs: PyTree,
    state: PyTree,
    key: jax.Array,
    num_simulations: int,
) -> Watched:
    """Search positions ``[B, ...]`` and record the root's value and move after each simulation.

    It is the loop of :func:`purerl.search.search`, which records nothing. The leaf evaluator has no parameters.
    """
    follow = planners.model(game, evaluate_leaf)
    root_key, search_key = jax.random.split(key)
    root = planners.root(game, evaluate_leaf, (), root_key, obs, state)

    def simulate(tree: Tree, now: tuple[jax.Array, jax.Array]) -> tuple[Tree, Watched]:
        slot, key = now
        node, action = select(tree, rule.score, rule.score, num_simulations)
        output, tree = expand((), key, tree, follow, rule, slot, node, action)
        tree = backup(tree, node, action, output.reward, output.discount, output.value)
        root = root_of(tree)
        return tree, Watched(mean_value(root), jnp.argmax(root.visits, axis=-1))

    steps = (1 + jnp.arange(num_simulations), jax.random.split(search_key, num_simulations))
    return jax.lax.scan(simulate, init_tree(root, rule.prior, num_simulations), steps)[1]


def accuracy(
    game: Game, solution: Solution, name: str, key: jax.Array, num_positions: int, num_simulations: int, max_moves: int
) -> Accuracy:
    """Accuracy of a search against minimax, in positions drawn from all of the game.

    Args:
        game: what is played.
        solution: of the game.
        name: of a search, in ``SEARCHES``.
        key: typed key.
        num_positions: B, no two alike; all of them, where there are not so many.
        num_simulations: S.
        max_moves: of a playout.
    """
    draw_key, search_key = jax.random.split(key)
    rows = np.asarray(jax.random.permutation(draw_key, len(solution.value))[:num_positions])
    obs, state, _, value, _ = jax.tree.map(lambda x: x[rows], solution)
    evaluate_leaf = planners.playout_evaluator(game, max_moves)

    @jax.jit
    def run(obs: PyTree, state: PyTree, key: jax.Array) -> Watched:
        return watch(game, evaluate_leaf, SEARCHES[name], obs, state, key, num_simulations)

    watched = jax.device_get(run(obs, state, search_key))
    error = np.abs(watched.value - value)
    right = solution.best[rows][np.arange(len(rows)), watched.action]
    return Accuracy(error.mean(axis=1), error.std(axis=1) / len(rows) ** 0.5, right.mean(axis=1))


def report(simulations: Sequence[int], results: Strength, accuracies: Mapping[str, Accuracy]) -> list[str]:
    """A line a match, and a line for each number of simulations where there is a truth to compare with."""
    width = max(len(f"{name}:{n}") for name, _ in results for n in simulations)
    lines = [
        f"{f'{name}:{n}':<{width}}  against {opponent}: {result}"
        for (name, opponent), scores in results.items()
        for n, result in zip(simulations, scores, strict=True)
    ]
    for name, found in accuracies.items():
        for n in simulations:
            error, spread, right = (column[n - 1] for column in found)
            value = f"value off by {error:.3f} ± {1.96 * spread:.3f}"
            lines.append(f"{f'{name}:{n}':<{width}}  {value}, {right:.1%} of its moves are perfect")
    return lines


def draw(title: str, simulations: Sequence[int], results: Strength, accuracies: Mapping[str, Accuracy]):
    """Scores with Wilson's intervals over simulations; where there is a truth, errors and perfect moves beside them."""
    from matplotlib.figure import Figure

    num_panels = 3 if accuracies else 1
    figure = Figure(figsize=(max(7.0, 1.5 + 4.0 * num_panels), 4.0), layout="constrained")
    panels = figure.subplots(1, num_panels, squeeze=False)[0]
    searches = list(dict.fromkeys(name for name, _ in results))
    opponents = list(dict.fromkeys(opponent for _, opponent in results))
    for (name, opponent), scores in results.items():
        points, low, high = (np.array([getattr(s, field) for s in scores]) for field in ("points", "low", "high"))
        style = {"color": f"C{searches.index(name)}", "marker": "osD"[opponents.index(opponent)], "capsize": 3}
        label = f"{name} against {opponent}"
        dashes = ("-", "--", ":")[opponents.index(opponent)]
        bars = np.maximum((points - low, high - points), 0)  # rounding
        panels[0].errorbar(simulations, points, bars, label=label, linestyle=dashes, **style)
    panels[0].axhline(0.5, color="0.6", linewidth=0.8, zorder=0)
    panels[0].set(ylabel="score: 1 a win, 1/2 a draw", ylim=(0, 1), title="strength")
    for name, found in accuracies.items():
        n, color = np.arange(1, 1 + len(found.error)), f"C{searches.index(name)}"
        panels[1].plot(n, found.error, color=color, label=name)
        bound = 1.96 * found.spread
        panels[1].fill_between(n, found.error - bound, found.error + bound, color=color, alpha=0.25, linewidth=0)
        panels[2].plot(n, found.right, color=color, label=name)
    if accuracies:
        panels[1].set(yscale="log", ylabel="mean of |V - v*|", title="error of the root's value")
        panels[2].set(ylim=(None, 1), ylabel="share of positions", title="perfect moves")
    for axes in panels:
        axes.set(xscale="log", xlabel="simulations")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize="small")
    panels[0].set_xticks(simulations, [str(n) for n in simulations])
    panels[0].minorticks_off()
    figure.suptitle(title)
    return figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Who searches in what, how long, against whom, and where to write what came of it."""

    game: str = "pgx/tic_tac_toe"
    """Environment of two players, by name."""
    searches: tuple[str, ...] = ("uct",)
    """Rules of the search: uct, puct."""
    simulations: tuple[int, ...] = (1, 4, 16, 64, 256)
    """Before a move, in rising order."""
    opponents: tuple[str, ...] | None = None
    """minimax, one_ply, random; None: one who looks one move ahead, and minimax if the game is solved."""
    num_games: int = 200
    """Of each pair; each begins half of them."""
    num_positions: int = setting(500, low=1)
    """In which the search is compared with minimax."""
    max_positions: int = setting(5000, low=1)
    """On one level, up to which a game is solved."""
    max_moves: int = setting(1000, low=1)
    """After which a playout, or a game, is truncated."""
    seed: int = 0
    """Fixes everything random."""
    out_dir: pathlib.Path | None = None
    """Folder for mcts.json and mcts.png; None: runs/mcts/GAME."""
    cpu_threads: int | None = None
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        check_options(self)
        _known("searches", self.searches, SEARCHES)
        _known("opponents", self.opponents or OPPONENTS, OPPONENTS)
        if not self.simulations or min(self.simulations) < 1 or sorted({*self.simulations}) != [*self.simulations]:
            raise ValueError(f"simulations = {self.simulations}: numbers from 1 in rising order.")
        if self.num_games < 2 or self.num_games % 2:
            raise ValueError(f"num_games = {self.num_games}: it must be even and at least 2, as each begins half.")


def _known(field: str, names: Sequence[str], known: Sequence[str] | Mapping[str, object]) -> None:
    if not names or not {*names} <= {*known} or len({*names}) < len(names):
        raise ValueError(f"{field} = {' '.join(names)}: choose from {', '.join(known)}, each once.")


def solved(game: Game, key: jax.Array, options: Options) -> Solution | None:
    """The game's solution; None where it is too large, unless minimax was asked for.

    Raises:
        ValueError: if it was.
    """
    try:
        return exhaustive.solve(game, key, max_positions=options.max_positions)
    except exhaustive.TooLargeError as error:
        if options.opponents and "minimax" in options.opponents:
            raise ValueError(f"No minimax. {error} Choose other opponents.") from error
        return None


def opponents(game: Game, solution: Solution | None, names: Sequence[str] | None) -> dict[str, Agent]:
    """The opponents of those names, or those that there are by default."""
    players = {"one_ply": one_ply(game), "random": random_player(game)}
    if solution is not None:
        players["minimax"] = perfect_player(game, solution)
    default = ("one_ply",) if solution is None else ("minimax", "one_ply")
    return {name: players[name] for name in names or default}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("mcts", flags=[Options]):
        options = parse_record(Options, arguments, "python -m experiments.studies.mcts", __doc__)
        xla.set_cpu_flags(threads=options.cpu_threads, small_loops=True)
        out = options.out_dir or pathlib.Path("runs", "mcts", options.game.replace("/", "-"))
        files.check_writable(out / "mcts.json")
        game, began = make_game(options.game), time.perf_counter()
        solve_key, play_key, watch_key = jax.random.split(jax.random.key(options.seed), 3)
        solution = solved(game, solve_key, options)
        rivals = opponents(game, solution, options.opponents)
        results = strength(
            game, rivals, options.searches, options.simulations, play_key, options.num_games, options.max_moves
        )
        sizes = (options.num_positions, options.simulations[-1], options.max_moves)
        accuracies = {
            name: accuracy(game, solution, name, watch_key, *sizes) for name in options.searches if solution is not None
        }
        title = f"{game.name}: search with random playouts, {options.num_games} games of each pair"
        print(title, *report(options.simulations, results, accuracies), sep="\n")
        if solution is None:
            print(f"not compared with minimax: more than {options.max_positions} positions on a level")
        write(out, options, results, accuracies)
        plots.save(draw(title, options.simulations, results, accuracies), out / "mcts.png")
    print(f"{time.perf_counter() - began:.1f} s with compilation; wrote {out}", file=sys.stderr)


def write(folder: pathlib.Path, options: Options, results: Strength, accuracies: Mapping[str, Accuracy]) -> None:
    """``mcts.json``: options, a match a record, and curves over all simulations."""
    matches = [
        {"search": name, "num_simulations": n, "opponent": opponent, **result._asdict()}
        for (name, opponent), scores in results.items()
        for n, result in zip(options.simulations, scores, strict=True)
    ]
    curves = {
        name: {field: column.tolist() for field, column in found._asdict().items()}
        for name, found in accuracies.items()
    }
    files.write_json(folder / "mcts.json", {**dataclasses.asdict(options), "matches": matches, "accuracy": curves})


if __name__ == "__main__":
    main()
