"""Decoder-only transformer, small enough to read: one config covers the models that GPT-2 and Llama began.

Tokens come with a bool mask, and nothing else says what is padding: a masked token is seen by none, and positions
count the tokens that are there, ``cumsum(mask) - 1``. Text is extended a piece at a time. What was computed of the
text so far is a :class:`Cache`, and a forward pass over whole texts is one extension of an empty cache, so the two
are one program::

    decoder = Decoder(DecoderConfig(vocab_size=16))
    params = decoder.init(key, ids, mask)
    logits = decoder.apply(params, ids, mask)                    # [B, N, V]
    policy = DecoderPolicy(decoder, params)                      # for purerl.language.generate and score
"""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from purerl.config_checks import check_config, check_multiples
from purerl.nets.mixture import Mixture
from purerl.ranges import setting
from purerl.types import PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Sizes and parts of a :class:`Decoder`. The defaults are those of Llama, Qwen3 sets ``qk_norm``; for GPT-2 take
    ``norm="layer", position="learnt", feed_forward="gelu", qkv_bias=True, bias=True``.

    Raises:
        ValueError: if a field is out of its range, or heads do not fit each other.
    """

    vocab_size: int | None = None
    """Tokens there are, V; None: as many as the task has."""
    size: int = 64
    """Of the residual stream, D."""
    num_layers: int = 2
    """Blocks of attention and feed-forward layer."""
    num_heads: int = 4
    """Heads of queries."""
    num_kv_heads: int = 4
    """Heads of keys and values, shared by equal groups of queries; divides num_heads."""
    head_size: int = 16
    """Of a query, a key or a value, H."""
    feed_forward_size: int = 256
    """Of the hidden layer between."""
    max_positions: int = 1024
    """Rows of the table of learnt positions; nothing else has such a limit."""
    norm: Literal["rms", "layer"] = "rms"
    """Normalisation before each layer."""
    norm_epsilon: float = setting(1e-6, above=0)
    """Its denominator constant."""
    position: Literal["rope", "learnt"] = "rope"
    """Positions as angles of queries and keys, or as a table added to the tokens'."""
    rope_base: float = setting(10_000.0, above=1)
    """Longest wavelength of these angles over 2 pi, in tokens."""
    feed_forward: Literal["swiglu", "geglu", "gelu"] = "swiglu"
    """Gated by SiLU or GELU, or GELU alone."""
    num_experts: int = 1
    """Feed-forward layers in a block, E; 1: a layer and no router."""
    experts_per_token: int = 1
    """How many of them a token is routed to, K."""
    qkv_bias: bool = False
    """Biases of queries, keys and values."""
    bias: bool = False
    """Biases of the attention's output and of the feed-forward layers."""
    qk_norm: bool = False
    """RMS norm of each head's queries and keys."""
    tied_head: bool = True
    """Logits by the table of embeddings."""

    def __post_init__(self) -> None:
        check_config(self)
        check_multiples(self, "num_kv_heads", self.num_kv_heads, "num_heads")
        if self.position == "rope":
            check_multiples(self, "the pair that RoPE turns", 2, "head_size")
        if self.experts_per_token > self.num_experts:
            raise ValueError(
                f"DecoderConfig.experts_per_token = {self.experts_per_token} is more than num_experts = "
                f"{self.num_experts}: a token takes each expert once."
            )


class Cache(NamedTuple):
    """Keys and values of the text so far, in S slots of which the first are filled; as many in every row.

    Every leaf but ``filled`` has rows of the batch as its first axis. There is one pair of arrays a layer: a stack of
    all layers would have to be cut apart and put together at every token.
    """

    layers: tuple[tuple[jax.Array, jax.Array], ...]  # key and value, [B, S, K, H] each
    mask: jax.Array  # [B, S] bool, where there is a token
    filled: jax.Array  # [] int32
    routes: jax.Array | None = None  # [B, S, L, K] int16: experts of each token, see `Mixture`; -1: yet to be chosen


def empty_cache(config: DecoderConfig, batch_size: int, num_slots: int, dtype: jax.typing.DTypeLike = float) -> Cache:
    """A cache of no text: B rows of S slots.

    Raises:
        ValueError: if there are more slots than learnt positions.
    """
    if config.position == "learnt" and num_slots > config.max_positions:
        raise ValueError(
            f"A text of {num_slots} tokens is longer than DecoderConfig.max_positions = {config.max_positions}, and "
            "learnt positions end there."
        )
    empty = jnp.zeros((batch_size, num_slots, config.num_kv_heads, config.head_size), dtype)
    layers = tuple((empty, empty) for _ in range(config.num_layers))
    shape = (batch_size, num_slots, config.num_layers, config.experts_per_token)
    routes = jnp.full(shape, -1, jnp.int16) if config.num_experts > 1 else None
    return Cache(layers, jnp.zeros((batch_size, num_slots), bool), jnp.int32(0), routes)


class Decoder(nn.Module):
    """Decoder-only transformer with pre-norm blocks: ``(ids [B, N] int, mask [B, N] bool) -> logits [B, N, V]``.

    Logits at a token are those of the next one, and depend on the tokens up to it alone. At masked tokens they are
    finite and mean nothing.

    Source: Vaswani et al. 2017; Radford et al. 2019; Touvron et al. 2023.
    """

    config: DecoderConfig

    def setup(self) -> None:
        config = self.config
        vocab_size = _vocab_size(config)
        self.embed = _table(vocab_size, config.size)
        if config.position == "learnt":
            self.position = _table(config.max_positions, config.size)
        self.blocks = [Block(config) for _ in range(config.num_layers)]
        self.norm = _norm(config)
        if not config.tied_head:
            self.head = _dense(vocab_size, False)

    def __call__(self, ids: jax.Array, mask: jax.Array) -> jax.Array:
        batch_size, length = ids.shape
        cache = empty_cache(self.config, batch_size, length, self.embed.embedding.dtype)
        return self.logits(self.extend(cache, ids, mask)[1])

    def extend(self, cache: Cache, ids: jax.Array, mask: jax.Array) -> tuple[Cache, jax.Array]:
        """``(cache, ids [B, N], mask [B, N]) -> (cache, features [B, N, D])``: N more tokens, which must find room."""
        first, num_slots = cache.filled, cache.mask.shape[1]
        positions = jnp.sum(cache.mask, axis=1, keepdims=True) + jnp.cumsum(mask, axis=1) - 1
        positions = jnp.maximum(positions, 0)  # of padding before the text, which nobody sees
        held = jax.lax.dynamic_update_slice_in_dim(cache.mask, mask, first, axis=1)
        slots = first + jnp.arange(ids.shape[1])
        visible = held[:, None, None] & (jnp.arange(num_slots) <= slots[:, None])  # [B, 1, N, S]
        x = self.embed(ids)
        if self.config.position == "learnt":
            x = x + self.position(positions)
        kept = None if cache.routes is None else jax.lax.dynamic_slice_in_dim(cache.routes, first, len(slots), axis=1)
        layers, taken = [], []
        for i, (block, layer) in enumerate(zip(self.blocks, cache.layers, strict=True)):
            x, layer, routes = block(x, layer, first, positions, visible, None if kept is None else kept[:, :, i])
            layers.append(layer)
            taken.append(routes)
        routes = cache.routes
        if routes is not None:
            new = jnp.stack(taken, axis=2).astype(routes.dtype)
            routes = jax.lax.dynamic_update_slice_in_dim(routes, new, first, axis=1)
        return Cache(tuple(layers), held, first + ids.shape[1], routes), self.norm(x)

    def logits(self, features: jax.Array) -> jax.Array:
        """``[..., D] -> [..., V]``."""
        return self.embed.attend(features) if self.config.tied_head else self.head(features)


class Block(nn.Module):
    """Pre-norm residual block: ``x += attention(norm(x)); x += feed_forward(norm(x))``, and its layer of a cache."""

    config: DecoderConfig

    @nn.compact
    def __call__(
        self,
        x: jax.Array,  # [B, N, D]
        layer: tuple[jax.Array, jax.Array],
        first: jax.Array,
        positions: jax.Array,
        visible: jax.Array,
        routes: jax.Array | None,  # [B, N, K], as of a cache
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array], jax.Array | None]:
        config = self.config
        attended, layer = Attention(config)(_norm(config)(x), layer, first, positions, visible)
        x = x + attended
        normed = _norm(config)(x)
        if config.num_experts == 1:
            return x + FeedForward(config)(normed), layer, None
        expert = FeedForward(config, parent=None)
        mixed, routes = Mixture(expert, config.num_experts, config.experts_per_token)(normed, routes)
        return x + mixed, layer, routes


class Attention(nn.Module):
    """Attention of N tokens to all that are visible, grouped queries: ``softmax(q k / sqrt(H)) v``, heads of size H.

    Source: Vaswani et al. 2017; Ainslie et al. 2023, of grouped queries; Henry et al. 2020, of ``qk_norm``.
    """

    config: DecoderConfig

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        layer: tuple[jax.Array, jax.Array],
        first: jax.Array,
        positions: jax.Array,
        visible: jax.Array,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        config = self.config
        query, key, value = (
            _dense((heads, config.head_size), config.qkv_bias, name)(x)
            for name, heads in (("q", config.num_heads), ("k", config.num_kv_heads), ("v", config.num_kv_heads))
        )
        if config.qk_norm:
            query, key = (_rms(config, f"{name}_norm")(x) for name, x in (("q", query), ("k", key)))
        if config.position == "rope":
            query, key = (rope(x, positions, config.rope_base) for x in (query, key))
        keys, values = (
            jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), first, axis=1)
            for old, new in zip(layer, (key, value), strict=True)
        )
        attended = jax.nn.dot_product_attention(query.astype(keys.dtype), keys, values, mask=visible)
        return _residual(config, (-2, -1), "o")(attended), (keys, values)


class FeedForward(nn.Module):
    """Feed-forward layer: ``gelu(x A) B``, or gated ``(f(x A) * x C) B`` with f = silu (SwiGLU) or gelu (GeGLU).

    GELU is the approximation by tanh, as in GPT-2 and Gemma.

    Source: Hendrycks & Gimpel 2016; Shazeer 2020.
    """

    config: DecoderConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        config = self.config
        hidden = _dense(config.feed_forward_size, config.bias, "up")(x)
        if config.feed_forward == "gelu":
            hidden = nn.gelu(hidden)
        else:
            gate = _dense(config.feed_forward_size, config.bias, "gate")(x)
            hidden = hidden * (nn.silu(gate) if config.feed_forward == "swiglu" else nn.gelu(gate))
        return _residual(config, -1, "down")(hidden)


def rope(x: jax.Array, positions: jax.Array, base: float) -> jax.Array:
    """Rotary positions: pair ``(x_i, x_{i + H/2})`` turned by the angle ``p base^(-2i / H)``; products see distances.

    The pairs are the two halves of a head, as in Llama's published weights; others hold neighbours, permuted.

    Args:
        x: ``[B, N, heads, H]``, H even.
        positions: ``[B, N]`` int, p.
        base: longest wavelength over 2 pi, greater than 1.

    Returns:
        ``[B, N, heads, H]``.

    Source: Su et al. 2021.
    """
    half = x.shape[-1] // 2
    dtype = jnp.promote_types(x.dtype, jnp.float32)  # of angles: half precision holds no position beyond 256
    angle = positions[..., None, None].astype(dtype) * base ** (-jnp.arange(half, dtype=dtype) / half)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    left, right = x[..., :half], x[..., half:]
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1).astype(x.dtype)


class DecoderPolicy(NamedTuple):
    """A decoder with its parameters, as a language policy: how text begins, goes on, and what comes next."""

    decoder: Decoder
    params: PyTree
    routes: jax.Array | None = None  # [B, S, L, K]: experts that the coming text is to take, as `generate` returns them

    def start(self, batch_size: int, num_slots: int) -> Cache:
        """No text: B rows with room for S tokens.

        Raises:
            ValueError: if there are routes, and they are of other tokens.
        """
        dtype = self.params["params"]["embed"]["embedding"].dtype
        cache = empty_cache(self.decoder.config, batch_size, num_slots, dtype)
        if self.routes is None:
            return cache
        wanted = None if cache.routes is None else cache.routes.shape
        if self.routes.shape != wanted:
            raise ValueError(
                f"DecoderPolicy.routes {self.routes.shape} are those of another text: it must be {wanted}."
            )
        return cache._replace(routes=self.routes)

    def extend(self, state: Cache, ids: jax.Array, mask: jax.Array) -> tuple[Cache, jax.Array]:
        """As :meth:`Decoder.extend`."""
        return self.decoder.apply(self.params, state, ids, mask, method="extend")

    def logits(self, features: jax.Array) -> jax.Array:
        """As :meth:`Decoder.logits`."""
        return self.decoder.apply(self.params, features, method="logits")


# --- layers with their initial weights --------------------------------------------------------------------


def _vocab_size(config: DecoderConfig) -> int:
    if config.vocab_size is None:
        raise ValueError("DecoderConfig.vocab_size = None: a decoder needs to know how many tokens there are.")
    return config.vocab_size


def _table(rows: int, size: int) -> nn.Embed:
    return nn.Embed(rows, size, embedding_init=nn.initializers.normal(0.02))


def _dense(features: int | tuple[int, ...], bias: bool, name: str | None = None) -> nn.DenseGeneral:
    return nn.DenseGeneral(features, use_bias=bias, name=name)


def _residual(config: DecoderConfig, axis: int | tuple[int, ...], name: str) -> nn.DenseGeneral:
    """What adds to the residual stream, smaller the more layers do (Radford et al. 2019)."""
    init = nn.initializers.variance_scaling(0.5 / config.num_layers, "fan_in", "truncated_normal")
    return nn.DenseGeneral(config.size, axis, use_bias=config.bias, kernel_init=init, name=name)


def _norm(config: DecoderConfig) -> nn.Module:
    return nn.LayerNorm(config.norm_epsilon) if config.norm == "layer" else _rms(config)


def _rms(config: DecoderConfig, name: str | None = None) -> nn.RMSNorm:
    return nn.RMSNorm(config.norm_epsilon, name=name)
