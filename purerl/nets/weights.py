"""Published weights in a decoder: what Llama (SmolLM2 too), Qwen2, Qwen3 and GPT-2 call their layers.

A model is a folder with ``config.json`` and ``*.safetensors``, as hubs hand it out, and as ``save_pretrained`` of
transformers writes it. Nothing in it is executed::

    policy = from_safetensors("SmolLM2-135M-Instruct")
    text = generate(policy, ...)
"""

import json
import math
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from flax.traverse_util import flatten_dict, unflatten_dict

from purerl.nets.decoder import Decoder, DecoderConfig, DecoderPolicy
from purerl.types import PyTree

Family = Literal["llama", "qwen2", "qwen3", "gpt2"]

# Our name of a layer -> theirs. The number of a block is #.
_LLAMA = {
    "embed": "model.embed_tokens",
    "norm": "model.norm",
    "head": "lm_head",
    "blocks_#/RMSNorm_0": "model.layers.#.input_layernorm",
    "blocks_#/RMSNorm_1": "model.layers.#.post_attention_layernorm",
}
_LLAMA |= {f"blocks_#/Attention_0/{x}": f"model.layers.#.self_attn.{x}_proj" for x in ("q", "k", "v", "o")}
_LLAMA |= {f"blocks_#/Attention_0/{x}": f"model.layers.#.self_attn.{x}" for x in ("q_norm", "k_norm")}
_LLAMA |= {f"blocks_#/FeedForward_0/{x}": f"model.layers.#.mlp.{x}_proj" for x in ("gate", "up", "down")}
_GPT2 = {
    "embed": "wte",
    "position": "wpe",
    "norm": "ln_f",
    "head": "lm_head",
    "blocks_#/LayerNorm_0": "h.#.ln_1",
    "blocks_#/LayerNorm_1": "h.#.ln_2",
    "blocks_#/Attention_0/o": "h.#.attn.c_proj",
    "blocks_#/FeedForward_0/up": "h.#.mlp.c_fc",
    "blocks_#/FeedForward_0/down": "h.#.mlp.c_proj",
}
_GPT2 |= {f"blocks_#/Attention_0/{x}": f"h.#.attn.c_attn.{x}" for x in ("q", "k", "v")}
_BUFFERS = (".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias")  # of old files: what is computed from nothing
_GATED: Mapping[str, Any] = {"silu": "swiglu", "gelu_pytorch_tanh": "geglu"}
_PLAIN: Mapping[str, Any] = {"gelu_new": "gelu"}
_FIXED = {  # settings that change the function, and the one value that a decoder knows
    "use_sliding_window": False,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}


def from_safetensors(
    path: str | os.PathLike[str], family: Family | None = None, dtype: jax.typing.DTypeLike = jnp.float32
) -> DecoderPolicy:
    """A decoder with the weights of a folder.

    Args:
        path: of ``config.json`` and one or more ``*.safetensors``.
        family: whose settings and names they are; None: ``model_type`` in ``config.json``.
        dtype: of the parameters.

    Returns:
        decoder and parameters, as a policy.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a tensor is missing, unknown or of a wrong shape, or the settings ask for what no decoder has.
    """
    folder = pathlib.Path(path)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    family = settings.get("model_type") if family is None else family
    if family not in get_args(Family):
        raise ValueError(f"{folder}: family {family!r}: choose one of {', '.join(get_args(Family))}.")
    try:
        config = decoder_config(settings, family)
        return DecoderPolicy(Decoder(config), decoder_params(config, _read(folder), family, dtype))
    except ValueError as e:
        raise ValueError(f"{folder}: {e}") from e


def decoder_config(settings: Mapping[str, Any], family: Family) -> DecoderConfig:
    """The config of a decoder from the entries of a ``config.json``.

    Raises:
        ValueError: if an entry is missing, or asks for what no decoder has.
    """
    for name, known in _FIXED.items():
        if settings.get(name, known) != known:
            raise ValueError(f"config.json: {name} = {settings[name]}, and the decoder knows {known} alone.")
    try:
        return _gpt2_config(settings) if family == "gpt2" else _llama_config(settings, family)
    except KeyError as e:
        raise ValueError(f"config.json has no entry {e}.") from None


def _llama_config(settings: Mapping[str, Any], family: Family) -> DecoderConfig:
    rope = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise ValueError(f"config.json scales its positions, {rope}; the decoder has plain ones.")
    biased = settings.get("attention_bias", False)
    if biased != settings.get("mlp_bias", False):
        raise ValueError("config.json: of attention_bias and mlp_bias one is true, and the decoder knows both or none.")
    num_heads = settings["num_attention_heads"]
    return DecoderConfig(
        vocab_size=settings["vocab_size"],
        size=settings["hidden_size"],
        num_layers=settings["num_hidden_layers"],
        num_heads=num_heads,
        num_kv_heads=settings.get("num_key_value_heads") or num_heads,
        head_size=settings.get("head_dim") or settings["hidden_size"] // num_heads,
        feed_forward_size=settings["intermediate_size"],
        max_positions=settings["max_position_embeddings"],
        norm_epsilon=settings["rms_norm_eps"],
        rope_base=float(rope.get("rope_theta") or settings.get("rope_theta", 10_000)),
        feed_forward=_activation(settings["hidden_act"], _GATED),
        qkv_bias=biased or family == "qwen2",
        bias=biased,
        qk_norm=family == "qwen3",
        tied_head=settings.get("tie_word_embeddings", False),
    )


def _gpt2_config(settings: Mapping[str, Any]) -> DecoderConfig:
    size, num_heads = settings["n_embd"], settings["n_head"]
    return DecoderConfig(
        vocab_size=settings["vocab_size"],
        size=size,
        num_layers=settings["n_layer"],
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_size=size // num_heads,
        feed_forward_size=settings.get("n_inner") or 4 * size,
        max_positions=settings["n_positions"],
        norm="layer",
        norm_epsilon=settings["layer_norm_epsilon"],
        position="learnt",
        feed_forward=_activation(settings["activation_function"], _PLAIN),
        qkv_bias=True,
        bias=True,
        tied_head=settings.get("tie_word_embeddings", True),
    )


def _activation(name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise ValueError(f"config.json: activation {name!r}: the decoder knows {', '.join(known)}.")
    return known[name]


def decoder_params(
    config: DecoderConfig, tensors: Mapping[str, np.ndarray], family: Family, dtype: jax.typing.DTypeLike = jnp.float32
) -> PyTree:
    """The parameters of a decoder from tensors by their published names.

    Kernels of linear layers are stored transposed, but for those of GPT-2, which has queries, keys and values in one.

    Raises:
        ValueError: if a tensor is missing, unknown or of a wrong shape; all of them are named.
    """
    left = _plain(tensors, family)
    decoder, ids = Decoder(config), jnp.zeros((1, 1), int)
    shapes = jax.eval_shape(lambda: decoder.init(jax.random.key(0), ids, ids == 0))
    embedding = left.get(_published("embed/embedding", family), np.zeros(0))
    if config.tied_head and np.array_equal(left.get("lm_head.weight", ()), embedding):
        del left["lm_head.weight"]  # stored twice
    leaves, wrong = {}, []
    for ours, leaf in flatten_dict(shapes["params"], sep="/").items():
        name, shape = _published(ours, family), _matrix(ours, leaf.shape)
        transposed = ours.endswith("/kernel") and (family != "gpt2" or ours == "head/kernel")
        shape = shape[::-1] if transposed else shape
        tensor = left.pop(name, None)
        if tensor is None or tensor.shape != shape:
            wrong.append(f"{name} is {'missing' if tensor is None else f'{tensor.shape} and not {shape}'}")
        else:
            tensor = tensor.T if transposed else tensor
            leaves[ours] = jnp.asarray(tensor.reshape(leaf.shape), dtype)
    wrong += [f"{name} is not known" for name in left]
    if wrong:
        raise ValueError(f"{len(wrong)} tensors do not fit this {family}: {'; '.join(sorted(wrong))}.")
    return {"params": unflatten_dict(leaves, sep="/")}


def _plain(tensors: Mapping[str, np.ndarray], family: Family) -> dict[str, np.ndarray]:
    """Tensors without buffers; of GPT-2 also without a prefix, and queries, keys and values apart."""
    result: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if name.endswith(_BUFFERS):
            continue
        if family == "gpt2":
            name = name.removeprefix("transformer.")
            if ".c_attn." in name:
                for part, third in zip("qkv", np.array_split(tensor, 3, axis=-1), strict=True):
                    result[name.replace(".c_attn.", f".c_attn.{part}.")] = third
                continue
        result[name] = tensor
    return result


def _published(ours: str, family: Family) -> str:
    """The published name of one of our parameters, ``blocks_3/Attention_0/q/kernel``."""
    layer, _, kind = ours.rpartition("/")
    number = re.search(r"blocks_(\d+)/", layer)
    name = (_GPT2 if family == "gpt2" else _LLAMA)[re.sub(r"blocks_\d+/", "blocks_#/", layer)]
    return f"{name.replace('#', number[1] if number else '')}.{'bias' if kind == 'bias' else 'weight'}"


def _matrix(ours: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a parameter with one axis for all inputs and one for all outputs."""
    if ours.endswith("/bias"):
        return (math.prod(shape),)
    if not ours.endswith("/kernel"):
        return shape
    split = len(shape) - 1 if ours.endswith("/o/kernel") else 1
    return math.prod(shape[:split]), math.prod(shape[split:])


def _read(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Tensors of all ``*.safetensors`` of a folder."""
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise FileNotFoundError(
            f"{folder} has no *.safetensors. Other kinds of files can hold programs and are not read."
        )
    tensors: dict[str, np.ndarray] = {}
    for path in paths:
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no dict
        except safetensors.SafetensorError as e:
            raise ValueError(f"{path.name} cannot be read: {e}") from None
    return tensors
