"""The README's code runs as it stands there, only shorter, and its commands are understood."""

import importlib.util
import pathlib
import re
import shlex

import pytest

import purerl
from purerl.driver.command_line import arguments
from purerl.driver.hypers import schedules
from purerl.presets.ppo import EXPERIMENT

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("notebooks/*.md"), *ROOT.glob("benchmarks/*.md")]
SHORTER = {
    "num_env_steps=200_000, num_seeds=8": "num_env_steps=2_048, num_seeds=2",
    "num_env_steps=50_000": "num_env_steps=2_048",
    "num_seeds=4,": "num_seeds=2,",
}
COMMANDS = [
    line.split("#")[0]
    for line in re.findall(r"^purerl train ppo (.*)$", README, re.MULTILINE)
    if "runs/" not in line and "--help" not in line
] + [f"--sweep {line.split('#')[0]}" for line in re.findall(r"^purerl sweep ppo (.*)$", README, re.MULTILINE)]


def snippets() -> list[str]:
    """The README's Python, block by block; the first is the Quickstart."""
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def shorter(code: str) -> str:
    """The same with fewer steps and seeds."""
    for long, short in SHORTER.items():
        code = code.replace(long, short)
    return code


def test_code_runs(tmp_path, monkeypatch):
    """Every name that the examples use exists, and they draw the pictures that they promise."""
    quickstart, *others = snippets()
    assert len(quickstart.strip().splitlines()) <= 16
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for code in (quickstart, *others):
        exec(shorter(code), names)
    assert names["action"] in (0, 1) and names["actions"].shape == (10,)
    assert purerl.load_program("agent.program").obs_like.shape == (4,)
    assert names["decision"].action.tolist() == [1, 1]
    for picture in ("curve.png", "sweep.png", "runs/sweep/curve.png"):
        assert pathlib.Path(picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command):
    """Every command of the README that needs no earlier run has flags, fields and values that exist."""
    parsed = arguments.parse(EXPERIMENT, shlex.split(command))
    assert (arguments.swept(parsed) is not None) == bool(parsed.launch.sweep)
    arguments.population(parsed.launch, parsed.options.num_env_steps)
    schedules.parse(parsed.launch.schedule)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_modules_and_links_of_the_pages_exist(page):
    """What a page tells one to run as a module is one, and what it links to in the repository is there."""
    text = page.read_text(encoding="utf-8")
    for module in set(re.findall(r"python -m ((?:experiments|benchmarks|tests|purerl)[\w.]*\w)", text)):
        assert importlib.util.find_spec(module), module
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / link).exists(), link
