"""Disks that are full: a limit of the system on the size of files, at a known step of the run."""

from tests.support import victim
from tests.support.folders import assert_same_files, checkpoints, last_step
from tests.support.toy import assert_same_results, quietly


def test_full_for_a_while(undisturbed, start, tmp_path):
    """Nothing can be written from step 400 to 800: it is said once, and in the end every file is complete."""
    life = start("tests.support.victim", tmp_path, "--full", 400, 800)
    _, errors = life.communicate()
    assert life.returncode == 0, errors
    assert errors.count("metrics.csv cannot be written (File too large)") == 1
    assert errors.count("The run goes on; the checkpoints that are there stay") == 1
    assert errors.count("The TensorBoard log cannot be written") == 1
    assert_same_files(tmp_path, undisturbed[1])


def test_full_to_the_end(undisturbed, start, tmp_path):
    """Nothing can be written from step 400 on: the run ends in order, without a summary that would call it finished.

    What was saved until then is whole, and with room again the run goes on from there to the very same end.
    """
    life = start("tests.support.victim", tmp_path, "--full", 400, victim.NUM_ENV_STEPS)
    _, errors = life.communicate()
    assert life.returncode == 0, errors
    assert "make room, and resume the run" in errors
    assert not (tmp_path / "summary.json").exists()
    assert 0 < last_step(tmp_path) <= 400
    assert {path.name for path in checkpoints(tmp_path)} >= {"36", "38"}
    assert_same_results(quietly(victim.run, tmp_path), undisturbed[0])
    assert_same_files(tmp_path, undisturbed[1])
