"""Playing against a tree search: whole games, prepared moves, what is printed, and what is refused."""

import functools
import itertools
import pathlib
import re

import jax
import numpy as np
import pytest

from experiments.studies import every_line
from purerl.driver import command_line
from purerl.envs.pgx import from_pgx
from purerl.presets import alphazero, muzero
from purerl.tools import export
from purerl.tools import play as experiment
from tests.oracles import tic_tac_toe
from tests.support.toy_runs import refused

GAME = ["tic_tac_toe", "--num-simulations", "8"]
game_of = functools.cache(from_pgx)


@pytest.fixture(scope="module")
def search():
    """A search of 8 simulations, which all tests share: `jit` knows a function that it has seen."""
    return experiment.opponent(game_of("tic_tac_toe"), experiment.Options(num_simulations=8))


@pytest.fixture
def same_search(monkeypatch, search):
    """Let every command play against that search, at a game made once."""
    monkeypatch.setattr(experiment, "from_pgx", game_of)
    monkeypatch.setattr(experiment, "opponent", lambda game, options: search)


@pytest.fixture
def answer(monkeypatch):
    """Let these answers be given to questions, one after another, and the input end after them."""

    def give(*answers: str) -> None:
        rest = iter(answers)

        def respond(question: str) -> str:
            for given in rest:
                return given
            raise EOFError

        monkeypatch.setattr("builtins.input", respond)

    return give


def boards(out: str) -> list[tuple[int, ...]]:
    """The boards that were shown, one after another, as the oracle writes them."""
    rows = [line.split() for line in out.splitlines() if re.fullmatch(r"[xo.] [xo.] [xo.]", line)]
    marks = {"x": 1, "o": -1, ".": 0}
    return [tuple(marks[mark] for row in rows[i : i + 3] for mark in row) for i in range(0, len(rows), 3)]


def moves(shown: list[tuple[int, ...]]) -> list[int]:
    """The moves between boards, each of which the rules must allow."""
    found = []
    for before, after in itertools.pairwise(shown):
        (cell,) = [cell for cell in tic_tac_toe.moves(before) if tic_tac_toe.play(before, cell) == after]
        found.append(cell)
    return found


def visits(out: str) -> int:
    """How many simulations were shown."""
    return sum(int(n) for n in re.findall(r"visits +(\d+)", out))


@pytest.mark.covers("mcts")
def test_a_search_plays_itself(same_search, tmp_path, capsys):
    """From the empty board to the end by the rules; the moves announced are those made, lines begin with the most
    visited move, the result is the last board's, and the picture is an SVG."""
    picture = tmp_path / "game.svg"
    experiment.main([*GAME, "--you", "nobody", "--render", str(picture)])
    out = capsys.readouterr().out
    shown = boards(out)
    assert shown[0] == tic_tac_toe.EMPTY and tic_tac_toe.is_over(shown[-1])
    made = moves(shown)
    assert [int(move) for move in re.findall(r"^move (\d), expecting [+-]\d\.\d\d$", out, re.M)] == made
    lines = re.findall(r"^move (\d).*\n +\d  visits.*\n(?:.*visits.*\n)*  line  (\d)", out, re.M)
    assert lines and all(move == first for move, first in lines)  # none where another was visited as often
    ending = {0: "a draw", 1: "the first player wins", -1: "the second player wins"}
    assert out.splitlines()[-1] == ending[tic_tac_toe.winner(shown[-1])]
    drawn = picture.read_text(encoding="utf-8")
    assert drawn.startswith("<svg") or drawn.startswith("<?xml")
    assert list(tmp_path.iterdir()) == [picture]


@pytest.mark.parametrize("you", ["first", "second"])
def test_a_person_plays_to_the_end(you, same_search, monkeypatch, capsys):
    """Always the first move that the question offers: it is made, and the result is told from the person's side."""
    monkeypatch.setattr("builtins.input", lambda question: re.search(r"\d", question).group())
    experiment.main([*GAME, "--you", you])
    out = capsys.readouterr().out
    shown = boards(out)
    made, mine = moves(shown), 0 if you == "first" else 1
    assert all(made[t] == tic_tac_toe.moves(shown[t])[0] for t in range(mine, len(made), 2))
    outcome = tic_tac_toe.winner(shown[-1]) * (1 if you == "first" else -1)
    assert out.splitlines()[-1] == {0: "a draw", 1: "you win", -1: "you lose"}[outcome]


def test_questions_and_answers(same_search, answer, capsys):
    """A prepared move is made without asking; a word and a cell that is taken are asked for again, a question mark
    brings advice, and q leaves before the end."""
    answer("corner", "4", "?", "q")
    experiment.main([*GAME, "--moves", "4"])
    out = capsys.readouterr().out
    shown = boards(out)
    assert "your move: 4\n" in out and shown[1][4] == 1 and len(shown) == 3
    free = " ".join(map(str, tic_tac_toe.moves(shown[-1])))
    for wrong in ("corner", "4"):
        assert f"{wrong!r} is no legal move; choose from {free}, ? for advice, or q to leave.\n" in out
    assert len(re.findall(r"^move \d, expecting", out, re.M)) == 2  # of the search, and advice
    assert visits(out[out.index(" is no legal move") :]) == 8  # of the advice, which shows all the seven free cells
    assert not re.search("win|lose|draw", out)


def test_the_end_of_the_input_ends_the_game(same_search, answer, capsys):
    """Nobody answers: the board was shown, and that is all."""
    answer()
    experiment.main(GAME)
    assert boards(capsys.readouterr().out) == [tic_tac_toe.EMPTY]


def test_an_illegal_prepared_move_is_refused(same_search, capsys):
    """The same cell twice: one line that names the move and what there is, and exit code 2."""
    with pytest.raises(SystemExit) as exit_:
        experiment.main([*GAME, "--moves", "4", "4"])
    assert exit_.value.code == 2
    printed = capsys.readouterr()
    free = " ".join(map(str, tic_tac_toe.moves(boards(printed.out)[-1])))
    assert f"--moves: 4 is not legal here; choose from {free}." in " ".join(printed.err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tic_tac_to"], "No game of pgx is named 'tic_tac_to'. Near: 'tic_tac_toe'"),
        (["--num-simulations", "0"], "--num-simulations 0: it must be at least 1"),
        (["--render", "game.png"], "--render game.png: the picture is an SVG, so its name must end in .svg"),
        (["--checkpoint", "nowhere"], "nowhere"),
        (
            ["--checkpoint", "network.npz"],
            "network.npz is of an older version: write it anew, purerl export RUN",
        ),
    ],
    ids=["game", "simulations", "picture", "checkpoint", "export"],
)
def test_what_cannot_be_is_refused(arguments, message, capsys):
    """One line that names it, and exit code 2."""
    assert message in refused(experiment.main, capsys, *arguments)


def hardly_begun(experiment: command_line.Experiment, folder: pathlib.Path, **settings: object) -> pathlib.Path:
    """Folder of a run on tic-tac-toe of one update."""
    shared = {
        "env": "pgx/tic_tac_toe",
        "torso": "mlp",
        "num-envs": 2,
        "num-steps": 2,
        "num-simulations": 2,
        "num-gradient-steps": 1,
        "batch-size": 2,
        "num-seeds": 1,
        "num-env-steps": 4,
        "eval-every": 0,
        "out-dir": folder,
    }
    words = (word for name, value in (shared | settings).items() for word in (f"--{name}", str(value)))
    command_line.main(experiment, [*words, "--no-progress"])
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a run of AlphaZero that has hardly begun."""
    sizes = {"num-blocks": 1, "num-channels": 4, "replay-capacity": 4}
    return hardly_begun(alphazero.EXPERIMENT, tmp_path_factory.mktemp("runs") / "run", **sizes)


@pytest.mark.covers("alphazero")
def test_a_trained_network_plays(run, capsys):
    """At another game its run is refused; at its own it plays by the rules, with as many simulations as asked for."""
    capsys.readouterr()
    printed = refused(experiment.main, capsys, "connect_four", "--checkpoint", str(run))
    assert "holds alphazero on pgx/tic_tac_toe, not alphazero or muzero on pgx/connect_four." in printed
    experiment.main([*GAME, "--checkpoint", str(run), "--you", "nobody"])
    out = capsys.readouterr().out
    shown = boards(out)
    assert tic_tac_toe.is_over(shown[-1]) and len(moves(shown)) >= 5
    assert visits(out[out.rindex("expecting") :]) == 8


@pytest.mark.covers("alphazero")
def test_a_network_is_exported(run, tmp_path, capsys):
    """Its file has the run's settings and parameters, bit for bit, and plays its own game alone."""
    exported = tmp_path / "network.safetensors"
    export.main([str(run), str(exported)])
    assert capsys.readouterr().out.startswith(f"wrote {exported}, ")
    _, *of_run = experiment.agent(game_of("tic_tac_toe"), run)
    _, *of_file = experiment.agent(game_of("tic_tac_toe"), exported)
    assert of_run[0] == of_file[0]
    jax.tree.map(np.testing.assert_array_equal, of_run[1], of_file[1])
    printed = refused(experiment.main, capsys, "connect_four", "--checkpoint", str(exported))
    assert "holds alphazero on pgx/tic_tac_toe, not alphazero or muzero on pgx/connect_four." in printed


@pytest.mark.deep
@pytest.mark.covers("muzero")
def test_a_network_that_learnt_its_own_rules_plays(tmp_path, capsys):
    """MuZero's run: it plays by the rules, with as many simulations as asked for; every line of it ends, and is
    counted; its file plays as well."""
    sizes = {"num-unrolled": 1, "n-step": 1, "replay-capacity": 8, "hidden-sizes": 4, "latent-size": 4}
    folder = str(hardly_begun(muzero.EXPERIMENT, tmp_path / "run", **sizes))
    capsys.readouterr()
    experiment.main([*GAME, "--checkpoint", folder, "--you", "nobody"])
    out = capsys.readouterr().out
    assert tic_tac_toe.is_over(boards(out)[-1]) and len(moves(boards(out))) >= 5
    assert visits(out[out.rindex("expecting") :]) == 8
    every_line.main([folder])
    first, second = capsys.readouterr().out.splitlines()
    for side, line in (("first", first), ("second", second)):
        ((won, drawn, lost),) = re.findall(f" *{side} player  (\\d+) won, (\\d+) drawn, (\\d+) lost$", line)
        assert int(won) + int(drawn) + int(lost) >= 8 * 6  # so many if all were over after five moves
    exported = tmp_path / "network.safetensors"
    export.main([folder, str(exported)])
    assert experiment.agent(game_of("tic_tac_toe"), exported, among=["muzero"])[1].latent_size == 4
    with pytest.raises(ValueError, match="holds muzero on pgx/tic_tac_toe, not alphazero on pgx/tic_tac_toe"):
        experiment.agent(game_of("tic_tac_toe"), exported)
