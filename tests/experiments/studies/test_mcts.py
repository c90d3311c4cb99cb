"""Search against minimax: values and moves after each simulation, and the command."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import mcts as experiment
from purerl import search
from purerl.games import planners
from purerl.games.match import Score
from purerl.search import rules
from purerl.search.tree import init_tree, root_of
from tests.oracles import tic_tac_toe
from tests.support.positions import after, game_of, sequence_to
from tests.support.toy_runs import refused

KEY = jax.random.key(0)


@pytest.mark.covers("mcts", "puct")
@pytest.mark.parametrize("name", [pytest.param("uct", marks=pytest.mark.deep), "puct"])
def test_values_after_each_simulation_are_those_of_the_search(name):
    """With a deterministic leaf evaluator, the last row on 57 boards is that of `search.muzero`: the same values, and
    the most visited moves; the first is a mean of two returns."""
    game = game_of("tic_tac_toe")
    boards = [board for board in tic_tac_toe.positions() if not tic_tac_toe.is_over(board)][::80]
    obs, state = after(game, [sequence_to(board) for board in boards])
    weights = jax.random.normal(KEY, (18, 10))

    def evaluate_leaf(params, key, obs, state):
        output = jnp.tanh(obs.reshape(-1, 18) @ weights)
        return output[:, :9], output[:, 9]

    rule = experiment.SEARCHES[name]
    watched = jax.jit(lambda key: experiment.watch(game, evaluate_leaf, rule, obs, state, key, 24))(KEY)
    root = planners.root(game, evaluate_leaf, (), KEY, obs, state)
    options = {"rule": rule, "dirichlet_fraction": 0.0, "temperature": 0.0}
    decision = jax.jit(lambda key: search.muzero((), key, root, planners.model(game, evaluate_leaf), 24, **options))(
        KEY
    )
    assert watched.value.shape == watched.action.shape == (24, len(boards))
    np.testing.assert_allclose(watched.value[-1], decision.value, atol=1e-6)
    np.testing.assert_array_equal(watched.action[-1], decision.tree.visits[0].argmax(-1))
    first = rules.masked_argmax(rule.score(root_of(init_tree(root, rule.prior, 1))))
    output, _ = planners.model(game, evaluate_leaf)((), KEY, first, state)
    returned = output.reward + output.discount * output.value
    np.testing.assert_allclose(watched.value[0], (root.value + returned) / 2, atol=1e-6)
    np.testing.assert_array_equal(watched.action[0], first)


@pytest.mark.covers("mcts")
def test_command(tmp_path, capsys):
    """Searches of 1 and 32 simulations: nobody beats minimax, and the longer one loses less often, is nearer to its
    values, and makes more of its moves; the file says what is printed, and the picture is drawn."""
    sizes = ["--simulations", "1", "32", "--num-games", "40", "--num-positions", "100"]
    experiment.main([*sizes, "--opponents", "minimax", "--out-dir", str(tmp_path)])
    printed = capsys.readouterr()
    record = json.loads((tmp_path / "mcts.json").read_text())
    short, long = record["matches"]
    assert (short["num_simulations"], long["num_simulations"]) == (1, 32)
    assert short["wins"] == long["wins"] == 0
    assert short["high"] < long["low"]
    curves = record["accuracy"]["uct"]
    assert all(len(curve) == 32 for curve in curves.values())
    assert curves["error"][31] < 0.6 * curves["error"][0] and curves["right"][31] > 0.85 > curves["right"][0]
    title, *lines = printed.out.splitlines()
    assert title == "pgx/tic_tac_toe: search with random playouts, 40 games of each pair"
    assert lines[0].startswith(f"uct:1   against minimax: 0 won, {short['draws']} drawn, {short['losses']} lost: score")
    error, spread, right = (curves[name][31] for name in ("error", "spread", "right"))
    assert lines[3] == f"uct:32  value off by {error:.3f} ± {1.96 * spread:.3f}, {right:.1%} of its moves are perfect"
    assert len(lines) == 4 and f"wrote {tmp_path}" in printed.err
    assert (tmp_path / "mcts.png").stat().st_size > 10_000
    assert {path.name for path in tmp_path.iterdir()} == {"mcts.json", "mcts.png"}


def test_a_game_that_is_not_solved(tmp_path, monkeypatch, capsys):
    """Then the one-ply player is the opponent, and there is nothing to compare values with."""
    asked = {}

    def strength(game, opponents, searches, simulations, *_):
        asked.update(opponents=list(opponents), searches=searches)
        return {("uct", "one_ply"): [Score(3, 2, 1, 2 / 3, 0.3, 0.9)] * len(simulations)}

    monkeypatch.setattr(experiment, "strength", strength)
    experiment.main(["--max-positions", "5", "--simulations", "2", "8", "--out-dir", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert asked == {"opponents": ["one_ply"], "searches": ("uct",)}
    assert lines[2] == "uct:8  against one_ply: 3 won, 2 drawn, 1 lost: score 0.667 [0.300, 0.900]"
    assert lines[3] == "not compared with minimax: more than 5 positions on a level"
    assert json.loads((tmp_path / "mcts.json").read_text())["accuracy"] == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--searches", "alpha"], "--searches alpha: choose from uct, puct, each once"),
        (["--opponents", "one_ply", "one_ply"], "--opponents one_ply one_ply: choose from minimax, one_ply, random"),
        (["--simulations", "8", "2"], "--simulations (8, 2): numbers from 1 in rising order"),
        (["--simulations", "0"], "--simulations (0,): numbers from 1"),
        (["--num-games", "3"], "--num-games 3: it must be even"),
        (["--num-positions", "0"], "--num-positions 0: it must be at least 1"),
        (["--game", "CartPole-v1"], "CartPole-v1 is no game of two players. There are pgx/"),
        (["--opponents", "minimax", "--max-positions", "5"], "No minimax. pgx/tic_tac_toe: 9 positions on one level"),
    ],
    ids=["search", "opponent", "order", "simulations", "odd", "positions", "game", "too large"],
)
def test_what_cannot_be_is_refused(arguments, message, capsys):
    """One line that names it, and exit code 2."""
    assert message in refused(experiment.main, capsys, *arguments)
