"""What a run begins with: a base as it is, or a network that has imitated for a while."""

import dataclasses

import jax
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.language.sft import SFTConfig, SFTHypers, sft
from purerl.algorithms.language.start import base_of, fingerprint, first_params, kept_reference, reference
from purerl.nets.language_model import decoder_model
from tests.conformance.cases.language import DECODER
from tests.support.tabular_task import table_model, table_task


class _Hypers(SFTHypers):
    warm_up_learning_rate: float = 0.1


def _first(base, num_steps):
    model = table_model()
    return first_params(table_task(), model, base, num_steps, 32, _Hypers(), jax.random.key(0))


def test_imitation_begins_a_run_without_a_base():
    """After some steps on demonstrations that are all alike in frequency, the stop token is no longer what it was."""
    untrained, warm = _first(None, 0), _first(None, 30)
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


def test_a_base_comes_from_the_file_of_an_agent(tmp_path):
    """Its parameters, bit for bit; other sizes are refused by the name of what differs, and so are two bases."""
    task, file = envs.make("addition"), str(tmp_path / "agent.safetensors")
    algorithm = sft(task, SFTConfig(decoder=DECODER))
    state = jax.jit(algorithm.init)(SFTHypers(), jax.random.key(0))
    algorithm.agent(SFTHypers(), state).save(file)
    model = decoder_model(DECODER, len(task.vocab))
    base = base_of(file, None, model)
    jax.tree.map(np.testing.assert_array_equal, base, state.params)
    assert base_of(None, base, model) is base and base_of(None, None, model) is None
    with pytest.raises(ValueError, match=r"agent.safetensors: .*\['k'\]\['kernel'\] is .* but the model has"):
        base_of(file, None, decoder_model(dataclasses.replace(DECODER, head_size=8), len(task.vocab)))
    with pytest.raises(ValueError, match=r"parameters were given as well"):
        base_of(file, base, model)
