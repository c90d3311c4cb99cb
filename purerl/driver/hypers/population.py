"""Population-based training (Jaderberg et al. 2017, arXiv 1711.09846).

The members of a population train side by side, each with its own hyperparameters. Now and then the worst copy the best
(exploit) and change what they copied a little (explore).
"""

import dataclasses
import math
from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp

from purerl.driver.hypers.names import check_may_change, fold_in_name
from purerl.ranges import Range, check_hyper, range_of
from purerl.types import PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class PBT:
    """How a population evolves: truncation selection, and perturbation by a factor.

    Raises:
        ValueError: at construction, for a value outside its range.
    """

    every: int
    """Environment steps of each member between selections."""
    names: tuple[str, ...]
    """Hyperparameters that evolve. One that is 0 stays 0."""
    fraction: float = 0.2
    """Share of the members that is replaced, and share that they copy, in (0, 0.5]; at least one member."""
    factors: tuple[float, ...] = (0.8, 1.25)
    """A copied hyperparameter is multiplied by one of these, each as likely; > 0."""
    bounds: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    """Lowest and highest value by name, inside the range that a hyperparameter declares; without one, that range."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"PBT.every = {self.every}: it must be at least 1 environment step.")
        if not isinstance(self.names, tuple) or not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"PBT.names = {self.names!r}: give a tuple of different names, at least one.")
        if not 0 < self.fraction <= 0.5:
            raise ValueError(f"PBT.fraction = {self.fraction}: it must be in (0, 0.5], so that best and worst differ.")
        if not self.factors or not all(math.isfinite(factor) and factor > 0 for factor in self.factors):
            raise ValueError(f"PBT.factors = {self.factors}: give at least one, each finite and above 0.")
        for name, (low, high) in self.bounds.items():
            if name not in self.names:
                raise ValueError(f"PBT.bounds has {name!r}, which is not in names = {self.names}. Add it or drop it.")
            if not low <= high:
                raise ValueError(f"PBT.bounds[{name!r}] = ({low}, {high}): low must not be above high.")

    def num_replaced(self, num_members: int) -> int:
        """Members that a selection replaces, ``max(1, floor(fraction P))``."""
        return max(1, math.floor(self.fraction * num_members + 1e-6))  # 0.29 * 100 is a little less than 29


def check(pbt: PBT, hypers: PyTree, num_members: int) -> None:
    """Nothing, if such a population of such hyperparameters can evolve.

    Raises:
        ValueError: for fewer than two members, a name that is no field with a floating-point number, or bounds that
            reach beyond the range that a field declares.
    """
    if num_members < 2:
        raise ValueError(f"A population of {num_members} cannot evolve: give it at least 2 members.")
    check_may_change(pbt.names, hypers)
    for name in pbt.names:
        dtype = jnp.asarray(getattr(hypers, name)).dtype
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"{type(hypers).__name__}.{name} is {dtype}: only floating-point numbers evolve.")
        for end in pbt.bounds.get(name, ()):
            check_hyper(f"{type(hypers).__name__}.{name}, an end of PBT.bounds,", end, _ranges(hypers)[name])


def exploit_and_explore(
    pbt: PBT, scores: jax.Array, hypers: PyTree, states: PyTree, key: jax.Array
) -> tuple[PyTree, PyTree, jax.Array]:
    """One selection. Members that are not replaced keep everything, bit for bit.

    Args:
        pbt: how.
        scores: ``[P]``, the higher the better; NaN, from a member that diverged, is worst. Ties go to the lower index.
        hypers: of the members, leaves ``[P, ...]``.
        states: of the members, leaves ``[P, ...]``, typed keys included.
        key: typed key.

    Returns:
        Hyperparameters and states afterwards, and each member's parent ``[P]`` int32: itself, if it stays.

    Raises:
        ValueError: as :func:`check`, or for a leaf without the axis P.

    Source: section 4.1.1, "truncation selection" and "perturb".
    """
    num_members = _num_members(scores, hypers, states)
    check(pbt, hypers, num_members)
    exploit_key, explore_key = jax.random.split(key)
    parents = exploit(scores, pbt.num_replaced(num_members), exploit_key)
    replaced = parents != jnp.arange(num_members)
    hypers, states = jax.tree.map(lambda leaf: leaf[parents], (hypers, states))
    changed = jax.vmap(partial(explore, pbt))(hypers, jax.random.split(explore_key, num_members))
    return jax.vmap(_where)(replaced, changed, hypers), states, parents


def exploit(scores: jax.Array, num_replaced: int, key: jax.Array) -> jax.Array:
    """The parent of each member by truncation selection, ``[P]`` int32.

    Each of the ``num_replaced`` worst copies one of as many best, drawn uniformly; no parent has the score NaN, and
    where all have, nobody copies.
    """
    num_members = scores.shape[0]
    members = jnp.arange(num_members, dtype=jnp.int32)
    best_first = jnp.argsort(-scores, stable=True).astype(jnp.int32)  # NaN comes last
    rank = jnp.zeros_like(members).at[best_first].set(members)
    num_parents = jnp.minimum(num_replaced, jnp.sum(~jnp.isnan(scores)))
    drawn = best_first[jax.random.randint(key, (num_members,), 0, jnp.maximum(num_parents, 1))]
    loses = (rank >= num_members - num_replaced) & (num_parents > 0)
    return jnp.where(loses, drawn, members)


def explore(pbt: PBT, hypers: PyTree, key: jax.Array) -> PyTree:
    """One member's hyperparameters, each of ``pbt.names`` multiplied by a random factor.

    The product is clipped to its bounds, or else to the range that the field declares.
    """
    ranges = _ranges(hypers)

    def perturb(name: str) -> jax.Array:
        value = getattr(hypers, name)
        factor = jax.random.choice(fold_in_name(key, name), jnp.asarray(pbt.factors, value.dtype))
        range_ = ranges[name]
        ends = (None, None) if range_ is None else range_.ends(value.dtype)
        return jnp.clip(value * factor, *pbt.bounds.get(name, ends))

    return hypers.replace(**{name: perturb(name) for name in pbt.names})


def _ranges(hypers: PyTree) -> dict[str, Range | None]:
    return {field.name: range_of(field) for field in dataclasses.fields(hypers)}


def _where(flag: jax.Array, yes: PyTree, no: PyTree) -> PyTree:
    return jax.tree.map(partial(jnp.where, flag), yes, no)


def _num_members(scores: jax.Array, hypers: PyTree, states: PyTree) -> int:
    if jnp.ndim(scores) != 1:
        raise ValueError(f"scores has shape {jnp.shape(scores)}: it must be [P], one for each member.")
    (num_members,) = jnp.shape(scores)
    for path, leaf in jax.tree.leaves_with_path({"hypers": hypers, "states": states}):
        if jnp.shape(leaf)[:1] != (num_members,):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise ValueError(
                f"{name} has shape {jnp.shape(leaf)}, but there are {num_members} scores: axis P is missing."
            )
    return num_members
