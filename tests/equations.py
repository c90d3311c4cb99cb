"""Every formula with its function, source and tests: ``python -m tests.equations`` makes docs/equations.md.

The page is made of the docstrings of ``purerl/``. A public function is listed if its docstring has an equation: code in
double backticks in its first line, after a colon or as ``name = ...``, or a paragraph that begins with it. Its source
is what follows ``Source:``, and its tests are those that refer to it, themselves or through helpers. Constants may
have a docstring of their own, a string in the line after them. ``--check`` writes nothing and exits with 1 where the
page is out of date.

The theorems of ``tests/theory`` follow, each by the first line of its test.
"""

import argparse
import ast
import inspect
import itertools
import pathlib
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from tests.coverage import ROOT, names_used
from tests.support.pages import publish

PAGE = ROOT / "docs" / "equations.md"
EXCLUDED = ("purerl.envs", "purerl.types", "purerl.config_checks")  # rules of environments, shapes, sizes: no theory
MAX_TESTS = 3  # named beside each function; the rest are not even counted, or every new test would change the page
_SECTIONS = ("Args:", "Returns:", "Raises:", "Attributes:", "Source:")
_CODE = r"``(?:(?!``).)+``"
_MATHS = re.compile(r"[=<>^+*/|]| - |_\{|\b(?:E|max|min|sum|prod|log|exp|argmax|clip|sqrt)(?![a-z])")
_STRONG_MATHS = re.compile(r" [+*-]?= | / | ~ |\^|\bsum |\bsum_")
_TYPES = re.compile(r"(?<![\w)])\[[^\]]*\]|->|\([^()]*\)(?= ->)|\.\.\.")


class Equation(NamedTuple):
    """One function that computes one."""

    module: str  # dotted
    name: str
    statement: str  # first line of the docstring, without the equation
    equations: tuple[str, ...]  # Markdown
    source: str


# --- reading docstrings -----------------------------------------------------------------------------------


def read(path: pathlib.Path, module: str) -> list[Equation]:
    """The equations of one file, in its order."""
    documented = _docstrings(ast.parse(path.read_text(encoding="utf-8")))
    found = ((name, parse(docstring)) for name, docstring in documented if not name.startswith("_"))
    return [Equation(module, name, *parts) for name, parts in found if parts[1]]


def _docstrings(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """``(name, docstring)`` of the functions, the classes and the constants of a module."""
    for node, following in itertools.zip_longest(tree.body, tree.body[1:]):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            text = ast.get_docstring(node) or ""
            if isinstance(node, ast.FunctionDef) or "Source:" in text:  # a network's; other records only hold numbers
                yield node.name, text
        elif isinstance(node, ast.Assign) and isinstance(following, ast.Expr):
            target, docstring = node.targets[0], following.value
            if isinstance(target, ast.Name) and isinstance(docstring, ast.Constant):
                yield target.id, inspect.cleandoc(str(docstring.value))


def parse(docstring: str) -> tuple[str, tuple[str, ...], str]:
    """``(statement, equations, source)`` of a docstring; no equations if it has none."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", docstring.strip())]
    statement, equations = _first_line(paragraphs[0])
    body = itertools.takewhile(lambda paragraph: not paragraph.startswith(_SECTIONS), paragraphs[1:])
    sentences = [_sentence(paragraph) for paragraph in body if paragraph.startswith("``")]
    equations += [sentence for sentence in sentences if _MATHS.search(_computed(sentence))]
    sources = re.findall(r"\bSources?: (.*)", "\n".join(paragraphs))
    return statement, tuple(map(_inline, equations)), _inline(" ".join(sources).rstrip("."))


def _first_line(line: str) -> tuple[str, list[str]]:
    """``what it is: ``equation``, ...`` in two, or what it is, ``name = equation``."""
    after_a_colon = re.match(rf"(\w(?:(?!``).|{_CODE})*?): ({_CODE}.*)", line)
    if after_a_colon and _MATHS.search(_computed(after_a_colon[2])):
        return _inline(after_a_colon[1]), [_sentence(after_a_colon[2])]
    inside = re.match(rf"(\w(?:(?!``).)*?),? (({_CODE}).*)", line)
    if inside and _STRONG_MATHS.search(_computed(inside[3])):
        return _inline(inside[1]), [_sentence(inside[2])]
    return _inline(_sentence(line)), []


def _sentence(text: str) -> str:
    """Up to the first full stop outside of code."""
    match = re.match(rf"(?:{_CODE}|[^.]|\.(?!\s|$))*", text)
    return match[0] if match else text


def _computed(text: str) -> str:
    """The code in a text, without what only says types: shapes, arrows and what a function takes."""
    return " ".join(_TYPES.sub("", code) for code in re.findall(_CODE, text))


def _inline(text: str) -> str:
    """Markdown of reStructuredText: code in single backticks, roles as code."""
    text = re.sub(r":(?:func|class|mod|attr|meth):`~?([^`]+)`", r"`\1`", text)
    return re.sub(r"``(.+?)``", r"`\1`", text)


# --- tests ------------------------------------------------------------------------------------------------


def users_by_name() -> dict[tuple[str, str], list[tuple[str, str]]]:
    """``(module, name)`` of the library -> ``(file, test)`` of all tests that refer to it, sorted."""
    users = defaultdict(set)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        file = path.relative_to(ROOT).as_posix()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for used in names_used(file, node.name):
                    users[used].add((file, node.name))
    return {used: sorted(tests) for used, tests in users.items()}


def _nearest(tests: Iterable[tuple[str, str]], module: str) -> list[tuple[str, str]]:
    """Those in the module's own test file first, then theorems, then the rest."""
    *folders, name = module.split(".")[1:]
    own = "/".join(["tests", *folders, f"test_{name}.py"])
    return sorted(tests, key=lambda test: (test[0] != own, not test[0].startswith("tests/theory/"), test))


# --- the page ---------------------------------------------------------------------------------------------


def collect() -> list[Equation]:
    """All equations of the library, by module."""
    modules = {_module(path): path for path in (ROOT / "purerl").rglob("*.py")}
    kept = sorted(module for module in modules if not module.startswith(EXCLUDED))
    return [equation for module in kept for equation in read(modules[module], module)]


def theorems() -> list[tuple[str, str, str]]:
    """``(file, test, first line of its docstring)`` of everything in ``tests/theory``."""
    return [
        (path.relative_to(ROOT).as_posix(), name, docstring.partition("\n")[0])
        for path in sorted((ROOT / "tests" / "theory").glob("test_*.py"))
        for name, docstring in _docstrings(ast.parse(path.read_text(encoding="utf-8")))
        if name.startswith("test_")
    ]


def _module(path: pathlib.Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def render(
    equations: list[Equation],
    tests: Mapping[tuple[str, str], list[tuple[str, str]]],
    proved: Iterable[tuple[str, str, str]] = (),
) -> str:
    """The page as Markdown: a table for each module, and one of the theorems ``(file, test, statement)``."""
    modules: dict[str, list[Equation]] = {}
    for equation in equations:
        modules.setdefault(equation.module, []).append(equation)
    lines = [
        "# Equations",
        "",
        "Made by `python -m tests.equations` from the docstrings of the library; not to be edited.",
        "",
        "Each function with its equation, its source and tests that refer to it. Symbols are explained in docstrings",
        "of functions and modules. Works cited: [sources.md](sources.md). What the tests prove of each system:",
        "[coverage.md](coverage.md).",
    ]
    for module, rows in modules.items():
        lines += ["", f"## `{module}`", "", "| what | equation | function | source | tests |", "|---|---|---|---|---|"]
        lines += [_row(equation, _nearest(tests.get((module, equation.name), ()), module)) for equation in rows]
    lines += [
        "",
        "## Theorems",
        "",
        "Checked on exact values, by enumeration or a linear solve on small random processes.",
    ]
    lines += ["", "| theorem | test |", "|---|---|"]
    lines += [_cells(_inline(statement), _link(name, file)) for file, name, statement in proved]
    return "\n".join([*lines, ""])


def _row(equation: Equation, tests: list[tuple[str, str]]) -> str:
    named = [_link(name, file) for file, name in tests[:MAX_TESTS]]
    more = ["and more"] if len(tests) > MAX_TESTS else []
    return _cells(
        equation.statement,
        "<br>".join(equation.equations),
        _link(equation.name, _file(equation.module)),
        equation.source or "-",
        "<br>".join([*named, *more]) or "-",
    )


def _cells(*texts: str) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def _link(name: str, file: str) -> str:
    return f"[`{name}`](../{file})"


def _file(module: str) -> str:
    base = pathlib.PurePosixPath(*module.split("."))
    return (base / "__init__.py" if (ROOT / base).is_dir() else base.with_suffix(".py")).as_posix()


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or with ``--check`` only compare it. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.equations", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if out of date")
    check = parser.parse_args(arguments).check
    page, name = render(collect(), users_by_name(), theorems()), PAGE.relative_to(ROOT).as_posix()
    return publish(page, PAGE, name, "python -m tests.equations", check)


if __name__ == "__main__":
    sys.exit(main())
