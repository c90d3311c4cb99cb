"""Positions of Connect Four with exact values, against a solver of our own, and a run that is scored on them."""

import csv
import shutil
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import connect_four as experiment
from purerl.agent import reactive
from purerl.algorithms.games.alphazero import raw_policy
from purerl.driver import command_line
from purerl.envs.pgx import from_pgx
from purerl.presets import alphazero
from purerl.tools.play import agent
from tests.oracles import connect_four as oracle
from tests.support.toy import toy, train
from tests.support.toy_runs import refused, register

pytestmark = pytest.mark.usefixtures("quick_compiles")

KEY = jax.random.key(0)


def values_of(line):
    """What each move is worth by the oracle."""
    values = oracle.action_values(*oracle.from_moves(line))
    return tuple(float(values.get(column, -np.inf)) for column in range(7))


@pytest.fixture(scope="module")
def game():
    return from_pgx("connect_four")


@pytest.fixture(scope="module")
def kept():
    """The positions that the project keeps."""
    return experiment.load(experiment.KEPT)


@pytest.fixture(scope="module")
def few(kept, tmp_path_factory):
    """Twenty-nine of them, one for each number of stones, and their file."""
    path = tmp_path_factory.mktemp("positions") / "few.csv"
    positions = dict([*kept.items()][::36])
    experiment.save(path, positions)
    return positions, path


@pytest.fixture(scope="module")
def solved(game, few):
    """The same, reached."""
    return experiment.reach(game, few[0])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a run of AlphaZero that has hardly begun, with its three checkpoints."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    tiny = "--torso mlp --num-blocks 1 --num-channels 4 --num-envs 2 --num-steps 2 --num-simulations 2"
    short = "--num-gradient-steps 1 --batch-size 2 --replay-capacity 4 --num-seeds 1 --num-env-steps 12 --eval-every 0"
    kept = f"--learning-rate 0.1 --checkpoint-every 4 --no-progress --out-dir {folder}"
    words = ["--env", "pgx/connect_four", *tiny.split(), *short.split(), *kept.split()]
    command_line.main(alphazero.EXPERIMENT, words)
    return folder


# --- positions --------------------------------------------------------------------------------------------


@pytest.mark.covers("alphazero")
def test_kept_positions_are_reached_by_the_rules(kept):
    """No game is over on the way, no column overflows, the moves with values are the legal ones; no two positions are
    alike or mirrored; of each number of stones 18 are won, 18 drawn, and there is something worse to do."""
    for line, values in kept.items():
        own, taken = 0, 0
        for column in line:
            assert not oracle.is_over(own, taken) and oracle.landing(taken, column)
            own, taken = oracle.play(own, taken, oracle.landing(taken, column))
        assert not oracle.is_over(own, taken)
        assert oracle.legal_moves(taken) == np.flatnonzero(np.isfinite(values)).tolist()
        assert min(value for value in values if value > -np.inf) < max(values)
    assert len({experiment.appearance(line) for line in kept}) == len(kept)
    kinds = [(len(line), max(values)) for line, values in kept.items()]
    assert {kind: kinds.count(kind) for kind in kinds} == {(n, v): 18 for n in range(4, 33) for v in (0, 1)}


@pytest.mark.covers("alphazero")
def test_kept_values_are_those_of_an_alpha_beta_search(kept):
    """Every move in all positions of at least 26 stones; in the mirror image of every tenth, the mirrored values."""
    late = [line for line in kept if len(line) >= 26]
    assert len(late) == 7 * 36
    assert {line: values_of(line) for line in late} == {line: kept[line] for line in late}
    for line in late[::10]:
        mirrored = tuple(6 - column for column in line)
        assert values_of(mirrored) == kept[line][::-1]
        assert experiment.appearance(mirrored) == experiment.appearance(line)


@pytest.mark.covers("alphazero")
def test_games_are_careful_and_careless(game, monkeypatch):
    """With the leftmost move for a careful one and the rightmost for a random one, the random ones among the first six
    of 350 games are each number from 0 to 6 equally often; and games end by the rules where it is said."""
    legal = jax.vmap(game.legal)
    leftmost = reactive(lambda seen, key: jnp.argmax(legal(seen.env_state), axis=1))
    rightmost = reactive(lambda seen, key: 6 - jnp.argmax(legal(seen.env_state)[:, ::-1], axis=1))
    monkeypatch.setattr(experiment, "one_ply", lambda game: leftmost)
    monkeypatch.setattr(experiment, "random_player", lambda game: rightmost)
    moves, length = experiment.play(game, KEY, 350, 32)
    assert moves.shape == (350, 32)
    numbers = np.bincount((moves[:, :6] == 6).sum(axis=1), minlength=7)
    assert ((numbers - 50) ** 2 / 50).sum() < 22.5  # chi-squared with 6 degrees of freedom, one in a thousand
    for line, going_on in zip(moves.tolist(), length.tolist(), strict=True):
        assert not any(oracle.is_over(*oracle.from_moves(line[:t])) for t in range(7, going_on + 1))
        assert going_on == 32 or oracle.is_over(*oracle.from_moves(line[: going_on + 1]))


@pytest.mark.covers("alphazero")
def test_positions_are_chosen_from_different_games(kept):
    """Late positions found again among all of their kind and others: as many of each as asked for, from games each used
    once, solved as by the oracle; and what is missing is said."""
    lines = [line for line in kept if len(line) in (31, 32)]
    lines += [tuple(6 - column for column in line) for line in lines]
    moves = np.array([[*line, *[0] * (32 - len(line))] for line in lines])
    length = np.array([len(line) for line in lines])
    found = experiment.choose(moves, length, values_of, (31, 32), 5)
    kinds = [(len(line), max(values)) for line, values in found.items()]
    assert [kinds.count(kind) for kind in ((31, 1), (31, 0), (32, 1), (32, 0))] == [5] * 4 and len(kinds) == 20
    assert all(values == values_of(line) for line, values in found.items())
    begun = [[line[: len(chosen)] for line in lines].index(chosen) for chosen in found]
    assert len({*begun}) == 20 and len({experiment.appearance(line) for line in found}) == 20
    with pytest.raises(ValueError, match="144 games have too few positions of 32 stones: 1 won ones and 1 drawn ones"):
        experiment.choose(moves, length, values_of, (32,), 19)


@pytest.mark.covers("alphazero")
def test_file_gives_back_what_was_written(few):
    """Moves and values, those of full columns too, from a file of one line each."""
    positions, path = few
    assert experiment.load(path) == positions and len(positions) == 29
    assert len(path.read_text().splitlines()) == 30
    assert any(-np.inf in values for values in positions.values())


def test_solvers_scores_become_wins_draws_and_losses(monkeypatch):
    """It tells how soon a game is won; here only the sign counts, and a column that it leaves out is not legal."""
    boards = []

    class BitBully:
        def score_all_moves(self, board):
            boards.append(board)
            return {3: 12, 0: 1, 5: 0, 6: -7}

    monkeypatch.setitem(sys.modules, "bitbully", types.SimpleNamespace(BitBully=BitBully, Board=tuple))
    assert experiment.solver()((1, 2, 3)) == (1, -np.inf, -np.inf, 1, -np.inf, 0, -1)
    assert boards == [(1, 2, 3)]


@pytest.mark.covers("alphazero")
def test_command_makes_positions(game, kept, tmp_path, monkeypatch, capsys):
    """With games and a solver in the place of its own: the file holds what it chose from them."""
    lines = [line for line in kept if len(line) == 32]
    games = lambda game, key, num_games, num_moves: (np.array(lines), np.full(36, num_moves))  # noqa: E731
    for name, value in {"solver": lambda: values_of, "play": games, "STONES": range(32, 33)}.items():
        monkeypatch.setattr(experiment, name, value)
    out = tmp_path / "positions.csv"
    experiment.main(["positions", "--out", str(out), "--count", "4"])
    assert capsys.readouterr().out.startswith(f"wrote {out}: 8 positions, half of them won")
    found = experiment.load(out)
    assert len(found) == 8 and found.items() <= kept.items()


# --- scores -----------------------------------------------------------------------------------------------


@pytest.mark.covers("alphazero")
def test_positions_are_reached(solved, few):
    """What the player to move sees is the oracle's position; moves that are not legal are worth -inf."""
    positions, _ = few
    assert [oracle.from_obs(obs) for obs in solved.obs] == [oracle.from_moves(line) for line in positions]
    np.testing.assert_array_equal(solved.q, [*positions.values()])


@pytest.mark.parametrize(
    "line, values",
    [((0, 1) * 3 + (0,), (0.0,) * 7), ((2,) * 6, (0.0,) * 7), ((3,), (0.0,) * 6 + (-np.inf,))],
    ids=["over", "full column", "missing move"],
)
def test_positions_that_are_none_are_refused(game, line, values):
    """A game that is over, a value at a full column, none at a free one: the line is named."""
    with pytest.raises(ValueError, match=f"{''.join(map(str, line))}: no game goes on there, or the moves"):
        experiment.reach(game, {(0,): (0.0,) * 7, line: values})


@pytest.mark.deep
@pytest.mark.covers("alphazero")
def test_command_scores_every_checkpoint(game, few, solved, run, tmp_path, capsys):
    """A row a checkpoint. The network is evaluated again position by position in NumPy; the search's share is
    one of whole positions; the lines printed and the figure go with it, and nothing else is written."""
    positions, path = few
    arguments = ["--positions", str(path), "--num-simulations", "2", "--out-dir", str(tmp_path)]
    experiment.main(["score", str(run), *arguments])
    lines = capsys.readouterr().out.splitlines()
    assert {file.name for file in tmp_path.iterdir()} == {"raw_policy.csv", "raw_policy.png"}
    assert (tmp_path / "raw_policy.png").read_bytes().startswith(b"\x89PNG")
    header, *rows = csv.reader((tmp_path / "raw_policy.csv").open())
    assert header == ["moves", "accuracy", "mass", "value_error", "search_accuracy"]
    q = np.array([*positions.values()])
    best, look = q == q.max(axis=1, keepdims=True), None
    for row, step in zip(rows, (4, 8, 12), strict=True):
        _, config, params = agent(game, run, step)
        look = look or jax.jit(raw_policy(game, config))
        logits, value = map(np.array, look(params, solved.obs))
        policy = np.where(np.isfinite(q), np.exp(logits), 0)
        expected = [
            step,
            best[np.arange(29), policy.argmax(axis=1)].mean(),
            ((policy * best).sum(axis=1) / policy.sum(axis=1)).mean(),
            ((value - q.max(axis=1)) ** 2).mean(),
        ]
        np.testing.assert_allclose([float(cell) for cell in row[:4]], expected, rtol=1e-4)
        searched = 29 * float(row[4])
        assert 0 <= searched <= 29 and abs(searched - round(searched)) < 1e-3
    assert len({row[3] for row in rows}) == 3
    assert [line.split()[0] for line in lines] == ["moves", "4", "8", "12", "uniform", "wrote"]
    uniform = (best.sum(axis=1) / np.isfinite(q).sum(axis=1)).mean()
    assert lines[4].split()[1] == f"{uniform:.1%}"


@pytest.mark.covers("alphazero")
def test_search_is_asked_for_its_move(game, solved, monkeypatch):
    """In the place of the network's own search one that has read the values, and one that wants the worst."""
    ideas = {7: solved.q, 8: jnp.where(jnp.isfinite(solved.q), -solved.q, -jnp.inf)}

    def search_policy(game, config):
        action = jnp.argmax(ideas[config.num_simulations], axis=1)
        return lambda hypers, params, seen, key: types.SimpleNamespace(action=action)

    look = lambda params, obs: (params, jnp.zeros(len(obs)))  # noqa: E731
    monkeypatch.setattr(experiment, "search_policy", search_policy)
    monkeypatch.setattr(experiment, "raw_policy", lambda game, config: look)
    config = alphazero.PRESETS["pgx/connect_four"].config
    for num_simulations, share in ((7, 1), (8, 0)):
        found, searched = experiment.evaluator(game, config, solved, num_simulations)(None, solved.q, KEY)
        assert searched == share and found.accuracy == 1


def test_what_cannot_be_scored_is_refused(game, few, run, tmp_path, monkeypatch, capsys):
    """No run, a run without checkpoints, one of something else, no file of positions: one line each, exit code 2."""

    def printed(folder, positions=few[1]):
        capsys.readouterr()
        return refused(experiment.main, capsys, "score", str(folder), "--positions", str(positions))

    assert f"No run in {tmp_path / 'nowhere'}: it has no config.json." in printed(tmp_path / "nowhere")
    (tmp_path / "begun").mkdir()
    shutil.copy(run / "config.json", tmp_path / "begun")
    assert "No checkpoints at " in printed(tmp_path / "begun")
    (tmp_path / "begun" / "checkpoints").mkdir()
    assert f"No checkpoint in {tmp_path / 'begun'}: train for longer" in printed(tmp_path / "begun")
    register(monkeypatch)
    train(toy(), out_dir=tmp_path / "toy")
    assert "holds toy on" in printed(tmp_path / "toy")
    assert "No such file" in printed(run, tmp_path / "none.csv")
    assert not (tmp_path / "toy" / "raw_policy.csv").exists()


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "holds no positions: after a line moves,0,1,2,3,4,5,6 it must have one for each."),
        ("moves,0,1,2,3,4,5,6\n", "holds no positions"),
        ("moves,0,1,2,3,4,5,6\n012,1,0,1,0,1,0,1\n37,1,0,1,0,1,0,1\n", "line 3: '37' must be columns, followed by"),
        ("moves,0,1,2,3,4,5,6\n012,1,0,1,0,1,0\n", "line 2: '012' must be columns, followed by 7 of"),
        ("moves,0,1,2,3,4,5,6\n012,1,0,1,0,1,0,2\n", "line 2: '012' must be"),
    ],
    ids=["empty", "no rows", "column", "length", "value"],
)
def test_files_of_something_else_are_refused(text, message, tmp_path, capsys):
    """The line that cannot be read is named, and what should stand there."""
    path = tmp_path / "positions.csv"
    path.write_text(text)
    assert message in refused(experiment.main, capsys, "score", str(tmp_path), "--positions", str(path))


def test_numbers_below_one_and_a_missing_solver_are_refused(tmp_path, monkeypatch, capsys):
    """One line that names the option, or the extra to install; nothing is written."""
    monkeypatch.setitem(sys.modules, "bitbully", None)
    out = tmp_path / "positions.csv"
    for option in ("count", "num-games"):
        printed = refused(experiment.main, capsys, "positions", "--out", str(out), f"--{option}", "0")
        assert f"{option.replace('-', '_')} = 0: it must be at least 1." in printed
    assert "num_simulations = 0" in refused(experiment.main, capsys, "score", str(out), "--num-simulations", "0")
    printed = refused(experiment.main, capsys, "positions", "--out", str(out))
    assert 'positions need the solver bitbully: pip install "purerl[solver]".' in printed
    assert not out.exists()
