"""The notebooks use what the library has: their names exist, and their calls fit the signatures. Nothing is run."""

import ast
import importlib
import inspect
import json
import pathlib
from collections.abc import Iterator
from types import ModuleType

import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
OURS = ("purerl", "experiments")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_names_exist_and_calls_fit_their_signatures(path):
    """Imports, attributes of modules and classes, and the arguments of calls of the library's functions."""
    tree = ast.parse(code_of(path))
    names = dict(imported(tree))
    assert names
    for node in ast.walk(tree):
        found = resolve(node.func if isinstance(node, ast.Call) else node, names)
        if isinstance(node, ast.Call) and callable(found):
            check_call(node, found)


def test_what_does_not_exist_or_fit_is_found():
    """A module that moved, a name that is gone and an argument that was renamed are errors each."""
    for code in ("from purerl.nowhere import x", "import purerl.nowhere"):
        with pytest.raises(ImportError):
            dict(imported(ast.parse(code)))
    names = dict(imported(ast.parse("import purerl\nfrom purerl.kernels import returns")))
    with pytest.raises(AttributeError):
        resolve(ast.parse("returns.gone", mode="eval").body, names)
    call = ast.parse("returns.td_errors(r, v, v, end, 0.9, discount=1)", mode="eval").body
    assert isinstance(call, ast.Call)
    with pytest.raises(TypeError, match="discount"):
        check_call(call, resolve(call.func, names))


def code_of(path: pathlib.Path) -> str:
    """The code cells of a notebook, without IPython's own commands."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return "\n".join(line for line in code.splitlines() if not line.startswith("%"))


def imported(tree: ast.AST) -> Iterator[tuple[str, object]]:
    """What is imported of the library, by the name that it gets."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith(OURS):
                    module = importlib.import_module(alias.name)
                    yield (alias.asname, module) if alias.asname else (OURS[0], importlib.import_module(OURS[0]))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(OURS):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
                yield alias.asname or alias.name, getattr(module, alias.name)


def resolve(node: ast.AST, names: dict[str, object]) -> object:
    """What ``a.b.c`` is, as far as modules and classes lead; None for anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = resolve(node.value, names)
        return getattr(owner, node.attr) if isinstance(owner, ModuleType | type) else None
    return None


def check_call(call: ast.Call, function: object) -> None:
    """Raise TypeError if the arguments do not fit; what is unpacked, or has no signature, fits."""
    if any(isinstance(argument, ast.Starred) for argument in call.args) or any(k.arg is None for k in call.keywords):
        return
    try:
        signature = inspect.signature(function)  # type: ignore[arg-type]
    except ValueError:
        return
    signature.bind(*call.args, **{keyword.arg: keyword.value for keyword in call.keywords if keyword.arg})
