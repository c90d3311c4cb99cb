"""DQN and its variants on any registered environment.

purerl train dqn --env CartPole-v1 --num-seeds 8 --target double --n-step 3
purerl train dqn --num-seeds 1 --save-dataset cartpole.npz    # keep what is in the replay at the end
purerl train dqn --dataset cartpole.npz --cql-weight 1        # learn from that, and from nothing else
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import jax
import numpy as np

from purerl import envs
from purerl.algorithm import Algorithm
from purerl.algorithms.value.dqn import DQNConfig, DQNHypers, dqn
from purerl.algorithms.value.offline_dqn import offline_dqn
from purerl.data import dataset
from purerl.driver import command_line
from purerl.driver.command_line import Preset
from purerl.driver.running.result import TrainResult
from purerl.envs.base import Environment
from purerl.recipes import attach, recorded


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(DQNConfig):
    """DQN's sizes and choices, and a dataset to learn from instead of an environment."""

    dataset: str | None = None
    """Learn offline, from the transitions in this file (.npz or .parquet) and from nothing else; the environment only
    evaluates. --save-dataset writes such a file. --cql-weight above 0 makes it conservative Q-learning. None: online,
    from the environment."""
    dataset_sha256: str | None = None
    """Refuse all transitions but those with this fingerprint. A run records it, so that it is resumed with its own.
    None: take what there is."""


# One gradient step for every four or eight steps of the environments, whose number only changes how many are stepped at
# once. Settings after those of RL-Baselines3-Zoo and CleanRL; what differs was found by a few runs at full length.
_CLASSIC = DQNConfig(
    num_steps=8,
    num_gradient_steps=16,
    batch_size=128,
    replay_capacity=100_000,
    target="double",
    n_step=3,
)
_FALLING = ("learning_rate=linear:0",)

# A batch of 128 for every 128 frames, a perceptron, three rewards before the next value: what makes ten million frames
# affordable on a CPU. More gradient steps, or --torso cnn, take longer.
_MINATAR = DQNConfig(
    num_envs=64,
    num_steps=4,
    num_gradient_steps=2,
    batch_size=128,
    replay_capacity=131_072,
    num_warmup_steps=5_120,
    n_step=3,
    hidden_sizes=(128, 64),
)
_MINATAR_HYPERS = DQNHypers(
    learning_rate=1e-3, exploration_steps=100_000.0, epsilon_end=0.01, target_update_every=8_000.0
)

PRESETS = {
    "CartPole-v1": Preset(
        _CLASSIC,
        DQNHypers(learning_rate=2e-3, target_update_every=1_000.0, exploration_steps=16_000.0),
        num_env_steps=100_000,
        schedule=_FALLING,
    ),
    "Acrobot-v1": Preset(
        _CLASSIC,
        DQNHypers(learning_rate=5e-4, target_update_every=1_000.0, exploration_steps=16_000.0),
        num_env_steps=100_000,
        schedule=_FALLING,
    ),
    # Nobody finds the flag by chance. But values that begin near 0 are high here and lead to what is new, and that the
    # sooner the more often the target network follows.
    "MountainCar-v0": Preset(
        dataclasses.replace(_CLASSIC, num_steps=16),
        DQNHypers(learning_rate=4e-3, target_update_every=250.0, exploration_steps=60_000.0),
        num_env_steps=300_000,
        schedule=_FALLING,
    ),
    **{
        f"{name}-MinAtar": Preset(_MINATAR, _MINATAR_HYPERS, num_env_steps=10_000_000, schedule=_FALLING)
        for name in ("Breakout", "Asterix", "Freeway", "SpaceInvaders")
    },
}

_ABOUT_DATA = (
    "Data: --save-dataset FILE writes, when the run has ended, the complete episodes in the replay of its first seed "
    "to FILE, .npz or .parquet; with --resume FOLDER also of a run that has ended already. --dataset FILE learns from "
    "such a file alone, by as many gradient steps as the same settings take online, and prints the return of its "
    "episodes beside the one that was learnt. --cql-weight is then the weight of the conservative penalty."
)


def _with_dataset(preset: Preset) -> Preset:
    """A preset whose config can name a dataset."""
    fields = {field.name: getattr(preset.config, field.name) for field in dataclasses.fields(preset.config)}
    return preset._replace(config=Config(**fields))


@recorded
def make_algorithm(env: Environment, config: Config) -> Algorithm:
    """DQN, or offline DQN where there is a dataset.

    Agents that have learnt from one act without it: where a config has its fingerprint, the file may be missing, and
    only ``update`` asks for it.

    Raises:
        ValueError: if the dataset cannot be used, or is another one than the config asks for.
    """
    if config.dataset is None:
        return dqn(env, config)
    if config.dataset_sha256 is not None and not pathlib.Path(config.dataset).exists():
        return attach(offline_dqn(env, None, config), make_algorithm, {"env": env, "config": config})
    transitions = dataset.load(config.dataset, env)
    found = dataset.fingerprint(transitions)
    if config.dataset_sha256 not in (None, found):
        raise ValueError(
            f"{config.dataset} holds other transitions (sha256 {found[:12]}...) than those of dataset_sha256 = "
            f"{config.dataset_sha256}: restore the file, or start another run."
        )
    config = dataclasses.replace(config, dataset_sha256=found)
    return attach(offline_dqn(env, transitions, config), make_algorithm, {"env": env, "config": config})


EXPERIMENT = command_line.Experiment(
    name="dqn",
    description="Train deep Q-learning. Its variants: --target, --distribution, --dueling, --noisy, --prioritized, "
    f"--n-step.\n\n{_ABOUT_DATA}",
    make_env=envs.make,
    make_algorithm=make_algorithm,
    presets={name: _with_dataset(preset) for name, preset in PRESETS.items()},
    default_env="CartPole-v1",
    fallback=_with_dataset(Preset(DQNConfig(), DQNHypers(), num_env_steps=500_000)),
)


def main(arguments: Sequence[str] | None = None, prog: str = "python -m experiments.dqn") -> TrainResult | None:
    """Run the command line; ``prog`` is what it is called."""
    parser = argparse.ArgumentParser(prog=prog, add_help=False, allow_abbrev=False)
    parser.add_argument("--save-dataset", "--save_dataset", type=pathlib.Path)
    options, rest = parser.parse_known_args(sys.argv[1:] if arguments is None else arguments)
    path = options.save_dataset
    with command_line.one_line_errors("dqn"):
        if path is not None:
            dataset.check_path(path)
            _check_one_replay({argument.partition("=")[0].replace("_", "-") for argument in rest})
    result = command_line.main(EXPERIMENT, rest, prog)
    with command_line.one_line_errors("dqn"):
        if result is not None and "dataset_return" in result.summary:
            print(_beside(result))
        if path is not None:
            print(_save_replay(result, path))
    return result


def _check_one_replay(flags: set[str]) -> None:
    """Before a run: that there will be one replay to save.

    Raises:
        ValueError: naming the flag by which there will not.
    """
    for flag in ("--dataset", "--sweep", "--distributed"):
        if flag in flags:
            raise ValueError(f"--save-dataset takes the replay of one run in one process: drop {flag}.")


def _save_replay(result: TrainResult | None, path: pathlib.Path) -> str:
    """Write the replay of the first seed that did not diverge; says what it was.

    Raises:
        ValueError: if there is none, or no episode in it.
    """
    if result is None or result.sweep is not None or not hasattr(result.states, "replay"):
        raise ValueError("--save-dataset takes the replay of one run, but this was a sweep, or learnt from a dataset.")
    healthy = np.flatnonzero(~np.asarray(result.summary["diverged"]))
    if not len(healthy):
        raise ValueError("--save-dataset: all seeds diverged, so there is no replay worth saving.")
    seed = int(healthy[0])
    transitions = dataset.complete_episodes(jax.tree.map(lambda x: x[seed], result.states.replay.ring))
    if not len(transitions.reward):
        raise ValueError(
            f"--save-dataset: the replay of seed {seed} holds no episode from its beginning to its end: increase "
            "--replay-capacity."
        )
    dataset.save(path, transitions, env_name=result.summary["title"].partition(" on ")[2])
    returns = dataset.episode_returns(transitions)
    return (
        f"  dataset  {path}: seed {seed}, {len(transitions.reward):,} transitions, {len(returns):,} episodes of mean "
        f"return {np.mean(returns):.5g}"
    )


def _beside(result: TrainResult) -> str:
    """The return of the data beside the one that was learnt from it."""
    facts = result.summary
    return (
        f"  dataset  mean return {facts['dataset_return']:.5g} of {facts['dataset_episodes']:,} episodes, "
        f"{facts['dataset_transitions']:,} transitions; learnt from it: {result.final_return}"
    )
