"""The Dyna maze experiment: the textbook's figures, by their exact and published numbers, and the command line."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import dyna_maze as experiment
from experiments.studies.dyna_maze import NUM_EPISODES, PLANNING, player
from purerl import mdp as kernel
from purerl.envs.textbook import maps, maze

NUM_RUNS = 40


@functools.cache
def lengths(n: int) -> np.ndarray:
    """``[S, E]`` of 40 runs of the study."""
    who = player(n, step_size=0.1)
    return experiment.over_runs(
        lambda mdp, key: experiment.episode_lengths(mdp, who, key, NUM_EPISODES), maze(), 0, NUM_RUNS
    )[0]


@pytest.mark.covers("dyna")
def test_first_episode_is_a_random_walk():
    """Nothing is known before the first reward, so every n takes the same first episode, and on average the uniform
    policy's hitting time, 868.73 by a linear solve, within four standard errors."""
    undiscounted = maze(gamma=1.0)
    cost = undiscounted.replace(reward=jnp.where(undiscounted.terminal[:, None, None], 0.0, -1.0))
    hitting_time = -kernel.start_value(cost, kernel.state_value(cost, jnp.full((54, 4), 0.25)))
    assert hitting_time == pytest.approx(868.73, abs=0.01)
    first = {n: lengths(n)[:, 0] for n in PLANNING}
    for n in PLANNING[1:]:
        np.testing.assert_array_equal(first[n], first[0])
    assert abs(first[0].mean() - hitting_time) < 4 * first[0].std(ddof=1) / np.sqrt(NUM_RUNS)


@pytest.mark.covers("dyna")
def test_steps_per_episode_fall_with_planning():
    """40 runs: in episodes 2 to 10 n = 5 needs less than half of the detours of n = 0, n = 50 less than half of n = 5;
    the mean is first below 20 around episode 28, 6 and 3; none is below 14; all end up below 20."""
    early = [lengths(n)[:, 1:10].mean() - 14 for n in PLANNING]
    assert early[1] < early[0] / 2 and early[2] < early[1] / 2
    for n, expected, tolerance in zip(PLANNING, (28, 6, 3), (5, 1, 1), strict=True):
        below = 1 + np.argmax(lengths(n).mean(0) < 20)
        assert abs(below - expected) <= tolerance, n
        assert lengths(n).min() >= 14
        assert lengths(n)[:, -10:].mean() < 20


@pytest.mark.deep
@pytest.mark.covers("dyna")
def test_prioritized_sweeping_needs_fewer_backups():
    """30 runs of random actions until the greedy way has 14 steps: a tenth of Dyna-Q's backups on average, and every
    run fewer than Dyna-Q's median."""
    assert experiment.way_length(maze()) == 14
    found = {
        name: experiment.over_runs(
            lambda mdp, key, who=who: experiment.backups_until_optimal(mdp, 14, who, key), maze(), 1, 30
        )[0]
        for name, who in experiment.SWEEPERS.items()
    }
    uniform, prioritized = found["Dyna-Q"], found["prioritised sweeping"]
    assert np.all(prioritized > 0)
    assert prioritized.mean() < 0.1 * uniform.mean()
    assert prioritized.max() < np.median(uniform)


@pytest.mark.deep
@pytest.mark.covers("dyna")
@pytest.mark.parametrize("name", ["blocking", "shortcut"])
def test_dyna_q_plus_adapts(name):
    """60 runs of the textbook's steps: when the way is blocked, Dyna-Q+ earns more afterwards; when a shorter one opens
    it finds that in every run within 3000 steps, earning one reward in less than 14 steps, and Dyna-Q in none."""
    change = experiment.changes()[name]
    totals, _ = experiment.live_through(change, 0, 60)
    after = {who: total[:, -1] - total[:, change.change - 1] for who, total in totals.items()}
    margin = after["Dyna-Q+"].mean() - after["Dyna-Q"].mean()
    error = np.sqrt(sum(x.var(ddof=1) for x in after.values()) / 60)
    assert margin > 4 * error
    if name == "shortcut":
        steps = {who: 750 / (total[:, -1] - total[:, -751]) for who, total in totals.items()}
        assert np.all(steps["Dyna-Q+"] < 14) and np.all(steps["Dyna-Q"] > 16)


def test_finer_mazes_keep_their_shape():
    """Twice as fine: four times the cells, walls and all, one start and one goal, and about twice the way."""
    fine = experiment.finer(maps.DYNA, 2)
    assert maps.letters(fine).shape == (12, 18)
    assert (maps.where(fine, "#").sum(), maps.where(fine, "S").sum(), maps.where(fine, "G").sum()) == (28, 1, 1)
    assert experiment.way_length(maze(fine)) == 29


def test_q_after_replays_a_run():
    """The state half-way through the second episode is that of the run whose lengths were counted: after the first
    episode exactly one pair, the step into the goal, is worth anything."""
    who = player(0, step_size=0.1)
    key = jax.random.split(jax.random.key(0), NUM_RUNS)[0]
    first = int(lengths(0)[0, 0])
    for num_steps, known in ((first - 1, 0), (first, 1)):
        q = experiment.q_after(maze(), who, key, num_steps)
        assert np.count_nonzero(q) == known
    assert np.max(q) == pytest.approx(0.1)


@pytest.mark.parametrize("study", ["error", "blocking"])
def test_command_prints_a_table_and_draws(study, tmp_path, capsys):
    """Two runs: a title, a line for each learner or sample size, and an image."""
    image = tmp_path / "image.png"
    experiment.main(["--study", study, "--num-runs", "2", "--out", str(image)])
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == f"{experiment.STUDIES[study].title}, 2 runs"
    heads = ["10", "100", "1000"] if study == "error" else ["Dyna-Q", "Dyna-Q+"]
    assert [line.split()[0] for line in lines[2 : 2 + len(heads)]] == heads
    assert "s after compilation; wrote" in err
    assert image.stat().st_size > 10_000


def test_bad_options_are_refused(capsys):
    """A study that does not exist, an interval of one run: one line, exit code 2."""
    for arguments, message in ((["--study", "nothing"], "--study 'nothing'"), (["--num-runs", "1"], "--num-runs 1")):
        with pytest.raises(SystemExit) as exit_:
            experiment.main(arguments)
        assert exit_.value.code == 2
        assert message in capsys.readouterr().err
