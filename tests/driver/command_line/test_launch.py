"""Command lines from their words to the files and the report of a run."""

import itertools
import json

import jax
import pytest

from purerl.driver import command_line
from purerl.driver.command_line import launch
from purerl.driver.command_line.arguments import Launch
from tests.support.compilations import compilations
from tests.support.toy import EXPERIMENT, assert_same_results, config_of, limit_for_one


def test_a_run_that_is_resumed_on_the_command_line_is_the_long_run(main, flags, tmp_path):
    """Half the steps, then ``--resume`` to all, of a sweep whose rates are no binary numbers: states and log are those
    of the run in one."""
    options = ["--sweep", "rate=0.1,0.3", "--log-every", 20]
    whole = main(*options, "--num-env-steps", 80, "--out-dir", tmp_path / "whole")
    main(*options, "--num-env-steps", 40, "--out-dir", tmp_path / "halves")
    resume = ["--resume", str(tmp_path / "halves"), "--num-env-steps", "80", "--no-progress"]
    assert_same_results(command_line.main(EXPERIMENT, resume), whole)
    assert (tmp_path / "halves" / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


def test_a_run_leaves_its_files_and_prints_its_report(main, capsys, tmp_path, pictures):
    """From the arguments to the files: folder, curve, report; the settings on the command line are in config.json."""
    folder, curve = tmp_path / "run", tmp_path / "curve.png"
    result = main("--sizes", "3", "4", "--rate", "0.5", "--num-env-steps", "40", "--out-dir", folder, "--curve", curve)
    assert {path.name for path in folder.iterdir()} >= {"config.json", "metrics.csv", "summary.json", "curve.png"}
    assert curve.read_bytes().startswith(b"\x89PNG")
    config = config_of(folder)
    assert config["settings"] == {"env": "nowhere", "sizes": [3, 4]} and config["hypers"]["rate"] == 0.5
    assert (config["experiment"], config["seed"], config["num_env_steps"]) == ("toy", 0, 40)
    printed = capsys.readouterr().out
    assert printed.startswith("toy on nowhere: 2 seeds, 40 steps each\n")
    assert str(result.final_return) in printed and str(folder) in printed and str(curve) in printed


def test_a_run_of_which_all_diverged_fails(main, capsys, tmp_path):
    """Every seed: status 1, with the report, which says it beside the mean. One that is left is a result."""
    with pytest.raises(SystemExit) as exit_, pytest.warns(UserWarning, match="iverged"):
        main("--limit", -1, "--out-dir", tmp_path / "all")
    assert exit_.value.code == 1
    assert "  return   nan (2 of 2 seeds diverged)\n" in capsys.readouterr().out
    _, limit = limit_for_one(2)
    with pytest.warns(UserWarning, match="Diverged"):
        result = main("--limit", limit, "--out-dir", tmp_path / "one")
    one = capsys.readouterr().out
    assert result.final_return.num_missing == 1 and "(one seed: no interval, 1 of 2 seeds diverged), return of" in one


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        ("curve.xyz", "curve.xyz: a picture cannot be written as .xyz. Choose one of "),
        ("file/curve.png", "file/curve.png: {}/file is no folder."),
        ("", ": it is a folder. Give the name of a file in it."),
    ],
)
def test_a_picture_that_cannot_be_written_is_refused_before_the_run(refused, tmp_path, curve, message):
    """A kind that nobody knows, a place below a file, a folder; nothing is left behind."""
    (tmp_path / "file").write_text("")
    code, printed = refused("--curve", tmp_path / curve, "--out-dir", tmp_path / "run")
    assert code == 2 and message.format(tmp_path) in printed
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_picture_of_several_runs_is_refused(refused, tmp_path):
    """A sweep over what fixes shapes is several runs, each with a curve of its own."""
    code, printed = refused("--sweep", "sizes=1x2,1x3", "--curve", tmp_path / "a.png", "--out-dir", tmp_path / "run")
    assert code == 2 and "--curve is for one run: a sweep over sizes is several" in printed
    assert not list(tmp_path.iterdir())


def test_a_picture_that_fails_in_the_end_takes_nothing_with_it(main, capsys, tmp_path, monkeypatch):
    """The report is printed, the files are there, and the status is 1."""

    def full(result, path):
        if path.name == "a.png":
            raise OSError("No space left on device")

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as exit_:
        patch.setattr(launch.TrainResult, "plot", full)
        main("--num-env-steps", 40, "--eval-every", 0, "--out-dir", tmp_path / "run", "--curve", tmp_path / "a.png")
    printed = capsys.readouterr()
    assert exit_.value.code == 1 and printed.out.startswith("toy on nowhere: 2 seeds") and "a.png" not in printed.out
    assert f"{tmp_path}/a.png is not drawn: No space left on device" in printed.err


def test_a_sweep_prints_its_points_ranked(main, capsys, tmp_path):
    """One line for each point, best first; the result is the sweep's."""
    result = main("--sweep", "rate=0.5,2", "--out-dir", tmp_path)
    printed = capsys.readouterr().out
    assert printed.startswith("toy on nowhere: 2 points of 2 seeds, 80 steps each\n")
    places = [printed.index(f"rate={point.values['rate']:g}") for point in result.table()]
    assert places == sorted(places)


def test_a_sweep_compiles_few_programs(main, tmp_path):
    """64 points, whose states are saved: its three programs, and the few small ones around them."""
    jax.clear_caches()
    with compilations() as compiled:
        main("--sweep", "rate=log_uniform(0.1,1)", "--num-points", 64, "--eval-every", 40, "--out-dir", tmp_path)
    assert {"run", "init", "evaluate"} <= {name.removeprefix("jit(").removesuffix(")") for name in compiled}
    assert len(compiled) <= 20, compiled


def test_a_sweep_of_the_config_is_a_loop(main, capsys, tmp_path):
    """Sizes fix shapes: a program for each, which is said; each has its folder, and all points are ranked together."""
    assert main("--sweep", "sizes=1x2,1x3", "rate=0.5,2", "--out-dir", tmp_path) is None
    printed = capsys.readouterr()
    assert "sizes: fixed at compile time, so 2 programs, one after the other." in printed.err
    folders = {path.name: config_of(path) for path in tmp_path.iterdir() if path.is_dir()}
    assert {name: config["settings"]["sizes"] for name, config in folders.items()} == {
        **{"sizes=1x2": [1, 2], "sizes=1x3": [1, 3]}
    }
    assert all(config["sweep"] == {"rate": [0.5, 2]} for config in folders.values())
    assert printed.out.startswith("toy on nowhere: 4 points\n")
    points = json.loads((tmp_path / "summary.json").read_text())["points"]
    assert {point["values"] for point in points} == {
        f"sizes={sizes} rate={rate}" for sizes, rate in itertools.product(["1x2", "1x3"], ["0.5", "2"])
    }
    estimates = [point["final_return"]["estimate"] for point in points]
    assert estimates == sorted(estimates, reverse=True)


def test_compiled_programs_are_kept_unless_told_otherwise(monkeypatch, capsys):
    """By default; ``--no-compile-cache`` keeps none. That they cannot be kept is said, and is no error."""
    asked = []
    monkeypatch.setattr(launch, "keep_compiled_programs", lambda: asked.append(True) or "They are not kept.")
    launch._prepare_jax(Launch(env="nowhere", compile_cache=False))
    assert (asked, capsys.readouterr().err) == ([], "")
    launch._prepare_jax(Launch(env="nowhere"))
    assert (asked, capsys.readouterr().err) == ([True], "They are not kept.\n")
