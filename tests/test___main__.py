"""The ``purerl`` command: its words, what it says of wrong ones, and what it imports."""

import os
import pathlib
import subprocess
import sys

import pytest

import purerl
from purerl import __main__ as command
from purerl import starting
from purerl.driver import command_line
from purerl.presets import dqn, ppo
from purerl.tools import plot


@pytest.fixture(autouse=True)
def begun(monkeypatch) -> None:
    """Leave Ctrl-C to pytest, and nothing but what a command says on the screen."""
    monkeypatch.setattr(starting, "begin", lambda name, words=(): None)


@pytest.fixture
def called(monkeypatch) -> list:
    """Which command line was run, with which words, under which name."""
    calls: list = []
    monkeypatch.setattr(command_line, "main", lambda experiment, words, prog: calls.append((experiment, words, prog)))
    monkeypatch.setattr(dqn, "main", lambda words, prog: calls.append((dqn.EXPERIMENT, words, prog)))
    return calls


def refused(capsys, *words: str) -> str:
    """What is printed by a command line that ends with status 2."""
    with pytest.raises(SystemExit) as exit_:
        command.main(list(words))
    printed = capsys.readouterr()
    assert exit_.value.code == 2 and printed.out == ""
    return printed.err


def test_train_and_sweep_run_the_presets(called):
    """By the algorithm's name; what is swept is what stands before the flags; a command line of its own is used."""
    command.main(["train", "ppo", "--env", "Acrobot-v1"])
    command.main(["sweep", "dqn", "gamma=0.9,0.99", "n_step=1,3", "--num-seeds", "2"])
    command.main(["sweep", "ppo", "--help"])
    assert called == [
        (ppo.EXPERIMENT, ["--env", "Acrobot-v1"], "purerl train ppo"),
        (dqn.EXPERIMENT, ["--sweep", "gamma=0.9,0.99", "n_step=1,3", "--num-seeds", "2"], "purerl train dqn"),
        (ppo.EXPERIMENT, ["--help"], "purerl train ppo"),
    ]


def test_tools_get_the_rest_of_the_words(monkeypatch):
    """And what they return is the exit status."""
    monkeypatch.setattr(plot, "main", lambda words: [*words, "drawn"])
    assert command.main(["plot", "a", "--out", "b.png"]) == ["a", "--out", "b.png", "drawn"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "no command 'trian'. Near: 'train'"),
        (["ppo"], "no command 'ppo'. Did you mean: purerl train ppo?"),
        (["nonsense!"], "no command 'nonsense!'. purerl --help lists them all."),
        (["train"], "which algorithm?"),
        (["train", "pp"], "no algorithm 'pp'. Near: 'ppo'"),
        (["train", "../ppo"], "no algorithm '../ppo'."),
        (["train", "--env", "CartPole-v1"], "no algorithm '--env'."),
        (["sweep", "ppo"], "say what to sweep first, such as learning_rate=1e-4,1e-3."),
        (["sweep", "ppo", "--num-seeds", "2"], "say what to sweep first"),
    ],
)
def test_wrong_words_are_answered(called, capsys, words, said):
    """With what they may have meant, and status 2."""
    assert said in refused(capsys, *words) and not called


def test_an_interruption_while_modules_are_imported(monkeypatch, capsys):
    """A line, and the status of an interrupted process."""

    def interrupted(words):
        raise KeyboardInterrupt

    monkeypatch.setattr(plot, "main", interrupted)
    with pytest.raises(SystemExit) as exit_:
        command.main(["plot"])
    assert exit_.value.code == 130 and capsys.readouterr().err == "purerl: interrupted.\n"


def test_everything_is_listed(capsys):
    """Each algorithm and each environment on a line of its own; the version is that of the package."""
    command.main(["list"])
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert [words[0] for words in lines[2 : 2 + len(command.algorithms())]] == list(command.algorithms())
    assert {*purerl.envs.registered()} <= {words[0] for words in lines if len(words) > 0}
    (learnt_by,) = (words[1:] for words in lines if words[:1] == ["CartPole-v1"])
    assert {"a2c,", "dqn,", "ppo,"} <= {*learnt_by} and learnt_by == sorted(learnt_by)
    command.main(["--version"])
    assert capsys.readouterr().out.strip() == purerl.__version__


def test_a_list_takes_no_further_words(capsys):
    """They are refused; --help is answered."""
    assert refused(capsys, "list", "algorithms") == "purerl list: it prints everything and takes no 'algorithms'.\n"
    command.main(["list", "--help"])
    assert capsys.readouterr().out.startswith("usage: purerl list\n\nPrint the algorithms")


def test_help_does_not_wait_for_jax(tmp_path):
    """In a fresh process, from another folder: the list of commands and that of algorithms, without JAX."""
    code = (
        "import sys\n"
        "from purerl.__main__ import main\n"
        "main(['--help']), main(['train', '--help']), main([])\n"
        "print([name for name in ('jax', 'numpy', 'flax', 'tyro') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(purerl.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    for word in (*command._COMMANDS, *command.algorithms()):
        assert word in done.stdout
