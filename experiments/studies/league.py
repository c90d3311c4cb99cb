"""League: a round-robin tournament of players of one game, with Elo ratings.

    python -m experiments.studies.league --game pgx/tic_tac_toe --players random one_ply
    python -m experiments.studies.league --game pgx/connect_four --players one_ply uct:100 runs/alphazero/TIME-ENV:64

A player is random; one_ply, who looks one move ahead; uct:N, a search of N simulations with random playouts; or the
folder of an AlphaZero run, or the file of its agent, with as many simulations as in training or those after a colon.

Each begins half of the games of a pair. Prints who beat whom and Elo ratings with 95 % intervals, draws them beside the
table of payoffs, and says how much of it no rating explains: players who beat each other in circles.
"""

import dataclasses
import itertools
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import purerl
from purerl import files, xla
from purerl.agent import Agent
from purerl.analysis import plots
from purerl.analysis.statistics import Interval
from purerl.config_checks import check_options
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.envs.games import Game
from purerl.games import planners, ratings
from purerl.games.match import Score, both_sides, score
from purerl.games.players import one_ply, random_player
from purerl.names import near
from purerl.ranges import setting
from purerl.tools.play import trained

PLAYERS: dict[str, Callable[[Game], Agent]] = {"random": random_player, "one_ply": one_ply}
_NUM_RESAMPLES = 1000


class Standings(NamedTuple):
    """Ratings and payoffs of the players."""

    elo: list[Interval]  # [N] points above the first player, with 95 % intervals
    payoff: np.ndarray  # [N, N] mean of 1 a win, 0 a draw, -1 a loss, for the row
    cyclic: float  # share of the pairs' rating gaps, in squares, that no ratings explain


def player(game: Game, name: str) -> Agent:
    """Player by name: one of ``PLAYERS``, ``uct:N``, ``PATH`` or ``PATH:N``, with N simulations a move.

    Raises:
        ValueError: if there is none.
    """
    if name in PLAYERS:
        return PLAYERS[name](game)
    kind, count = _with_count(name)
    if count == 0:
        raise ValueError(f"{name}: a search needs at least 1 simulation.")
    if kind == "uct" and count:
        return planners.uct_player(game, count)
    if pathlib.Path(kind).exists():
        return planners.agent(trained(game, pathlib.Path(kind), count))
    known = f"There are {', '.join(PLAYERS)}, uct:N with N simulations, and folders or files of AlphaZero's agents."
    raise ValueError(f"No player is named {name!r}. {near(name, [*PLAYERS, 'uct:100'])}{known}")


def labels(names: Sequence[str]) -> list[str]:
    """What players are called: paths by their last part, where that leaves no two alike."""
    short = [name if name in PLAYERS else pathlib.PurePath(name).name for name in names]
    return short if len({*short}) == len(short) else list(names)


def _with_count(name: str) -> tuple[str, int | None]:
    """``KIND:N`` in its two parts; without a number all of it is the kind."""
    kind, colon, count = name.rpartition(":")
    return (kind, int(count)) if colon and count.isdecimal() else (name, None)


def play(
    game: Game, players: Sequence[Agent], key: jax.Array, num_games: int, max_moves: int
) -> dict[tuple[int, int], Score]:
    """The results of each pair ``i < j``, for i, who begins half of the games.

    Args:
        game: what is played.
        players: N of them.
        key: typed key.
        num_games: of each pair, even.
        max_moves: after which a game is truncated, and counts as a draw where nothing was won so far.
    """
    pairs = list(itertools.combinations(range(len(players)), 2))
    results = {}
    for (i, j), pair_key in zip(pairs, jax.random.split(key, len(pairs)), strict=True):

        def games(key: jax.Array, two: tuple[Agent, Agent] = (players[i], players[j])):
            return both_sides(game, two, key, num_games, max_moves)

        results[i, j] = score(jax.jit(games)(pair_key))
    return results


def tables(results: Mapping[tuple[int, int], Score]) -> tuple[np.ndarray, np.ndarray]:
    """Wins ``[N, N]`` of the row and draws ``[N, N]``, from the results of each pair."""
    num_players = 1 + max(j for _, j in results)
    wins, draws = np.zeros((2, num_players, num_players), int)
    for (i, j), result in results.items():
        wins[i, j], wins[j, i] = result.wins, result.losses
        draws[i, j] = draws[j, i] = result.draws
    return wins, draws


def standings(wins: np.ndarray, draws: np.ndarray, key: jax.Array, prior: float) -> Standings:
    """Ratings with intervals, payoffs and what ratings leave unexplained.

    Args:
        wins: ``[N, N]``.
        draws: ``[N, N]``, symmetric.
        key: of the resamples.
        prior: virtual draws of each pair, > 0.
    """
    rating = ratings.fit(wins, draws, prior=prior).rating
    sample = jax.jit(lambda key: ratings.bootstrap(key, wins, draws, _NUM_RESAMPLES, prior=prior))(key)
    low, high = jnp.quantile(sample - sample[:, :1], jnp.array([0.025, 0.975]), axis=0)
    elo = np.asarray(jnp.stack([rating - rating[0], low, high], axis=1)).tolist()
    share = (wins + (draws + prior) / 2) / (wins + wins.T + draws + prior)  # 1/2 against oneself
    return Standings(
        elo=[Interval(*row) for row in elo],
        payoff=np.asarray(ratings.payoff(wins, draws)),
        cyclic=float(ratings.cyclic(ratings.rating_gap(share)).share),
    )


def report(names: Sequence[str], results: Mapping[tuple[int, int], Score], stand: Standings) -> list[str]:
    """A line a player, the strongest first, then a line a pair."""
    wins, draws = tables(results)
    width = max(map(len, names))
    lines = [f"{'player':<{width}}  {'won':>6}  {'drawn':>6}  {'lost':>6}  {'score':>6}  Elo above {names[0]}"]
    for i in sorted(range(len(names)), key=lambda i: -stand.elo[i].estimate):
        won, drawn, lost = wins[i].sum(), draws[i].sum(), wins[:, i].sum()
        points = (won + drawn / 2) / (won + drawn + lost)
        lines.append(f"{names[i]:<{width}}  {won:6}  {drawn:6}  {lost:6}  {points:6.1%}  {_points(stand.elo[i])}")
    lines += ["", *(f"{names[i]} against {names[j]}: {result}" for (i, j), result in results.items())]
    return [*lines, f"in circles: {stand.cyclic:.1%} of the squared rating gaps of pairs, which no ratings explain"]


def _points(elo: Interval) -> str:
    estimate, low, high = map(round, elo[:3])
    return f"{estimate:+d} [{low:+d}, {high:+d}]" if elo.low < elo.high else f"{estimate}"


def draw(title: str, names: Sequence[str], stand: Standings):
    """Elo ratings with 95 % intervals, the strongest at the top, beside the table of payoffs."""
    from matplotlib.figure import Figure

    size = max(3.2, 0.6 * len(names))
    figure = Figure(figsize=(5.0 + 1.6 * size, 1.0 + size), layout="constrained")
    left, right = figure.subplots(1, 2)
    order = sorted(range(len(names)), key=lambda i: stand.elo[i].estimate)
    for place, i in enumerate(order):
        elo = stand.elo[i]
        left.plot([elo.low, elo.high], [place, place], color="C0", linewidth=2)
        left.plot(elo.estimate, place, "o", color="C0")
    left.set_yticks(range(len(order)), [names[i] for i in order])
    left.set(xlabel=f"Elo above {names[0]}, 95 % interval", ylim=(-0.5, len(order) - 0.5))
    left.grid(alpha=0.3)
    order = order[::-1]
    payoff = stand.payoff[np.ix_(order, order)]
    image = right.imshow(payoff, cmap="RdBu", vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(payoff):
        text = "" if row == column else f"{value:+.2f}"
        right.text(column, row, text, ha="center", va="center", color="white" if abs(value) > 0.6 else "black")
    right.set_xticks(range(len(order)), [names[i] for i in order], rotation=30, ha="right")
    right.set_yticks(range(len(order)), [names[i] for i in order])
    right.set(xlabel="against", title=f"{stand.cyclic:.1%} in circles")
    figure.colorbar(image, ax=right, label="payoff: 1 a win, -1 a loss")
    figure.suptitle(title)
    return figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Who plays what, how often, and where to write what came of it."""

    game: str = "pgx/tic_tac_toe"
    """Environment of two players, by name."""
    players: tuple[str, ...] = ("random", "one_ply")
    """At least two, by name: random, one_ply, uct:N, PATH or PATH:N; Elo is counted from the first."""
    num_games: int = 200
    """Of each pair; each begins half of them."""
    max_moves: int = setting(1000, low=1)
    """Moves after which a game is truncated; it counts as a draw where nothing was won so far."""
    prior: float = 1.0
    """Virtual draws of each pair, so that those who win everything have a rating."""
    seed: int = 0
    """Fixes everything random."""
    out_dir: pathlib.Path | None = None
    """Folder for league.json, payoff.csv and elo.png; None: runs/league/GAME."""
    cpu_threads: int | None = None
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        check_options(self)
        if len(self.players) < 2 or len({*self.players}) < len(self.players):
            raise ValueError(f"players = {' '.join(self.players)}: name at least two, each once.")
        if self.num_games < 2 or self.num_games % 2:
            raise ValueError(f"num_games = {self.num_games}: it must be even and at least 2, as each begins half.")
        if not self.prior > 0:
            raise ValueError(f"prior = {self.prior}: it must be > 0; 0.01 is next to nothing.")


def make_game(name: str) -> Game:
    """The game of that name.

    Raises:
        ValueError: if there is none, or the environment is no game of two.
    """
    game: Any = purerl.envs.make(name)
    if not isinstance(game, Game):
        games = ", ".join(name for name in purerl.envs.registered() if name.startswith("pgx/"))
        raise ValueError(f"{name} is no game of two players. There are {games}.")
    return game


def write(
    folder: pathlib.Path, options: Options, results: Mapping[tuple[int, int], Score], stand: Standings, title: str
) -> None:
    """The three files of a league."""
    names = options.players
    files.write_json(
        folder / "league.json",
        {
            **dataclasses.asdict(options),
            "pairs": [{"players": [names[i], names[j]], **result._asdict()} for (i, j), result in results.items()],
            "elo": {name: elo._asdict() for name, elo in zip(names, stand.elo, strict=True)},
            "cyclic": stand.cyclic,
        },
    )
    rows = ([name, *(f"{value:.6g}" for value in row)] for name, row in zip(names, stand.payoff, strict=True))
    files.write_csv(folder / "payoff.csv", ["player", *names], rows)
    plots.save(draw(title, labels(names), stand), folder / "elo.png")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("league", flags=[Options]):
        options = parse_record(Options, arguments, "python -m experiments.studies.league", __doc__)
        xla.set_cpu_flags(threads=options.cpu_threads)
        out = options.out_dir or pathlib.Path("runs", "league", options.game.replace("/", "-"))
        files.check_writable(out / "league.json")
        game = make_game(options.game)
        players = [player(game, name) for name in options.players]
        play_key, resample_key = jax.random.split(jax.random.key(options.seed))
        began = time.perf_counter()
        results = play(game, players, play_key, options.num_games, options.max_moves)
        stand = standings(*tables(results), resample_key, options.prior)
        title = f"{game.name}: {len(players)} players, {options.num_games} games of each pair"
        print(title, *report(labels(options.players), results, stand), sep="\n")
        write(out, options, results, stand, title)
    print(f"{time.perf_counter() - began:.1f} s with compilation; wrote {out}", file=sys.stderr)


if __name__ == "__main__":
    main()
