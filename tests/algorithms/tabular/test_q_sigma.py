"""Q(sigma) between n-step SARSA and tree backup."""

import numpy as np
import pytest

from purerl.algorithms.tabular.n_step import n_step
from tests.support.tabular_history import (
    HYPERS,
    sarsa_history,
    tables_after,
)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("sarsa", "tree-backup")
def test_q_sigma_reduces_to_sarsa_and_tree_backup():
    """Q(sigma) with sigma 1 is n-step SARSA and with sigma 0 tree backup: the same tables after every step."""
    step = sarsa_history()
    for sigma, backup in ((1.0, "sampled"), (0.0, "expected")):
        mixed = tables_after(n_step(3, "mixed"), step, HYPERS.replace(sigma=sigma))
        np.testing.assert_allclose(mixed, tables_after(n_step(3, backup), step), atol=1e-12)
