"""The launchers of ``experiments`` run what ``purerl train`` runs."""

import ast
import importlib
import pathlib

import pytest

from purerl.__main__ import algorithms


@pytest.mark.parametrize("name", algorithms())
def test_a_launcher_runs_the_presets_of_the_package(name):
    """One and the same experiment, for each module of presets."""
    launcher = importlib.import_module(f"experiments.{name}")
    assert launcher.EXPERIMENT is importlib.import_module(f"purerl.presets.{name}").EXPERIMENT


ROOT = pathlib.Path(__file__).parents[2]
COMMANDS = [
    path
    for folder in ("experiments/studies", "purerl/tools")
    for path in sorted((ROOT / folder).glob("[!_]*.py"))
]  # fmt: skip


def options_of(path: pathlib.Path) -> list[dict[str, tuple[str, str]]]:
    """The annotation and the help of every flag, by name, of each record of options in a module."""
    records = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
    found = []
    for record in (record for record in records if record.name.endswith("Options")):
        pairs = zip(record.body, record.body[1:], strict=False)
        found.append(
            {
                field.target.id: (ast.unparse(field.annotation), text.value.value)
                for field, text in pairs
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
            }
        )
    return found


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_flags_of_all_commands_are_spelled_alike(path):
    """``--out-dir`` is a folder and ``--out`` a file, ``--seed`` is what fixes everything random, and ``--cpu-threads``
    there is wherever JAX computes."""
    records = options_of(path)
    assert records
    for flags in records:
        assert "cpu_threads" in flags or "set_cpu_flags" not in path.read_text()
        for name, (annotation, text) in flags.items():
            if "Path" in annotation and "Positional" not in annotation and text.startswith("Folder for"):
                assert name == "out_dir"
            assert name != "out" or text.startswith(("Image", "File"))
            if "random" in text.lower() and annotation == "int":
                assert name in ("seed", "key" if path.stem == "evaluate" else "seed")
