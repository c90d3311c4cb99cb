"""The presets of this algorithm fit each other, their environments and the algorithm."""

import os
import subprocess
import sys

import pytest

from tests.support.presets import check
from tests.support.programs import ROOT


def test_presets_can_be_run():
    """Their kinds, names and environments; the default one's first state."""
    check("ppo")


@pytest.mark.deep
def test_trains_where_jax_computes_in_64_bits(tmp_path):
    """A user's command with ``JAX_ENABLE_X64=1``, to its end; the cheaper test is a law of the conformance suite."""
    sizes = "--num-seeds 2 --num-envs 4 --num-steps 8 --num-env-steps 128 --num-eval-episodes 2 --hidden-sizes 8"
    line = [sys.executable, "-m", "experiments.ppo", *sizes.split(), "--out-dir", str(tmp_path / "run")]
    environment = {**os.environ, "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "summary.json").exists()
