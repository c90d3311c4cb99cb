"""Tree backup, of which one step off policy is Q-learning."""

import pytest

import purerl
from purerl.algorithms.tabular.q_learning import q_learning
from purerl.algorithms.tabular.tree_backup import tree_backup


@pytest.mark.covers("tree-backup", "q-learning")
def test_one_step_tree_backup_is_q_learning():
    """The same rule by another name; :mod:`.test_n_step` compares it with the textbook's loop for more steps."""
    env = purerl.envs.make("CliffWalking")
    one, q = tree_backup(env), q_learning(env)
    assert dict(one.spec.settings) == dict(q.spec.settings) and one.spec.name != q.spec.name
