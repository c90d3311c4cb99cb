"""Messages of the library in the words of a command line."""

import pytest

from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers
from purerl.driver import RunOptions
from purerl.driver.command_line.messages import in_flags

RECORDS = (RunOptions, PPOConfig, PPOHypers())


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("num_seeds = 0: it must be at least 1.", "--num-seeds 0: it must be at least 1."),
        ("resume = 3: no.", "--resume 3: no."),
        ("PPOHypers.gamma = 1.5: it must be in [0, 1].", "--gamma 1.5: it must be in [0, 1]."),
        ("PPOHypers.gamma under a schedule = 2", "--gamma under a schedule = 2"),
        (
            "PPOConfig.num_minibatches = 3 does not divide num_envs * num_steps = 8 * 16 = 128.",
            "--num-minibatches 3 does not divide --num-envs * --num-steps = 8 * 16 = 128.",
        ),
        ("PPOConfig.torso = 'x': choose one of mlp, cnn.", "--torso 'x': choose one of mlp, cnn."),
        ("Use eval_every = 0, or a larger num_env_steps.", "Use --eval-every 0, or a larger --num-env-steps."),
    ],
)
def test_fields_are_called_by_their_flags(message, said):
    """With their record, at the beginning, or with an underscore; a value follows its flag."""
    assert in_flags(message, RECORDS) == said


@pytest.mark.parametrize(
    "message",
    [
        "Nothing of it is known.",
        "It cannot resume, for the wandb project has no progress.",
        "There is no 'num_env' to sweep. Near: 'num_envs'. Fields: learning_rate, gamma, num_envs.",
        "Write learning_rate=linear:0 or learning_rate=[1, 2].",
        "give a larger num_env_steps (--num-env-steps)",
        "drop --num-env-steps 3",
        "runs/num_envs/x holds a run already: summary/num_steps.csv",
        "DQNConfig.num_envs_of = 3",
    ],
)
def test_other_words_stay(message):
    """Ordinary words, names in quotes, lists, texts and paths, and what is a flag already."""
    assert in_flags(message, RECORDS) == message


def test_without_records_nothing_is_translated():
    """A command that has none."""
    assert in_flags("num_seeds = 0: no.", ()) == "num_seeds = 0: no."
