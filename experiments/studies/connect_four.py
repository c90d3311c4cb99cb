"""AlphaZero's policy without search against perfect play of Connect Four, as training goes on.

    python -m experiments.studies.connect_four positions --out positions.csv
    python -m experiments.studies.connect_four score runs/alphazero/TIME-pgx-connect_four

The first makes a file of positions with the exact value of every move, by a solver: pip install "purerl[solver]". The
second asks the network in each checkpoint of a run for its moves there; checkpoints are kept by training with, say,
--checkpoint-every 30000 --keep-checkpoints 100.
"""

import csv
import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from purerl import files, xla
from purerl.algorithms.games.alphazero import AlphaZeroConfig, AlphaZeroHypers, raw_policy, search_policy
from purerl.analysis import plots
from purerl.driver.command_line import one_line_errors
from purerl.driver.storage.restore import steps
from purerl.envs.games import Game
from purerl.envs.pgx import from_pgx
from purerl.games.players import one_ply, random_player
from purerl.games.quality import Quality, keeps_value, quality
from purerl.tools.play import agent
from purerl.types import PyTree, Seen

KEPT = pathlib.Path(__file__).parents[1] / "results" / "alphazero" / "positions.csv"
STONES = range(4, 33)
_HEADER = ["moves", *"0123456"]
_WORTH = {"": -np.inf, "-1": -1.0, "0": 0.0, "1": 1.0}

Line = tuple[int, ...]
"""The columns that were played, from the empty board on."""
Values = tuple[float, ...]
"""Of the 7 moves for the player to move: 1 a win, 0 a draw, -1 a loss, -inf not legal."""


# --- positions --------------------------------------------------------------------------------------------


def play(game: Game, key: jax.Array, num_games: int, num_moves: int) -> tuple[np.ndarray, np.ndarray]:
    """Games between one-ply players, except for a share of their moves, which are random.

    That share is drawn for each game, uniform in [0, 1], so that there are careless games and careful ones.

    Args:
        game: what is played.
        key: typed key.
        num_games: G.
        num_moves: T, after which games are truncated.

    Returns:
        Moves ``[G, T]``, and the number of them after which each game was not over ``[G]``; later moves are to be
        ignored.
    """
    careful, careless = one_ply(game), random_player(game)
    share_key, start_key, play_key = jax.random.split(key, 3)
    share = jax.random.uniform(share_key, (num_games,))

    def move(now: tuple[PyTree, PyTree], key: jax.Array) -> tuple[tuple[PyTree, PyTree], tuple[jax.Array, jax.Array]]:
        coin_key, careful_key, careless_key, step_key = jax.random.split(key, 4)
        is_random = jax.random.uniform(coin_key, (num_games,)) < share
        _, careless_action = careless.policy((), Seen(*now), careless_key)
        _, careful_action = careful.policy((), Seen(*now), careful_key)
        action = jnp.where(is_random, careless_action, careful_action)
        obs, state, _, over, *_ = jax.vmap(game.step)(jax.random.split(step_key, num_games), now[1], action)
        return (obs, state), (action, over)

    @jax.jit
    def games(start_key: jax.Array, play_key: jax.Array) -> tuple[jax.Array, jax.Array]:
        start = jax.vmap(game.reset)(jax.random.split(start_key, num_games))
        _, (moves, over) = jax.lax.scan(move, start, jax.random.split(play_key, num_moves))
        return moves.T, jnp.sum(~over, axis=0)

    moves, length = jax.device_get(games(start_key, play_key))
    return moves, length


def choose(
    moves: np.ndarray, length: np.ndarray, solve: Callable[[Line], Values], stones: Sequence[int], count: int
) -> dict[Line, Values]:
    """Positions in which some moves are better than others: as many won as drawn, at most one of each game.

    In a lost position all moves are alike. No two positions are alike or mirror images of each other.

    Args:
        moves: ``[G, T]``, of G games.
        length: ``[G]``, after how many of its moves each goes on.
        solve: the solver.
        stones: numbers of stones that positions are to have.
        count: positions for each of them that are won, and that are drawn.

    Raises:
        ValueError: if the games have too few.
    """
    found: dict[Line, Values] = {}
    seen, used = set(), set()
    for number in sorted(stones, reverse=True):  # long games are rare, so they are asked for long lines first
        missing = {1.0: count, 0.0: count}
        for game in np.flatnonzero(length >= number).tolist():
            line = tuple(moves[game, :number].tolist())
            if not any(missing.values()) or game in used or appearance(line) in seen:
                continue
            seen.add(appearance(line))
            values = solve(line)
            if len({*values} - {-np.inf}) > 1 and missing[max(values)]:
                missing[max(values)] -= 1
                used.add(game)
                found[line] = values
        if any(missing.values()):
            raise ValueError(
                f"{len(moves)} games have too few positions of {number} stones: {missing[1]} won ones and {missing[0]} "
                f"drawn ones more than they have are wanted. Play more with --num-games."
            )
    return dict(sorted(found.items(), key=lambda item: (len(item[0]), item[0])))


def appearance(line: Line) -> tuple[str, ...]:
    """The stones in each column from below, of a position and its mirror image the one that comes first."""
    columns = [""] * 7
    for i, column in enumerate(line):
        columns[column] += "xo"[i % 2]
    return min(tuple(columns), tuple(reversed(columns)))


def solver() -> Callable[[Line], Values]:
    """Solver: value of each move under perfect play, by BitBully.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        from bitbully import BitBully, Board
    except ImportError as error:
        raise ValueError('positions need the solver bitbully: pip install "purerl[solver]".') from error
    perfect = BitBully()

    def solve(line: Line) -> Values:
        scores = perfect.score_all_moves(Board(list(line)))  # how soon it is won or lost, too
        return tuple(float(np.sign(scores[column])) if column in scores else -np.inf for column in range(7))

    return solve


def save(path: pathlib.Path, positions: dict[Line, Values]) -> None:
    """Write positions, whole or not at all: the moves that lead to each, and the values of those that may follow."""
    text = {worth: cell for cell, worth in _WORTH.items()}
    rows = (["".join(map(str, line)), *(text[worth] for worth in values)] for line, values in positions.items())
    files.write_csv(path, _HEADER, rows)


def load(path: pathlib.Path) -> dict[Line, Values]:
    """Positions written by :func:`save`.

    Raises:
        ValueError: if it is no such file, or a line in it cannot be read.
        FileNotFoundError: if there is none.
    """
    with path.open(newline="") as file:
        header, *rows = [*csv.reader(file)] or [[]]
    if header != _HEADER or not rows:
        raise ValueError(f"{path} holds no positions: after a line {','.join(_HEADER)} it must have one for each.")
    found = {}
    for number, (moves, *worths) in enumerate(rows, start=2):
        if not {*moves} <= {*"0123456"} or len(worths) != 7 or not {*worths} <= _WORTH.keys():
            raise ValueError(f"{path}, line {number}: {moves!r} must be columns, followed by 7 of 1, 0, -1 or nothing.")
        found[tuple(map(int, moves))] = tuple(_WORTH[worth] for worth in worths)
    return found


# --- scores -----------------------------------------------------------------------------------------------


class Solved(NamedTuple):
    """Solved positions: observations, states and the values of moves under perfect play."""

    obs: jax.Array  # [B, 6, 7, 2]
    state: PyTree  # [B, ...]
    q: jax.Array  # [B, 7], -inf where a move is not legal


class Score(NamedTuple):
    """A network's play after so many moves of training."""

    moves: int
    accuracy: float  # share of positions whose most probable legal move keeps the position's value
    mass: float  # mean probability of moves that do
    value_error: float  # mean of (v - v*)^2
    search_accuracy: float  # as accuracy, of the move that a search comes to


def reach(game: Game, positions: dict[Line, Values]) -> Solved:
    """Solved positions, reached by playing all lines side by side.

    Raises:
        ValueError: if a line is not legal, its game is over, or values stand at moves that are not legal.
    """
    longest = max(map(len, positions))
    lines = jnp.array([[*line, *[-1] * (longest - len(line))] for line in positions], jnp.int32)
    key = jax.random.key(0)  # there is no chance in this game

    def move(now: tuple, action: jax.Array) -> tuple[tuple, None]:
        obs, state, _, over, *_ = game.step(key, now[1], action)
        return jax.tree.map(lambda new, old: jnp.where(action < 0, old, new), (obs, state, over), now), None

    def follow(line: jax.Array) -> tuple:
        return jax.lax.scan(move, (*game.reset(key), jnp.array(False)), line)[0]

    obs, state, over = jax.jit(jax.vmap(follow))(lines)
    q = jnp.array(list(positions.values()), jnp.float32)
    wrong = over | jnp.any(jax.vmap(game.legal)(state) != jnp.isfinite(q), axis=-1)
    if wrong.any():
        line = "".join(map(str, list(positions)[int(wrong.argmax())]))
        raise ValueError(f"{line}: no game goes on there, or the moves with values are not those that are legal.")
    return Solved(obs, state, q)


def evaluator(game: Game, config: AlphaZeroConfig, solved: Solved, num_simulations: int) -> Callable:
    """Accuracy of a network and of its search: ``(hypers, params, key) -> (Quality, share of optimal searched moves)``.

    Args:
        game: what is played.
        config: of the agent.
        solved: positions.
        num_simulations: of the search.
    """
    network = raw_policy(game, config)
    run_search = search_policy(game, dataclasses.replace(config, num_simulations=num_simulations))

    @jax.jit
    def ask(hypers: AlphaZeroHypers, params: PyTree, key: jax.Array) -> tuple[Quality, jax.Array]:
        action = run_search(hypers, params, Seen(solved.obs, solved.state), key).action
        logits, value = network(params, solved.obs)
        return quality(logits, value, solved.q), jnp.mean(keeps_value(solved.q, action))

    return ask


def score(
    game: Game, folder: pathlib.Path, at: Sequence[int], solved: Solved, num_simulations: int, key: jax.Array
) -> list[Score]:
    """Scores of the checkpoints of a run; of several seeds the first that is finite.

    Args:
        game: what is played.
        folder: of the run.
        at: environment steps of the checkpoints.
        solved: positions.
        num_simulations: of the search that is scored besides.
        key: typed key, the same for every checkpoint.

    Raises:
        ValueError: if the run is not one of AlphaZero on this game.
    """
    from tqdm import tqdm

    ask, scores = None, []
    for step in tqdm(at, unit="checkpoint"):
        hypers, config, params = agent(game, folder, step)
        ask = ask or evaluator(game, config, solved, num_simulations)
        found, searched = jax.device_get(ask(hypers, params, key))
        scores.append(Score(step, *map(float, (*found, searched))))
    return scores


def baseline(solved: Solved) -> Quality:
    """Baseline: uniform moves, whose accuracy is the mass, and the constant value 0."""
    return jax.jit(quality)(jnp.zeros_like(solved.q), jnp.zeros(len(solved.q)), solved.q)


def report(scores: Sequence[Score], chance: Quality, num_simulations: int) -> list[str]:
    """A line a checkpoint."""
    lines = [f"{'moves':>9}  {'policy':>7}  {'mass':>7}  {f'search:{num_simulations}':>10}  {'value error':>11}"]
    for one in scores:
        shares = f"{one.accuracy:7.1%}  {one.mass:7.1%}  {one.search_accuracy:10.1%}"
        lines.append(f"{one.moves:9,}  {shares}  {one.value_error:11.3f}")
    return [*lines, f"{'uniform':>9}  {chance.mass:7.1%}  {chance.mass:7.1%}  {'':10}  {chance.value_error:11.3f}"]


def draw(scores: Sequence[Score], chance: Quality, num_positions: int, num_simulations: int):
    """Moves that keep the value, with 95 % intervals over positions, and the error of the value beside them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    moves, accuracy, mass, value_error, searched = np.array(scores).T
    for share, color, label in ((searched, "C1", f"search, {num_simulations} simulations"), (accuracy, "C0", "policy")):
        spread = 1.96 * np.sqrt(share * (1 - share) / num_positions)
        left.plot(moves, share, "o-", color=color, markersize=3, label=f"{label}: its move")
        left.fill_between(moves, share - spread, share + spread, color=color, alpha=0.2, linewidth=0)
    left.plot(moves, mass, "--", color="C0", label="policy: a move drawn from it")
    left.axhline(chance.mass, color="0.5", linestyle=":", label="uniform moves")
    left.set(ylabel="share of moves that keep the value", title="moves", ylim=(0, 1))
    right.plot(moves, value_error, "o-", color="C0", markersize=3, label="network")
    right.axhline(chance.value_error, color="0.5", linestyle=":", label="always expecting a draw")
    right.set(ylabel="mean of (v - v*)²", title="value", ylim=(0, None))
    for axes in (left, right):
        axes.set(xlabel="moves of self-play", xlim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize="small")
    figure.suptitle(f"AlphaZero against perfect play in {num_positions:,} positions of Connect Four")
    return figure


# --- the command line -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class PositionsOptions:
    """Make a file of positions with the exact value of every move."""

    out: pathlib.Path
    """File to write, a .csv."""
    count: int = 18
    """Positions for each number of stones from 4 to 32 that are won, and that are drawn."""
    num_games: int = 4096
    """To take them from."""
    seed: int = 0
    """Fixes everything random."""
    cpu_threads: int | None = None
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        _check_positive(count=self.count, num_games=self.num_games)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """Compare every checkpoint of a run with perfect play."""

    folder: tyro.conf.Positional[pathlib.Path]
    """Of a run of AlphaZero on pgx/connect_four."""
    positions: pathlib.Path = KEPT
    """File of positions."""
    num_simulations: int = 32
    """Of the search that is compared besides."""
    seed: int = 0
    """Fixes what is random about the search."""
    out_dir: pathlib.Path | None = None
    """Folder for raw_policy.csv and raw_policy.png; None: the run's."""
    cpu_threads: int | None = None
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        _check_positive(num_simulations=self.num_simulations)


def _check_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} = {number}: it must be at least 1.")


def write_positions(options: PositionsOptions) -> Iterable[str]:
    """Make the file; says what is in it."""
    files.check_writable(options.out)
    solve, game = solver(), from_pgx("connect_four")  # the solver first, lest games be played in vain
    moves, length = play(game, jax.random.key(options.seed), options.num_games, STONES[-1])
    positions = choose(moves, length, solve, STONES, options.count)
    save(options.out, positions)
    return [f"wrote {options.out}: {len(positions)} positions, half of them won, half drawn for the player to move"]


def write_scores(options: ScoreOptions) -> Iterable[str]:
    """Score the run, write the table and draw the figure."""
    files.check_writable((options.out_dir or options.folder) / "raw_policy.csv")
    game, positions, at = from_pgx("connect_four"), load(options.positions), steps(options.folder)
    solved = reach(game, positions)
    scores = score(game, options.folder, at, solved, options.num_simulations, jax.random.key(options.seed))
    chance, out = jax.device_get(baseline(solved)), options.out_dir or options.folder
    rows = ([one.moves, *(f"{value:.6g}" for value in one[1:])] for one in scores)
    files.write_csv(out / "raw_policy.csv", list(Score._fields), rows)
    plots.save(draw(scores, chance, len(solved.q), options.num_simulations), out / "raw_policy.png")
    return [*report(scores, chance, options.num_simulations), f"wrote {out / 'raw_policy.csv'} and raw_policy.png"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("connect_four"):
        options = tyro.extras.subcommand_cli_from_dict(
            {"positions": PositionsOptions, "score": ScoreOptions},
            prog="python -m experiments.studies.connect_four",
            description=__doc__,
            args=arguments,
        )
        xla.set_cpu_flags(threads=options.cpu_threads)
        lines = write_positions(options) if isinstance(options, PositionsOptions) else write_scores(options)
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
