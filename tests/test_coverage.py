"""The command that makes docs/coverage.md."""

import pathlib

import pytest

from tests import coverage
from tests.coverage import Proof, modules_used, problems, render

SYSTEMS = {"alpha": "the first", "beta": "the second", "gamma": "the third"}


def test_modules_are_found_through_helpers_fixtures_and_parameters():
    """A test's modules are those it names itself, through another file's helpers, and in its decorators."""
    assert modules_used(
        "tests/theory/test_policy_gradient.py", "test_past_rewards_drop_out_of_the_policy_gradient"
    ) == (
        "purerl.kernels.distributions",
        "purerl.kernels.surrogates",
    )
    path = "tests/theory/test_importance_sampling.py"
    assert modules_used(path, "test_off_policy_evaluation_is_unbiased") == ("purerl.kernels.importance",)
    assert modules_used("tests/theory/test_oracle_mdp.py", "test_visitation_and_occupancy") == ()


def test_modules_are_found_however_they_are_imported(tmp_path, monkeypatch):
    """Plain, aliased, from- and local imports, attribute chains and fixtures all lead to the module."""
    package = tmp_path / "purerl" / "kernels"
    package.mkdir(parents=True)
    for file in (package.parent / "__init__.py", package / "__init__.py", package / "a.py", package / "b.py"):
        file.touch()
    source = tmp_path / "test_it.py"
    source.write_text(
        "import purerl\nimport purerl.kernels.a\nimport purerl.kernels.b as other\n"
        "from purerl.kernels import a, b as bee\n"
        "def fixture():\n    return bee.f()\n"
        "def test_chain():\n    purerl.kernels.a.f()\n"
        "def test_alias():\n    other.f()\n"
        "def test_fixture(fixture):\n    pass\n"
        "def test_local():\n    from purerl.kernels.a import f as g\n    g()\n"
        "def test_package():\n    purerl.train()\n"
    )
    monkeypatch.setattr(coverage, "ROOT", tmp_path)
    for cached in (coverage._source, coverage._resolve):
        monkeypatch.setattr(coverage, cached.__wrapped__.__name__, cached.__wrapped__)
    expected = {"chain": "a", "alias": "b", "fixture": "b", "local": "a"}
    for name, module in expected.items():
        assert modules_used("test_it.py", f"test_{name}") == (f"purerl.kernels.{module}",)
    assert modules_used("test_it.py", "test_package") == ("purerl",)


def test_wrong_marks_are_reported():
    """An unknown id, an empty mark and a missing docstring are each reported with the test's name."""
    good = Proof("t.py", "test_good", ("alpha",), "says how", ())
    assert problems([good], SYSTEMS) == []
    bad = [good._replace(systems=("delta",)), good._replace(systems=()), good._replace(statement="")]
    unknown, empty, silent = problems(bad, SYSTEMS)
    assert unknown.startswith("t.py::test_good: unknown system 'delta'")
    assert "names no system" in empty
    assert "docstring" in silent


def test_page_counts_code_theorems_and_gaps_apart():
    """A system run in code, one proved on exact values only and one untested get tables of their own."""
    proofs = [
        Proof("t.py", "test_code", ("alpha",), "runs a | b", ("purerl.kernels.returns",)),
        Proof("t.py", "test_theorem", ("alpha", "beta"), "solves", ()),
    ]
    code, rest = render(proofs, SYSTEMS).split("## Proved as a theorem only")
    theorem, missing = rest.split("## Not covered yet")
    assert "Of 3 systems, 1 are proved by tests that run the library's code, 1 only" in code
    assert "| `alpha` | `purerl.kernels.returns` | runs a \\| b | `t.py::test_code` |" in code
    assert "| `alpha` | none | solves | `t.py::test_theorem` |" in code
    assert "`beta`" not in code
    assert "| `beta` | none | solves | `t.py::test_theorem` |" in theorem
    assert "| `gamma` | the third |" in missing


def test_check_compares_and_the_command_writes(tmp_path, monkeypatch, capsys):
    """--check exits with 1 and writes nothing where the page differs; after a run it exits with 0."""
    monkeypatch.setattr(coverage, "ROOT", tmp_path)
    monkeypatch.setattr(coverage, "PAGE", tmp_path / "docs" / "coverage.md")
    monkeypatch.setattr(coverage, "collect", lambda: [Proof("t.py", "test_it", ("gae",), "says how", ())])
    assert coverage.main(["--check"]) == 1
    assert not coverage.PAGE.exists()
    assert coverage.main([]) == 0
    assert coverage.main(["--check"]) == 0
    coverage.PAGE.write_text("something else")
    assert coverage.main(["--check"]) == 1
    assert coverage.PAGE.read_text() == "something else"
    assert [path.name for path in pathlib.Path(tmp_path / "docs").iterdir()] == ["coverage.md"]


@pytest.mark.parametrize("field", ["id", "description"])
def test_systems_are_listed_once(field):
    """tests/systems.csv has no empty field and no id or description twice."""
    rows = coverage.SYSTEMS.read_text(encoding="utf-8").splitlines()[1:]
    systems = coverage.read_systems()
    assert len(systems) == len(rows)
    column = list(systems) if field == "id" else list(systems.values())
    assert all(column)
    assert len(set(column)) == len(column)
