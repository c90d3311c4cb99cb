"""The league: its tables, non-transitive players, its files and its errors."""

import csv
import json

import jax
import numpy as np
import pytest

from experiments.studies import league as experiment
from purerl.games.match import Score
from purerl.search import Decision
from purerl.types import Seen

NAMES = ("rock", "paper", "scissors", "fool")


def result(wins: int, draws: int, losses: int) -> Score:
    """A match without its interval, which nothing here reads."""
    return Score(wins, draws, losses, (wins + draws / 2) / (wins + draws + losses), 0.0, 1.0)


@pytest.fixture(scope="module")
def circle():
    """Three who beat each other 90 to 10 in a circle, and a fourth whom all beat 90 to 10."""
    beats, loses = result(90, 0, 10), result(10, 0, 90)
    results = {(0, 1): loses, (0, 2): beats, (1, 2): loses, **{(i, 3): beats for i in range(3)}}
    return results, experiment.standings(*experiment.tables(results), jax.random.key(0), prior=1e-3)


@pytest.mark.covers("elo")
def test_circles_have_equal_ratings_and_are_named(circle):
    """The three are level and the fourth is where 90 of 100 puts it; intervals hold the estimate. Six pairs are
    apart by the same gap; ratings explain the fool's three and none of the circle's, so half is circles."""
    results, stand = circle
    wins, draws = experiment.tables(results)
    np.testing.assert_array_equal(wins[0], [0, 10, 90, 90])
    np.testing.assert_array_equal(wins + wins.T + draws, 100 * (1 - np.eye(4)))
    assert not draws.any()
    np.testing.assert_allclose([elo.estimate for elo in stand.elo], [0, 0, 0, -400 * np.log10(9)], atol=0.1)
    assert all(elo.low <= elo.estimate <= elo.high for elo in stand.elo)
    np.testing.assert_allclose(stand.payoff[0], [0, -0.8, 0.8, 0.8], atol=1e-6)
    assert stand.cyclic == pytest.approx(0.5, abs=1e-5)


@pytest.mark.covers("elo")
def test_report_ranks_the_players(circle):
    """A line a player, the fool last, with totals that add up; a line a pair; the share of circles."""
    lines = experiment.report(NAMES, *circle)
    assert lines[0].endswith("Elo above rock")
    assert lines[4].split()[:5] == ["fool", "30", "0", "270", "10.0%"]
    assert all(line.split()[1:5] == ["190", "0", "110", "63.3%"] for line in lines[1:4])
    assert lines[6] == "rock against paper: 10 won, 0 drawn, 90 lost: score 0.100 [0.000, 1.000]"
    assert lines[-1].startswith("in circles: 50.0%")


@pytest.mark.covers("elo")
def test_command_plays_and_writes(tmp_path, capsys):
    """Twenty games of tic-tac-toe: the one-ply player is rated higher, and the three files say the same."""
    experiment.main(["--players", "random", "one_ply", "--num-games", "20", "--out-dir", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pgx/tic_tac_toe: 2 players, 20 games of each pair"
    assert lines[2].split()[0] == "one_ply" and lines[3].split()[0] == "random"
    record = json.loads((tmp_path / "league.json").read_text())
    (pair,) = record["pairs"]
    assert pair["players"] == ["random", "one_ply"] and pair["wins"] + pair["draws"] + pair["losses"] == 20
    elo = record["elo"]
    assert elo["random"]["estimate"] == 0 and elo["one_ply"]["estimate"] > 0
    table = list(csv.reader((tmp_path / "payoff.csv").open()))
    payoff = (pair["wins"] - pair["losses"]) / 20
    assert table[0] == ["player", "random", "one_ply"]
    np.testing.assert_allclose(np.array([row[1:] for row in table[1:]], float), [[0, payoff], [-payoff, 0]], atol=1e-6)
    assert (tmp_path / "elo.png").stat().st_size > 10_000
    assert {path.name for path in tmp_path.iterdir()} == {"league.json", "payoff.csv", "elo.png"}


@pytest.mark.deep
@pytest.mark.covers("mcts", "elo")
def test_who_searches_longer_is_rated_higher(tmp_path, capsys):
    """Searches of 1 and 32 simulations at tic-tac-toe, by name: the longer one is above the shorter."""
    experiment.main(["--players", "uct:1", "uct:32", "--num-games", "40", "--out-dir", str(tmp_path)])
    assert capsys.readouterr().out.splitlines()[2].split()[0] == "uct:32"
    assert json.loads((tmp_path / "league.json").read_text())["elo"]["uct:32"]["low"] > 0


@pytest.mark.covers("alphazero")
@pytest.mark.parametrize("count", [None, 64], ids=["as trained", "64"])
def test_the_folder_of_a_run_is_a_player(count, tmp_path, monkeypatch):
    """Its network is asked for with as many simulations as the name says, and what it decides is played."""
    asked = []

    def trained(game, folder, num_simulations):
        asked.append((game.name, folder, num_simulations))
        return lambda seen, key: Decision(action=sum(seen) + key, weights=None, value=None, tree=None)

    monkeypatch.setattr(experiment, "trained", trained)
    game = experiment.make_game("pgx/tic_tac_toe")
    player = experiment.player(game, str(tmp_path) if count is None else f"{tmp_path}:{count}")
    assert asked == [("pgx/tic_tac_toe", tmp_path, count)]
    assert player.policy((), Seen(1, 20), 300) == ((), 321)


def test_labels_are_short_but_tell_players_apart():
    """A folder is called by its last part, unless another ends alike."""
    assert experiment.labels(["random", "uct:9", "runs/alphazero/today:64"]) == ["random", "uct:9", "today:64"]
    assert experiment.labels(["a/run", "b/run"]) == ["a/run", "b/run"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--players", "random", "one-ply"], "No player is named 'one-ply'. Near: 'one_ply'."),
        (["--players", "random", "uct"], "No player is named 'uct'. Near: 'uct:100'. There are random, one_ply, uct:N"),
        (["--players", "random", "uct:0"], "uct:0: a search needs at least 1 simulation"),
        (["--players", "random"], "--players random: name at least two"),
        (["--players", "random", "random"], "--players random random: name at least two, each once"),
        (["--num-games", "3"], "--num-games 3: it must be even"),
        (["--max-moves", "0"], "--max-moves 0"),
        (["--prior", "0"], "--prior 0.0: it must be > 0"),
        (["--game", "CartPole-v1"], "CartPole-v1 is no game of two players. There are pgx/"),
    ],
    ids=["player", "search", "simulations", "alone", "twice", "odd", "moves", "prior", "game"],
)
def test_what_cannot_be_played_is_refused(arguments, message, capsys):
    """One line that names what is wrong, and exit code 2."""
    with pytest.raises(SystemExit) as exit_:
        experiment.main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
