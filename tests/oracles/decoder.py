"""A transformer in NumPy, one text at a time and one token after the other: no batch, no mask, no cache."""

import math
from typing import Any

import numpy as np


def logits(params: Any, config: Any, tokens: list[int]) -> np.ndarray:
    """``[N, V]`` of one text without padding, by the weights of a decoder as nested dicts, in double precision."""
    stream = [np.array(params["embed"]["embedding"][token]) for token in tokens]
    if config.position == "learnt":
        stream = [x + params["position"]["embedding"][p] for p, x in enumerate(stream)]
    for number in range(config.num_layers):
        block = params[f"blocks_{number}"]
        first, second = ("LayerNorm_0", "LayerNorm_1") if config.norm == "layer" else ("RMSNorm_0", "RMSNorm_1")
        normed = [norm(x, block[first], config) for x in stream]
        stream = [x + y for x, y in zip(stream, attention(block["Attention_0"], config, normed), strict=True)]
        normed = [norm(x, block[second], config) for x in stream]
        if config.num_experts > 1:
            stream = [x + mixture(block["Mixture_0"], config, y) for x, y in zip(stream, normed, strict=True)]
        else:
            stream = [x + feed_forward(block["FeedForward_0"], config, y) for x, y in zip(stream, normed, strict=True)]
    stream = [norm(x, params["norm"], config) for x in stream]
    if config.tied_head:
        return np.array([params["embed"]["embedding"] @ x for x in stream])
    return np.array([x @ params["head"]["kernel"] for x in stream])


def norm(x: np.ndarray, weights: Any, config: Any) -> np.ndarray:
    """RMS norm, or layer norm where there is a bias."""
    if "bias" not in weights:
        return x / math.sqrt(np.mean(x**2) + config.norm_epsilon) * weights["scale"]
    centred = x - x.mean()
    return centred / math.sqrt(np.mean(centred**2) + config.norm_epsilon) * weights["scale"] + weights["bias"]


def attention(weights: Any, config: Any, xs: list[np.ndarray]) -> list[np.ndarray]:
    """What each token takes from itself and those before it."""
    results = []
    for now in range(len(xs)):
        result = np.zeros(config.size)
        for head in range(config.num_heads):
            shared = head // (config.num_heads // config.num_kv_heads)
            query = projected(weights, config, "q", head, xs[now], now)
            scores = [query @ projected(weights, config, "k", shared, xs[s], s) for s in range(now + 1)]
            chances = np.exp(np.array(scores) / math.sqrt(config.head_size))
            chances /= chances.sum()
            taken = sum(chances[s] * projected(weights, config, "v", shared, xs[s], s) for s in range(now + 1))
            result += taken @ weights["o"]["kernel"][head]
        results.append(result + weights["o"].get("bias", 0))
    return results


def projected(weights: Any, config: Any, name: str, head: int, x: np.ndarray, position: int) -> np.ndarray:
    """Query, key or value of one head at one token."""
    y = x @ weights[name]["kernel"][:, head]
    if config.qkv_bias:
        y = y + weights[name]["bias"][head]
    if name == "v":
        return y
    if config.qk_norm:
        y = norm(y, weights[f"{name}_norm"], config)
    if config.position == "rope":
        half = len(y) // 2
        pairs = y[:half] + 1j * y[half:]
        turned = [pair * np.exp(1j * position / config.rope_base ** (2 * i / len(y))) for i, pair in enumerate(pairs)]
        y = np.concatenate([np.real(turned), np.imag(turned)])
    return y


def feed_forward(weights: Any, config: Any, x: np.ndarray) -> np.ndarray:
    """Two layers, or three with a gate."""

    def linear(name: str, y: np.ndarray) -> np.ndarray:
        return y @ weights[name]["kernel"] + weights[name].get("bias", 0)

    def gelu(y: np.ndarray) -> np.ndarray:
        return y / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))

    hidden = linear("up", x)
    if config.feed_forward == "gelu":
        hidden = gelu(hidden)
    else:
        gate = linear("gate", x)
        hidden = hidden * (gate / (1 + np.exp(-gate)) if config.feed_forward == "swiglu" else gelu(gate))
    return linear("down", hidden)


def mixture(weights: Any, config: Any, x: np.ndarray) -> np.ndarray:
    """The best experts, one after the other, each with its share of their probability."""
    chances = np.exp(x @ weights["router"]["kernel"])
    best = sorted(range(config.num_experts), key=lambda e: -chances[e])[: config.experts_per_token]
    result = np.zeros(config.size)
    for e in best:
        own = {name: {kind: array[e] for kind, array in layer.items()} for name, layer in weights["expert"].items()}
        result += chances[e] / sum(chances[best]) * feed_forward(own, config, x)
    return result
