"""Exhaustive play of a small game: does a trained agent ever lose, whatever its opponent does?

python -m experiments.studies.every_line runs/alphazero/TIME-ENV
python -m experiments.studies.every_line runs/muzero/TIME-ENV
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import tyro

from purerl import xla
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.driver.storage import folder as folders
from purerl.envs.games import Game
from purerl.envs.pgx import from_pgx
from purerl.games import planners
from purerl.games.exhaustive import Lines, every_line
from purerl.tools.play import trained


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which agent to follow, and how far."""

    folder: tyro.conf.Positional[pathlib.Path]
    """Folder of an AlphaZero or MuZero run on a game without chance."""
    num_simulations: int | None = None
    """Of the search before a move. None: as in training."""
    max_positions: int = 1_000_000
    """Positions after one number of moves, beyond which the game counts as too large."""
    cpu_threads: int | None = None
    """Threads of XLA on a CPU; None: one per core."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("every_line", flags=[Options]):
        options = parse_record(Options, arguments, "python -m experiments.studies.every_line", __doc__)
        xla.set_cpu_flags(threads=options.cpu_threads)
        game = from_pgx(str(folders.read_config(options.folder)["settings"]["env"]).removeprefix("pgx/"))
        for side, lines in follow(game, options).items():
            print(f"{side:>6} player  {lines.wins} won, {lines.draws} drawn, {lines.losses} lost")


def follow(game: Game, options: Options) -> dict[str, Lines]:
    """Outcome counts of all lines for the agent, by the side that it takes."""
    player, key = planners.agent(trained(game, options.folder, options.num_simulations)), jax.random.key(0)
    return {
        side: every_line(game, player, side == "first", key, max_positions=options.max_positions)
        for side in ("first", "second")
    }


if __name__ == "__main__":
    main()
