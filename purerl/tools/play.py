"""Play a game against a tree search, in the terminal; it shows its visits, values and principal line.

    purerl play connect_four
    purerl play connect_four --checkpoint runs/alphazero/TIME-ENV --you second
    purerl play tic_tac_toe --you nobody --render game.svg

Moves are numbers, as the game counts them: columns of Connect Four from 0, cells of tic-tac-toe row by row. A question
mark in the place of a move asks the search for advice; q leaves. MuZero searches in a learnt model: the line that it
expects may hold moves that are not legal, and go on after the end.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from purerl import agent_file, files, search, xla
from purerl.algorithms.games import alphazero
from purerl.algorithms.games.alphazero import AlphaZeroConfig
from purerl.algorithms.planning import muzero_search
from purerl.algorithms.planning.muzero import MuZeroConfig
from purerl.config_checks import check_options
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.envs.games import Game
from purerl.envs.pgx import Position, draw, from_pgx
from purerl.games import planners
from purerl.games.planners import SearchPolicy
from purerl.ranges import setting
from purerl.search.drawing import principal_line
from purerl.types import PyTree, Seen


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to play, and against whom."""

    game: tyro.conf.Positional[str] = "connect_four"
    """Name of a game, with or without pgx/ in front."""
    checkpoint: pathlib.Path | None = None
    """Folder of a run of AlphaZero or MuZero, or a file of its agent, .safetensors, which guides the search; None:
    leaves are evaluated by random playouts (UCT)."""
    num_simulations: int | None = setting(None, low=1)
    """Of the search before a move. None: as the network was trained, or 1000 for playouts."""
    you: Literal["first", "second", "nobody"] = "first"
    """Who you are: who begins, who answers, or a spectator."""
    moves: tuple[int, ...] = ()
    """Your first moves, made without asking; afterwards you are asked."""
    seed: int = setting(0, low=0, high=2**32 - 1)
    """Fixes what is random about the search."""
    render: pathlib.Path | None = None
    """Draw the position after every move to this file, an SVG; None: nowhere."""
    cpu_threads: int | None = setting(None, low=1)
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.render is not None and self.render.suffix.lower() != ".svg":
            raise ValueError(f"--render {self.render}: the picture is an SVG, so its name must end in .svg.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("play", flags=[Options]):
        options = parse_record(Options, arguments, "purerl play", __doc__)
        xla.set_cpu_flags(threads=options.cpu_threads)
        game = from_pgx(options.game.removeprefix("pgx/"))
        play(game, opponent(game, options), options)


def opponent(game: Game, options: Options) -> SearchPolicy:
    """Search policy to play against.

    Raises:
        ValueError: as :func:`trained`.
    """
    if options.checkpoint is not None:
        return trained(game, options.checkpoint, options.num_simulations)
    evaluate_leaf = planners.playout_evaluator(game, max_moves=1000)
    return planners.search_policy(game, evaluate_leaf, search.uct, (), options.num_simulations or 1000)


def trained(game: Game, path: pathlib.Path, num_simulations: int | None = None) -> SearchPolicy:
    """Search policy of a trained AlphaZero or MuZero.

    Args:
        game: that it was trained on.
        path: folder of the run, or the file of its network.
        num_simulations: None for as many as in training.

    Raises:
        ValueError: if it is another algorithm's, or was trained on another game.
    """
    hypers, config, params = agent(game, path, among=tuple(_CONFIGS))
    if num_simulations is not None:
        config = dataclasses.replace(config, num_simulations=num_simulations)
    algorithm = muzero_search if isinstance(config, MuZeroConfig) else alphazero
    run_search = algorithm.search_policy(game, config)
    return lambda seen, key: run_search(hypers, params, seen, key)


_CONFIGS: dict[str, type] = {"alphazero": AlphaZeroConfig, "muzero": MuZeroConfig}


def agent(
    game: Game, path: pathlib.Path, step: int | None = None, among: Sequence[str] = ("alphazero",)
) -> tuple[Any, Any, PyTree]:
    """Hypers, config and parameters of one of some algorithms' agents.

    Args:
        game: that it plays.
        path: folder of a run, of whose seeds it is the first that is sound, or a file that ``agent.save`` wrote.
        step: environment step of a run's checkpoint; None: of the last.
        among: names of the algorithms.

    Raises:
        ValueError: if it is none of theirs, or plays another game.
    """
    if path.suffix == ".npz":
        raise ValueError(f"{path} is of an older version: write it anew, purerl export RUN {path.stem}.safetensors.")
    if path.is_dir():
        algorithm, hypers, params = _of_run(path, step)
    else:
        read = agent_file.read(path)
        algorithm, hypers, params = read.algorithm, read.hypers, getattr(read.state, "params", None)
    spec = algorithm.spec
    if spec.name not in among or spec.settings["env"] != game.name:
        raise ValueError(
            f"{path} holds {spec.name} on {spec.settings['env']}, not {' or '.join(among)} on {game.name}."
        )
    return hypers, _CONFIGS[spec.name](**{k: v for k, v in spec.settings.items() if k != "env"}), params


def _of_run(path: pathlib.Path, step: int | None) -> tuple[Any, Any, PyTree]:
    """Algorithm, hypers and parameters that a run has left.

    Raises:
        ValueError: if there is no run, or every seed has diverged.
    """
    from purerl.driver.storage.restore import load_agents

    agents = load_agents(path, step, False)
    sound = [m for m in range(agents.columns.num_seeds) if m not in agents.diverged]
    if not sound:
        raise ValueError(f"{path}: every seed has diverged, so there is nobody to play against.")
    hypers, state = agents.trial(sound[0])
    return agents.run.algorithm, hypers, getattr(state, "params", None)


def play(game: Game, search_policy: SearchPolicy, options: Options) -> None:
    """One game, move by move, to the end or until the person leaves."""
    run_search, step = jax.jit(search_policy), jax.jit(game.step)
    key = jax.random.key(options.seed)
    obs, state = game.reset(key)
    prepared = iter(options.moves)
    person = {"first": 0, "second": 1, "nobody": -1}[options.you]
    for t in range(10_000):
        print(f"\n{game.show(state)}\n")
        picture(game, state, options)
        mover = int(game.player(state))
        search_key, step_key = jax.random.split(jax.random.fold_in(key, t))

        def advice(obs: jax.Array = obs, state: Position = state, key: jax.Array = search_key) -> search.Decision:
            return jax.device_get(run_search(jax.tree.map(lambda x: x[None], Seen(obs, state)), key))

        if mover == person:
            action = asked(game, state, prepared, advice)
            if action is None:
                return
        else:
            decision = advice()
            print(report(decision))
            action = int(decision.action[0])
        obs, state, reward, terminated, *_ = step(step_key, state, jnp.asarray(action, game.action_space.dtype))
        if terminated:
            print(f"\n{game.show(state)}\n")
            picture(game, state, options)
            print(ending(float(reward), mover, person))
            return


def asked(game: Game, state: Position, prepared: Iterator[int], advice: Callable[[], search.Decision]) -> int | None:
    """The person's move, or None for leaving."""
    legal = np.flatnonzero(np.asarray(game.legal(state))).tolist()
    for move in prepared:
        if move not in legal:
            raise ValueError(f"--moves: {move} is not legal here; choose from {_listed(legal)}.")
        print(f"your move: {move}")
        return move
    while True:
        try:
            answer = input(f"your move ({_listed(legal)}): ").strip()
        except EOFError:
            return None
        if answer == "q":
            return None
        if answer == "?":
            print(report(advice()))
        elif answer.lstrip("-").isdigit() and int(answer) in legal:
            return int(answer)
        else:
            print(f"{answer!r} is no legal move; choose from {_listed(legal)}, ? for advice, or q to leave.")


def report(decision: search.Decision, most: int = 7) -> str:
    """Decision of a search as text: its move, the visits and values of the most visited ones, the principal line."""
    visits, value = decision.tree.visits[0, 0], decision.tree.value[0, 0]
    order = [action for action in np.argsort(-visits, kind="stable")[:most] if visits[action] > 0]
    lines = [f"move {decision.action[0]}, expecting {decision.value[0]:+.2f}"]
    lines += [f"  {action:>4}  visits {visits[action]:>6.0f}  value {value[action]:+.2f}" for action in order]
    line = principal_line(decision.tree)
    if line[:1] == [int(decision.action[0])]:  # of two moves visited alike, the one that was drawn may be the other
        lines.append("  line  " + " ".join(str(action) for action in line))
    return "\n".join(lines)


def picture(game: Game, state: Position, options: Options) -> None:
    """Draw the position, if that was asked for."""
    if options.render is not None:
        with files.atomic_path(options.render) as path:
            pathlib.Path(path).write_text(draw(game, state), encoding="utf-8")


def ending(reward: float, mover: int, person: int) -> str:
    """Result of a game whose last move had this reward."""
    if reward == 0:
        return "a draw"
    winner = mover if reward > 0 else 1 - mover
    if person < 0:
        return f"the {('first', 'second')[winner]} player wins"
    return "you win" if winner == person else "you lose"


def _listed(moves: Sequence[int]) -> str:
    return " ".join(str(move) for move in moves)


if __name__ == "__main__":
    main()
