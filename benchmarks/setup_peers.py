"""Virtual environments of the libraries we measure ourselves against, one each, at pinned versions.

python -m benchmarks.setup_peers
"""

import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
VENVS = HERE.parent / ".venvs"

# The Python that a peer prefers; ours where that is not to be had. Those on JAX run on ours, to get the same JAX.
PEERS = {
    "rejax": None,
    "flashbax": None,
    "numba": None,
    "openspiel": None,
    "sb3": "python3.11",
    "tunix": "python3.11",  # whose JAX is older
    "trl": "python3.11",
}


def python_of(peer: str) -> pathlib.Path:
    """The Python of a peer's virtual environment, made first if it is missing or its requirements changed."""
    venv, requirements = VENVS / peer, HERE / "peers" / f"{peer}.txt"
    python, stamp = venv / "bin" / "python", venv / "installed.txt"
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        print(f"Installing {peer} in {venv.relative_to(HERE.parent)}", flush=True)
        subprocess.run([_interpreter(PEERS[peer]), "-m", "venv", "--clear", venv], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--requirement", str(requirements)], check=True)
        stamp.write_text(requirements.read_text())  # last, so that a failed installation is done again
    return python


def _interpreter(preferred: str | None) -> str:
    """The preferred Python if it runs (a shim on PATH may not), else ours."""
    path = preferred and shutil.which(preferred)
    if path and subprocess.run([path, "--version"], capture_output=True).returncode == 0:
        return path
    return sys.executable


if __name__ == "__main__":
    for name in PEERS:
        python_of(name)
