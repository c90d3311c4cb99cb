"""Which algorithms and notebooks a change asks for."""

from tests.conformance import touched
from tests.conformance.algorithms import REPRESENTATIVES


def test_a_touched_file_names_its_algorithms():
    """PQN's file names PQN, with and without a team; DQN's loss its variants and not the representatives, which are
    checked anyway; a part that all share names nobody."""
    assert touched.algorithms({"purerl/algorithms/value/pqn.py", "README.md"}) == ["pqn", "pqn-team"]
    found = touched.algorithms({"purerl/algorithms/value/dqn_loss.py"})
    assert "dqn-rainbow" in found and not set(found) & set(REPRESENTATIVES)
    assert touched.algorithms({"purerl/rollout.py", "purerl/driver/running/program.py"}) == []


def test_many_touched_files_are_cut_to_one_algorithm_each():
    """At most so many algorithms, and those of other files before a second one of the same file."""
    bandits = [f"purerl/algorithms/bandits/{name}.py" for name in ("bandit", "exp3", "ucb1")]
    found = touched.algorithms({*bandits, "purerl/algorithms/tabular/tree_backup.py"})
    assert len(found) == touched.MOST_ALGORITHMS == 4
    assert {"bandit-exp3", "bandit-ucb1", "tree-backup"} <= set(found)


def test_a_touched_notebook_comes_first_and_there_is_always_one():
    """A notebook that was edited is run; without one it is somebody's turn."""
    assert touched.notebooks({"notebooks/03_bandits.ipynb"})[0] == "notebooks/03_bandits.ipynb"
    assert 1 <= len(touched.notebooks(set())) <= touched.MOST_NOTEBOOKS


def test_imports_of_a_notebook():
    """Modules and the names that are imported from packages, which may be modules too."""
    found = touched.imports(touched.ROOT / "notebooks" / "03_bandits.ipynb")
    assert "experiments.studies" in found or "experiments.studies.bandits" in found
