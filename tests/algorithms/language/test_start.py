"""What a run begins with: a base as it is, or a network that has imitated for a while."""

import dataclasses
import json
import re
from typing import Any

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import purerl
from purerl import envs, files
from purerl.algorithms.language.distillation import DistillationConfig, DistillationHypers, distill
from purerl.algorithms.language.dpo import DPOConfig, DPOHypers, dpo
from purerl.algorithms.language.grpo import GRPOConfig, GRPOHypers, grpo
from purerl.algorithms.language.mirror_descent import MirrorDescentConfig, MirrorDescentHypers, mirror_descent
from purerl.algorithms.language.process_reward import ProcessRewardConfig, ProcessRewardHypers, process_reward
from purerl.algorithms.language.reward_model import RewardModelConfig, RewardModelHypers, reward_model
from purerl.algorithms.language.rlhf import RLHFConfig, RLHFHypers, rlhf
from purerl.algorithms.language.sft import SFTConfig, SFTHypers, sft
from purerl.algorithms.language.start import base_of, fingerprint, first_params, kept_reference, reference
from purerl.driver import RunOptions, command_line
from purerl.driver.command_line import arguments
from purerl.driver.running.job import Job, settings
from purerl.driver.storage import restore
from purerl.nets.language_model import decoder_model
from purerl.presets.dpo import EXPERIMENT
from purerl.types import PyTree
from tests.conformance.cases.language import DECODER
from tests.support.bigram import bigram_model
from tests.support.tabular_task import table_model, table_task


class _Hypers(SFTHypers):
    warm_up_learning_rate: float = 0.1


def _first(base, num_steps):
    model = table_model()
    return first_params(table_task(), model, base, num_steps, 32, _Hypers(), jax.random.key(0))


def test_imitation_begins_a_run_without_a_base():
    """After some steps on demonstrations that are all alike in frequency, the stop token is no longer what it was."""
    untrained, warm = jax.jit(lambda: (_first(None, 0), _first(None, 30)))()
    assert untrained.shape == warm.shape
    probs = [np.asarray(jax.nn.softmax(x[0])) for x in (untrained, warm)]
    law = np.array([7, 7, 1]) / 15  # of the first token over all texts
    assert np.abs(probs[1] - law).max() < 0.1 < np.abs(probs[0] - law).max()


def test_a_base_is_taken_as_it_is():
    """No step is taken from it; the state keeps no copy of it, and without one a copy of the start."""
    base = np.ones((7, 3), np.float32)
    np.testing.assert_array_equal(_first(base, 30), base)
    assert kept_reference(base, base) == ()
    np.testing.assert_array_equal(reference(base, ()), base)
    np.testing.assert_array_equal(reference(None, kept_reference(None, base)), base)


def test_fingerprints_tell_parameters_apart():
    """By names and bits."""
    params = {"a": np.zeros(3), "b": np.ones(2)}
    other = {"a": np.zeros(3), "c": np.ones(2)}
    assert fingerprint(params) == fingerprint({**params}) != fingerprint(other)
    assert fingerprint(params) != fingerprint({"a": np.zeros(3), "b": np.array([1, 1 + 1e-15])})
    assert fingerprint(None) is None


TASK: Any = envs.make("addition")
LEARNERS: dict[str, Any] = {
    "distill": (distill, DistillationConfig, DistillationHypers),
    "dpo": (dpo, DPOConfig, DPOHypers),
    "grpo": (grpo, GRPOConfig, GRPOHypers),
    "mirror_descent": (mirror_descent, MirrorDescentConfig, MirrorDescentHypers),
    "process_reward": (process_reward, ProcessRewardConfig, ProcessRewardHypers),
    "reward_model": (reward_model, RewardModelConfig, RewardModelHypers),
    "rlhf": (rlhf, RLHFConfig, RLHFHypers),
}


def saved(folder, seed: int = 0) -> tuple[str, PyTree]:
    """File of an agent of supervised fine-tuning that has learned nothing, and its parameters."""
    algorithm, path = sft(TASK, SFTConfig(decoder=DECODER)), str(folder / "agent.safetensors")
    state = jax.jit(algorithm.init)(SFTHypers(), jax.random.key(seed))
    algorithm.agent(SFTHypers(), state).save(path)
    return path, state.params


def test_a_base_comes_from_the_file_of_an_agent(tmp_path):
    """Its parameters, bit for bit; other sizes are refused by the name of what differs, and so are two bases."""
    path, params = saved(tmp_path)
    model = decoder_model(DECODER, len(TASK.vocab))
    base = base_of(path, None, model)
    jax.tree.map(np.testing.assert_array_equal, base, params)
    assert base_of(None, base, model) is base and base_of(None, None, model) is None
    with pytest.raises(ValueError, match=r"agent.safetensors: .*\['k'\]\['kernel'\] is .* but the model has"):
        base_of(path, None, decoder_model(dataclasses.replace(DECODER, head_size=8), len(TASK.vocab)))
    with pytest.raises(ValueError, match=r"parameters were given as well"):
        base_of(path, base, model)


@pytest.mark.parametrize("name", sorted(LEARNERS))
def test_the_record_of_a_run_holds_it_to_its_base(name, tmp_path):
    """It is loaded with the base that it was given, and with no other, and resumed with its config; a config names the
    file of a base."""
    factory, config, hypers = LEARNERS[name]
    with pytest.raises(FileNotFoundError, match=r"nowhere\.safetensors"):
        factory(TASK, config(base="nowhere.safetensors"))
    model = bigram_model(len(TASK.vocab))
    base = np.ones((len(TASK.vocab) + 1, len(TASK.vocab)), np.float32)
    algorithm = factory(TASK, config(), model=model, base=base)
    assert algorithm.spec.env_steps_of_init == 0 and (algorithm.spec.words is None) == (algorithm.act is None)
    options, key = RunOptions(num_env_steps=algorithm.spec.env_steps_per_update), jax.random.key(0)
    record = json.loads(json.dumps(files.plain(settings(Job.of(algorithm, hypers(), key, options), key, options))))
    assert record["settings"]["given"] == {"base": fingerprint(base)}
    files.write_json(tmp_path / "config.json", record)
    assert arguments.parse(restore.experiment.find(record), ["--resume", str(tmp_path)], name).config == config()
    again = restore.from_record(record, given={"base": base, "model": model})
    assert again.algorithm.spec.settings == algorithm.spec.settings
    with pytest.raises(ValueError, match=r"makes something else today: settings.given.base: "):
        restore.from_record(record, given={"base": 2 * base, "model": model})


@pytest.mark.deep
def test_a_run_goes_on_from_the_agent_in_a_file(tmp_path, quick_compiles, capsys):
    """On the command line, begun, loaded and resumed; once another agent is in the file, both are refused."""
    (path, base), run = saved(tmp_path), tmp_path / "run"
    sizes = "--size 8 --head-size 4 --feed-forward-size 8 --num-layers 1 --num-heads 2 --num-kv-heads 1 --batch-size 2"
    few = "--env addition --num-gradient-steps 1 --num-seeds 1 --num-env-steps 4 --eval-every 0 --no-progress"
    command_line.main(EXPERIMENT, [*f"{sizes} {few}".split(), "--base", path, "--out-dir", str(run)])
    state = purerl.load(run).source.state
    moved = ravel_pytree(state.params)[0] - ravel_pytree(base)[0]
    assert state.reference == () and 0 < np.max(np.abs(moved)) < 2e-3
    resume = ["--resume", str(run), "--no-progress", "--num-env-steps"]
    command_line.main(EXPERIMENT, [*resume, "8"])
    assert json.loads((run / "summary.json").read_text())["num_env_steps"] == 8
    saved(tmp_path, seed=1)
    with pytest.raises(ValueError, match=r"settings.given.base: "):
        purerl.load(run)
    with pytest.raises(SystemExit):
        command_line.main(EXPERIMENT, [*resume, "12"])
    assert "had other settings (settings.given.base: " in re.sub(r"[\s\u2502]+", " ", capsys.readouterr().err)
