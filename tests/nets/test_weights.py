"""Published weights: the logits of another library, and files that do not fit."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from purerl.nets import weights
from tests.oracles import transformers_logits as oracle

FAMILIES = ("llama", "qwen2", "qwen3", "gpt2")
TEXTS = safetensors.numpy.load_file(oracle.TEXTS)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers(family):
    """Random models of every family, with padding on the left: names, transposes, heads, positions, norms, biases."""
    decoder, params, _ = weights.from_safetensors(oracle.FOLDER / family)
    logits = jax.jit(decoder.apply)(params, TEXTS["ids"], TEXTS["mask"])
    expected, there = TEXTS[family], TEXTS["mask"]
    assert np.std(expected[there]) > 0.5
    np.testing.assert_allclose(np.asarray(logits)[there], expected[there], atol=1e-5 * np.abs(expected[there]).max())


def test_texts_are_those_of_the_script():
    """Rows of different lengths, whose padding is a token of the text."""
    ids, mask = oracle.texts()
    np.testing.assert_array_equal(TEXTS["ids"], ids)
    np.testing.assert_array_equal(TEXTS["mask"], mask)
    assert sorted(mask.sum(axis=1)) == sorted(oracle.LENGTHS)
    assert np.isin(ids[~mask], ids[mask]).all()


def test_precision_is_a_choice():
    """Of the parameters, whatever that of the file, which for one is half."""
    for dtype in (jnp.float32, jnp.bfloat16):
        params = weights.from_safetensors(oracle.FOLDER / "qwen2", dtype=dtype).params
        assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype(dtype)}


@pytest.fixture
def folder(tmp_path):
    """A copy of a model, with other settings and tensors."""

    def copy(family, settings=(), tensors=lambda tensors: tensors):
        shutil.copytree(oracle.FOLDER / family, tmp_path / family)
        config = tmp_path / family / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), **dict(settings)}))
        everything = {}
        for path in sorted(tmp_path.glob(f"{family}/*.safetensors")):
            everything |= safetensors.numpy.load_file(path)
            path.unlink()
        safetensors.numpy.save_file(tensors(everything), tmp_path / family / "model.safetensors")
        return tmp_path / family

    return copy


def test_old_files_and_stored_heads_are_read(folder):
    """GPT-2 as first published, without a prefix and with its buffers; a tied head that is stored all the same."""

    def old(tensors):
        buffers = {
            f"h.{i}.attn.{name}": np.ones((1, 1, 12, 12), np.float32)
            for i in range(2)
            for name in ("bias", "masked_bias")
        }
        plain = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
        return {**plain, **buffers, "lm_head.weight": plain["wte.weight"]}

    expected = weights.from_safetensors(oracle.FOLDER / "gpt2").params
    path = folder("gpt2", (), old)
    jax.tree.map(np.testing.assert_array_equal, weights.from_safetensors(path).params, expected)
    (path / "config.json").write_text((path / "config.json").read_text().replace('ings": true', 'ings": false'))
    params = weights.from_safetensors(path).params["params"]
    np.testing.assert_array_equal(params["head"]["kernel"], params["embed"]["embedding"].T)


def test_tensors_that_do_not_fit_are_all_named(folder):
    """Missing, unknown and of a wrong shape, in one error; a head that is stored and differs is unknown."""

    def broken(tensors):
        tensors = dict(tensors)
        del tensors["model.norm.weight"]
        tensors["model.layers.1.self_attn.q_proj.weight"] = np.zeros((16, 15), np.float32)
        tensors["model.layers.2.mlp.up_proj.weight"] = np.zeros((20, 16), np.float32)
        return tensors

    with pytest.raises(ValueError, match="4 tensors do not fit this llama") as error:
        weights.from_safetensors(folder("llama", {"tie_word_embeddings": True}, broken))
    for words in (
        "model.norm.weight is missing",
        "q_proj.weight is (16, 15) and not (16, 16)",
        "model.layers.2.mlp.up_proj.weight is not known",
        "lm_head.weight is not known",
    ):
        assert words in str(error.value)
    with pytest.raises(ValueError, match="do not fit this qwen3"):
        weights.from_safetensors(oracle.FOLDER / "llama", "qwen3")


@pytest.mark.parametrize(
    ("family", "settings", "words"),
    [
        ("llama", {"model_type": "mistral"}, "choose one of llama, qwen2, qwen3, gpt2"),
        ("llama", {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5}}, "scales its positions"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": None}, "scales its positions"),
        ("llama", {"attention_bias": True}, "mlp_bias"),
        ("llama", {"hidden_act": "relu"}, "activation 'relu'"),
        ("llama", {"num_key_value_heads": 3}, "num_kv_heads = 3"),
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window = True"),
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights = False"),
    ],
)
def test_models_of_other_kinds_are_refused(folder, family, settings, words):
    """With the entry of the config, before any tensor is looked at."""
    with pytest.raises(ValueError, match=words):
        weights.from_safetensors(folder(family, settings, lambda tensors: {}))


def test_entries_that_are_missing_are_named():
    """Of a config."""
    with pytest.raises(ValueError, match="no entry 'n_embd'"):
        weights.decoder_config({"model_type": "gpt2"}, "gpt2")


def test_only_safetensors_are_read(folder):
    """A pickle is a program; broken files are said to be."""
    path = folder("gpt2")
    (path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read"):
        weights.from_safetensors(path)
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="can hold programs"):
        weights.from_safetensors(path)
    (path / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        weights.from_safetensors(path)
