"""Whether a plain install works: ``python -m tests.wheel`` builds the wheel and runs the README's Quickstart from it.

The wheel goes without extras into a new environment, at the versions of ``requirements.lock``, and everything runs in
an empty folder outside of the repository.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

from tests.test_readme import shorter, snippets

ROOT = pathlib.Path(__file__).parents[1]
COMMANDS = (
    ("purerl", "--help"),
    ("purerl", "list"),
    ("purerl", "train", "ppo", "--num-env-steps", "2048", "--num-seeds", "2", "--no-progress", "--out-dir", "run"),
    ("purerl", "evaluate", "run", "--episodes", "4", "--no-progress"),
    ("purerl", "plot", "run", "--out", "curves.png"),
)


def main() -> None:
    """Build, install, run; raises with the output of what fails."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        pip = (sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps")
        run(*pip, "-w", folder, ROOT, where=folder)
        run(sys.executable, "-m", "venv", folder / "venv", where=folder)
        python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        (wheel,) = folder.glob("*.whl")
        install = ("-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile")
        run(python, *install, "-c", ROOT / "requirements.lock", wheel, where=folder)
        empty = folder / "empty"
        empty.mkdir()
        (empty / "quickstart.py").write_text(shorter(snippets()[0]), encoding="utf-8")
        print(run(python, "quickstart.py", where=empty), end="")
        for name, *words in COMMANDS:
            print(run(python.with_name(name), *words, where=empty).splitlines()[0])
    print(f"{wheel.name} works, installed without extras.")


def run(*command: object, where: pathlib.Path) -> str:
    """What a command prints, run in a folder, far from this repository and its Python path.

    Raises:
        SystemExit: with what it printed, if it fails.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=where, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)} ends with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
