"""What importing purerl does, and which folder imports which."""

import ast
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
HEAVY = ("gymnax", "pgx", "tyro", "matplotlib", "orbax.checkpoint", "tensorboardX", "wandb")

# Folder or file of the library -> what of the library it may import. Arrows point one way.
ARROWS = {
    # at the bottom
    "types.py": (),
    "spaces.py": ("types",),
    "observation.py": ("spaces", "types"),
    "names.py": (),
    "env_names.py": ("names",),
    "notices.py": (),
    "xla.py": (),
    "files.py": (),
    "starting.py": ("xla",),
    "ranges.py": ("types",),
    "config_checks.py": ("ranges",),
    "recipes.py": (),
    "guide.py": (),
    "agent_file.py": ("files", "recipes", "types"),
    "export.py": ("agent_file", "files", "types"),
    "agent.py": ("agent_file", "export", "types"),
    "algorithm.py": ("agent", "recipes", "types"),
    # parts of algorithms, which know no algorithm
    "kernels": ("kernels", "types"),
    "mdp": ("mdp", "kernels", "types"),
    "nets": ("nets", "config_checks", "kernels", "observation", "ranges", "spaces", "types"),
    "envs": (
        *("envs", "agent", "env_names", "language", "mdp", "kernels", "names", "observation", "recipes"),
        *("spaces", "types"),
    ),
    "data": ("data", "config_checks", "envs.base", "files", "kernels", "ranges", "spaces", "types"),
    "search": ("search", "files", "types"),
    "games": ("games", "agent", "envs", "kernels", "search", "spaces", "types"),
    "language": ("language", "mdp", "kernels", "recipes", "spaces", "types"),
    "optimizers.py": ("types",),
    "target_network.py": ("kernels", "types"),
    "sharding.py": ("types",),
    "rollout.py": ("envs.base", "envs.games", "envs.wrappers", "kernels", "sharding", "types"),
    "update.py": ("kernels", "sharding", "types"),
    "off_policy.py": ("config_checks", "data", "envs.base", "kernels", "rollout", "target_network", "types"),
    "algorithms": (
        *("algorithms", "agent", "agent_file", "algorithm", "config_checks", "optimizers", "ranges", "recipes"),
        *("observation", "off_policy", "rollout"),
        *("sharding", "target_network", "update", "games", "search", "language", "nets", "data", "mdp", "kernels"),
        *("envs.base", "envs.games", "envs.learnable", "envs.wrappers", "files", "spaces", "types"),
    ),
    # what runs algorithms and shows what came of it, and knows no environment and no single algorithm
    "analysis": ("analysis", "files", "types"),
    "driver": (
        *("driver", "agent", "agent_file", "algorithm", "analysis", "config_checks", "env_names", "files", "names"),
        *("notices", "ranges", "recipes", "starting", "types", "xla"),
    ),
    # on top: algorithms with settings that work, what is done with runs, the command that finds both by name
    "presets": ("presets", "algorithm", "algorithms", "data", "driver", "envs", "nets", "recipes", "types"),
    "tools": (
        *("tools", "agent", "agent_file", "algorithms", "analysis", "config_checks", "driver", "envs", "export"),
        *("files", "games", "kernels", "names", "ranges", "search", "types", "xla"),
    ),
    "__main__.py": ("names", "starting"),
}


def test_import_is_light():
    """In a fresh process no heavy package is loaded and no device is touched: a platform that does not exist only
    matters when the first device is asked for."""
    code = (
        "import sys, purerl\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
        "import jax\n"
        "try: jax.devices()\n"
        "except RuntimeError: print('no device')"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "nonexistent"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[]", "no device"], done.stderr


def test_parts_are_there_when_they_are_asked_for():
    """After a lone ``import purerl``, in a fresh process: functions, modules and packages; what is none is an error."""
    code = (
        "import purerl\n"
        "print(callable(purerl.train), callable(purerl.load), purerl.driver.linear(0.0), purerl.spaces.Discrete(2).n)\n"
        "print(all(hasattr(purerl, name) for name in purerl.__all__), hasattr(purerl, 'nothing'), *dir(purerl)[:1])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["True True linear:0 2", "True False Agent"], done.stderr


def imported(path: pathlib.Path) -> set[str]:
    """Modules of purerl that a file imports anywhere, without the leading ``purerl.``, fully spelt out."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            is_package = (ROOT / node.module.replace(".", "/")).is_dir()
            names |= {f"{node.module}.{alias.name}" if is_package else node.module for alias in node.names}
    return {name.removeprefix("purerl.") for name in names if name.startswith("purerl.")}


@pytest.mark.parametrize("part", ARROWS)
def test_arrows_point_one_way(part):
    """Every import of every file of a folder, also those inside functions, goes where the folder may go."""
    where = ROOT / "purerl" / part
    paths = sorted(where.rglob("*.py")) if where.is_dir() else [where]
    assert paths
    for path in paths:
        for name in imported(path):
            allowed = any(f"{name}.".startswith(f"{target}.") for target in ARROWS[part])
            assert allowed, f"{path.relative_to(ROOT)} imports purerl.{name}"


def test_every_part_has_its_arrows():
    """No file or folder of the library is left out of the table; those at the top may import everything."""
    files = {path.name for path in (ROOT / "purerl").glob("*.py")}
    folders = {path.parent.name for path in (ROOT / "purerl").glob("*/__init__.py")}
    assert files - {"__init__.py"} | folders == set(ARROWS)


def test_algorithm_families_do_not_import_each_other():
    """An algorithm imports no file of another folder under ``algorithms``; what families share is a folder of its own
    beside them, such as ``games``."""
    for path in sorted((ROOT / "purerl" / "algorithms").rglob("*.py")):
        own = f"algorithms.{path.parent.name}."
        others = [name for name in imported(path) if name.split(".")[0] == "algorithms" and not name.startswith(own)]
        assert not others, f"{path.relative_to(ROOT)} imports {others}"
