"""Which test proves which system: ``python -m tests.coverage`` makes docs/coverage.md of the tests' marks.

A test says what it proves with ``@pytest.mark.covers("gae", ...)``, the ids being those of tests/systems.csv,
and how in the first line of its docstring. Which modules it runs is read from its source. ``--check`` writes
nothing and exits with 1 where the page is out of date.
"""

import argparse
import ast
import contextlib
import csv
import functools
import io
import pathlib
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pytest

from tests.support.pages import publish

ROOT = pathlib.Path(__file__).resolve().parents[1]
SYSTEMS = ROOT / "tests" / "systems.csv"
PAGE = ROOT / "docs" / "coverage.md"
LIBRARY = ("purerl", "experiments")  # what a test can prove something about


class Proof(NamedTuple):
    """One test that claims systems."""

    path: str  # relative to the repository
    name: str
    systems: tuple[str, ...]
    statement: str  # first line of the docstring
    modules: tuple[str, ...]  # of the library, that the test's source refers to


class CollectionError(Exception):
    """pytest could not collect the tests; the message is what it printed."""


# --- which tests there are --------------------------------------------------------------------------------


class _Collector:
    """A pytest plugin that keeps the collected tests."""

    def __init__(self) -> None:
        self.items: list[pytest.Item] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = list(session.items)


def collect() -> list[Proof]:
    """Every test with a ``covers`` mark, parametrised ones once, in the order of path and line.

    Raises:
        CollectionError: if a test file cannot be imported.
    """
    collector, output = _Collector(), io.StringIO()
    # The options of pyproject.toml may ask for worker processes, whose items do not come back here.
    arguments = ["--collect-only", "-q", "-o", "addopts=", "-p", "no:cacheprovider", str(ROOT / "tests")]
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        status = pytest.main([*arguments, "--rootdir", str(ROOT), "--strict-markers"], plugins=[collector])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise CollectionError(output.getvalue())
    tests: dict[tuple[str, str], list[pytest.Item]] = {}
    for item in collector.items:
        if item.get_closest_marker("covers"):
            path = item.path.relative_to(ROOT).as_posix()
            tests.setdefault((path, getattr(item, "originalname", None) or item.name), []).append(item)
    proofs = [_proof(path, name, items) for (path, name), items in tests.items()]
    return sorted(proofs, key=lambda proof: proof.path)


def _proof(path: str, name: str, items: list[pytest.Item]) -> Proof:
    """``items``: the test's parametrisations, each of which may bring marks of its own."""
    systems = [system for item in items for mark in item.iter_markers("covers") for system in mark.args]
    docstring = getattr(getattr(items[0], "function", None), "__doc__", None) or ""
    statement = docstring.strip().partition("\n")[0]
    return Proof(path, name, tuple(dict.fromkeys(systems)), statement, modules_used(path, name))


# --- which modules a test runs ----------------------------------------------------------------------------


class _Source(NamedTuple):
    """A Python file as names: what it imports and what it defines."""

    imports: dict[str, str]  # local name -> dotted origin
    definitions: dict[str, ast.AST]  # top-level name -> its syntax


@functools.cache
def _source(path: str) -> _Source:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return _Source(dict(_imports(tree)), dict(_definitions(tree)))


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name.partition(".")[0]
                yield local, alias.name if alias.asname else local
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _definitions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = (name for target in targets for name in ast.walk(target))
            yield from ((name.id, node) for name in names if isinstance(name, ast.Name))


@functools.cache
def _names_read(path: str, name: str) -> tuple[str, ...]:
    """What a top-level definition of a file reads."""
    return tuple(dict.fromkeys(_dotted_names(_source(path).definitions[name])))


def _dotted_names(tree: ast.AST) -> Iterator[str]:
    """Every ``a``, ``a.b``, ``a.b.c`` that is read in ``tree``, and its arguments: a fixture is one."""
    for node in ast.walk(tree):
        attributes: list[str] = []
        if isinstance(node, ast.arg):
            yield node.arg
        while isinstance(node, ast.Attribute):
            attributes.insert(0, node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            yield ".".join([node.id, *attributes])


def modules_used(path: str, name: str) -> tuple[str, ...]:
    """The library's modules that a test refers to, also through helper functions and fixtures of the tests.

    Args:
        path: the file of the test, relative to the repository.
        name: the test function in it, or any other top-level name.

    Returns:
        Dotted module names, sorted.
    """
    found = {module for module, _ in names_used(path, name)}
    # `a.b.c` was also read as `a` and as `a.b`: a package that only leads to a module is not what is tested.
    return tuple(sorted(m for m in found if not any(other.startswith(f"{m}.") for other in found)))


def names_used(path: str, name: str) -> set[tuple[str, str]]:
    """``(module, first name in it)`` of everything of the library that a test refers to, as :func:`modules_used`."""
    found: set[tuple[str, str]] = set()
    seen: set[tuple[str, str]] = set()
    pending = [(path, name)]
    while pending:
        here = pending.pop()
        if here in seen or here[1] not in _source(here[0]).definitions:
            continue
        seen.add(here)
        imports = _source(here[0]).imports
        for dotted in _names_read(*here):
            local, _, rest = dotted.partition(".")
            if local not in imports:
                pending.append((here[0], local))
                continue
            module, file, member = _resolve(f"{imports[local]}.{rest}".rstrip("."))
            if module.split(".")[0] in LIBRARY:
                found.add((module, member))
            elif file:
                pending.append((file, member))
    return found


@functools.cache
def _resolve(dotted: str) -> tuple[str, str, str]:
    """Split ``dotted`` into the longest module of this repository, its file and the first name in it."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        base = pathlib.PurePosixPath(*parts[:length])
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if (ROOT / file).is_file():
                return ".".join(parts[:length]), file.as_posix(), "".join(parts[length : length + 1])
    return "", "", ""


# --- the page ---------------------------------------------------------------------------------------------


def read_systems(path: pathlib.Path = SYSTEMS) -> dict[str, str]:
    """The known systems in their order: id -> description."""
    with path.open(newline="", encoding="utf-8") as file:
        return {row["id"]: row["description"] for row in csv.DictReader(file)}


def problems(proofs: Iterable[Proof], systems: dict[str, str]) -> list[str]:
    """What is wrong with the marks, one line each: unknown ids, no ids, no docstring."""
    found = []
    for proof in proofs:
        where = f"{proof.path}::{proof.name}"
        unknown = [system for system in proof.systems if system not in systems]
        found += [f"{where}: unknown system {system!r}; tests/systems.csv lists them" for system in unknown]
        if not proof.systems:
            found.append(f"{where}: covers() names no system")
        if not proof.statement:
            found.append(f"{where}: the first line of its docstring must say what is checked and how")
    return found


def render(proofs: Iterable[Proof], systems: dict[str, str]) -> str:
    """The page as Markdown: what is proved of the library's code, what as a theorem only, what not yet."""
    rows = {system: [proof for proof in proofs if system in proof.systems] for system in systems}
    proved = {system for system, tests in rows.items() if any(test.modules for test in tests)}
    theory = {system for system, tests in rows.items() if tests} - proved
    missing = [system for system in systems if not rows[system]]
    return "\n".join(
        [
            "# Coverage",
            "",
            "Made by `python -m tests.coverage` from the marks of the tests; not to be edited.",
            "",
            f"Of {len(systems)} systems, {len(proved)} are proved by tests that run the library's code, "
            f"{len(theory)} only as a theorem about exact values, and {len(missing)} not yet.",
            "",
            "## Proved of the library's code",
            "",
            *_proof_table({system: rows[system] for system in systems if system in proved}),
            "",
            "## Proved as a theorem only",
            "",
            "The statement is checked on exact values; no module of the library is run.",
            "",
            *_proof_table({system: rows[system] for system in systems if system in theory}),
            "",
            "## Not covered yet",
            "",
            *_table(("system", "what it is"), [(f"`{system}`", systems[system]) for system in missing]),
            "",
        ]
    )


def _proof_table(rows: dict[str, list[Proof]]) -> list[str]:
    cells = [
        (f"`{system}`", _code(test.modules), test.statement, f"`{test.path}::{test.name}`")
        for system, tests in rows.items()
        for test in tests
    ]
    return _table(("system", "modules", "what is checked", "test"), cells)


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    if not rows:
        return ["None."]
    lines = [header, ("---",) * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or with ``--check`` only compare it. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.coverage", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if out of date")
    check = parser.parse_args(arguments).check
    systems = read_systems()
    try:
        proofs = collect()
    except CollectionError as error:
        print(f"The tests cannot be collected:\n{error}", file=sys.stderr)
        return 1
    if wrong := problems(proofs, systems):
        print("\n".join(wrong), file=sys.stderr)
        return 1
    page, name = render(proofs, systems), PAGE.relative_to(ROOT).as_posix()
    return publish(page, PAGE, name, "python -m tests.coverage", check)


if __name__ == "__main__":
    sys.exit(main())
