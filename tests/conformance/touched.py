"""What the last commits touched: algorithms whose deep laws `.ci/run` checks, and notebooks that it runs.

``python -m tests.conformance.touched algorithms`` prints names of the conformance list, ``... notebooks`` paths.
Changes count from where the branch left the main one, or else over the last ten commits, and what is not committed.
"""

import ast
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
NUM_COMMITS = 10
MOST_ALGORITHMS = 4  # the deep laws of one take up to a minute
MOST_NOTEBOOKS = 2  # with small settings, each takes about a minute


def git(*arguments: str) -> str:
    """What git prints; nothing where it fails, as in a copy without a history."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def base() -> str:
    """The commit since when changes count."""
    head = git("rev-parse", "HEAD")
    for branch in ("origin/HEAD", "origin/main", "main"):
        common = git("merge-base", "HEAD", branch)
        if common and common != head:
            return common
    history = git("rev-list", "--first-parent", f"--max-count={NUM_COMMITS + 1}", "HEAD").splitlines()
    return history[-1] if history else ""


def files() -> set[str]:
    """Paths that were changed or added since then, relative to the repository."""
    since = base()
    changed = git("diff", "--name-only", since) if since else ""
    return {*changed.splitlines(), *git("ls-files", "--others", "--exclude-standard").splitlines()}


def algorithms(changed: set[str]) -> list[str]:
    """Algorithms of which a file was touched and that are not checked deeply anyway: one of each file first, at most
    :data:`MOST_ALGORITHMS`. What all of them share, such as the driver, is what the representatives are for."""
    from tests.conformance.algorithms import CASES, REPRESENTATIVES

    found: dict[str, None] = {}
    others: dict[str, None] = {}
    seen: set[str] = set()
    for name, case in CASES.items():
        mine = {source for source in case.sources if f"purerl/algorithms/{source}" in changed}
        if mine and name not in REPRESENTATIVES:
            (found if mine - seen else others)[name] = None
        seen |= mine
    return list(found | others)[:MOST_ALGORITHMS]


def notebooks(changed: set[str]) -> list[str]:
    """Notebooks that were touched, then one whose turn it is, then those that import what was touched: at most
    :data:`MOST_NOTEBOOKS`, and never none."""
    paths = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "notebooks").glob("*.ipynb"))
    turn = int(git("rev-list", "--count", "HEAD") or 0) % len(paths)
    modules = {path.removesuffix(".py").replace("/", ".") for path in changed if path.endswith(".py")}
    wanted = [path for path in paths if path in changed]
    wanted += [paths[turn]]
    wanted += [path for path in paths if imports(ROOT / path) & modules]
    return list(dict.fromkeys(wanted))[:MOST_NOTEBOOKS]


def imports(path: pathlib.Path) -> set[str]:
    """Modules that a notebook names in its imports."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()]
    found: set[str] = set()
    for node in ast.walk(ast.parse("\n".join(line for line in lines if not line.startswith(("%", "!"))))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


if __name__ == "__main__":
    print(*{"algorithms": algorithms, "notebooks": notebooks}[sys.argv[1]](files()))
