"""Where things are and how long they get: a test file for each module, and sizes that a reader can take in."""

import ast
import io
import pathlib
import tokenize

import pytest

ROOT = pathlib.Path(__file__).parents[1]
MODULES = sorted(path for path in (ROOT / "purerl").rglob("*.py") if path.name != "__init__.py")
CODE = [*sorted((ROOT / "purerl").rglob("*.py")), *sorted((ROOT / "experiments").rglob("*.py"))]

MAX_FUNCTION = 60  # lines of code: no docstrings, comments and empty lines
MAX_PARAMETERS = 12
MAX_FILE = 400  # lines of any kind
LONG_FILES = {
    "purerl/envs/checks.py": "a list of checks of an environment, read from the one that failed",
    "experiments/studies/dyna_maze.py": "four figures of the textbook's chapter, that share their mazes",
}


def relative(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_every_module_has_a_test_file_of_its_name(path):
    """What is in ``purerl/a/b.py`` is tested in ``tests/a/test_b.py``."""
    test = ROOT / "tests" / path.relative_to(ROOT / "purerl").with_name(f"test_{path.name}")
    assert test.is_file(), relative(test)


def test_no_function_is_long():
    """Functions have at most so many lines of code, nested ones counted with those around them."""
    long = [
        f"{relative(path)}: {function.name} has {lines} lines"
        for path in CODE
        for function, lines in functions(path)
        if lines > MAX_FUNCTION
    ]
    assert not long, "\n".join(long)


def test_no_parameter_list_is_long():
    """Functions have at most so many parameters: what belongs together is a record."""
    long = [
        f"{relative(path)}: {function.name} has {number} parameters"
        for path in CODE
        for function, _ in functions(path)
        if (number := num_parameters(function)) > MAX_PARAMETERS
    ]
    assert not long, "\n".join(long)


def test_long_files_have_their_reason():
    """Files have at most so many lines, but for a few that say why; and those are still long."""
    long = {relative(path) for path in CODE if len(path.read_text(encoding="utf-8").splitlines()) > MAX_FILE}
    assert long == set(LONG_FILES)


def functions(path: pathlib.Path) -> list[tuple[ast.FunctionDef, int]]:
    """Functions of a file, each with its lines of code."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    code = lines_of_code(source) - {line for node in ast.walk(tree) for line in docstring(node)}
    return [
        (node, sum(line in code for line in range(node.lineno, node.end_lineno + 1)))
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    ]


def lines_of_code(source: str) -> set[int]:
    """Numbers of the lines on which there is more than a comment."""
    nothing = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {line for t in tokens if t.type not in nothing for line in range(t.start[0], t.end[0] + 1)}


def docstring(node: ast.AST) -> range:
    """Lines of the docstring of a module, class or function."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
        return range(node.body[0].lineno, node.body[0].end_lineno + 1)
    return range(0)


def num_parameters(function: ast.FunctionDef) -> int:
    """How many arguments a function names."""
    arguments = function.args
    return len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)
