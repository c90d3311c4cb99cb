"""Two processes with devices of their own, over the loopback: they compute, stop and fail together."""

import pytest

from purerl.driver.storage.restore import load_agents
from tests.support import on_devices, programs
from tests.support.toy import assert_same

pytestmark = pytest.mark.deep  # eight devices of one process, in test_devices.py, are the fast tier

CHECKS = on_devices.CHECKS[2]
PPO = (
    *("--env", "CartPole-v1", "--num-env-steps", "192", "--num-seeds", "2", "--log-every", "64", "--eval-every", "0"),
    *("--num-envs", "4", "--num-steps", "16", "--num-epochs", "2", "--num-minibatches", "2", "--hidden-sizes", "8"),
)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    coordinated = ("{address}", "{process}")
    pair = programs.run_pair("tests.support.on_devices", folder, num_devices=2, coordinated=coordinated)
    return [finished.report() for finished in pair]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_in_two_processes(reports, check):
    """Every check of the program held in both of two processes with two devices each."""
    for report in reports:
        assert report.keys() == {other.__name__ for other in CHECKS}
        assert report[check.__name__] is None, report[check.__name__]


def test_the_command_line_in_two_processes(tmp_path):
    """PPO by two processes and by one with as many trials on a device: the same log and agents, bit for bit.

    Only the first process writes and prints, once JAX has told them which is which; one process alone reads what both
    have saved.
    """
    alone, together = tmp_path / "alone", tmp_path / "together"
    meet = ("--distributed", "--coordinator", "{address}", "--num-processes", "2", "--process-id", "{process}")
    first, second = programs.run_pair("experiments.ppo", *PPO, "--out-dir", together, num_devices=1, coordinated=meet)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "2 seeds, 192 steps each" in first.stdout and str(together) in first.stdout
    assert "steps" not in second.stdout and second.stderr == "ppo: starting JAX ...\n"

    done = programs.run("experiments.ppo", *PPO, "--trials-at-once", 1, "--out-dir", alone, num_devices=1)
    assert "in 2 blocks of 1" in done.stdout, done.stderr
    assert (together / "metrics.csv").read_text() == (alone / "metrics.csv").read_text()
    one, two = load_agents(alone), load_agents(together)
    assert one.step == two.step == 192
    assert_same((one.states, one.hypers), (two.states, two.hypers))
