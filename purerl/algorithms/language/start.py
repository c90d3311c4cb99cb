"""What a run of reinforcement learning from language begins with, and what it is held against.

    base given     the parameters of an earlier run: shared by all seeds, no part of a program's text or a checkpoint
    otherwise      each seed's own network, after ``warm_up_steps`` steps of supervised fine-tuning inside ``init``

The reference policy of a KL penalty is the policy at the start, of either kind.
"""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purerl import agent_file, optimizers
from purerl.algorithms.language.answers import demonstrate
from purerl.algorithms.language.sft import loss_of
from purerl.language.tasks import Task
from purerl.nets.language_model import LanguageModel
from purerl.types import PyTree
from purerl.update import descend, mean_gradient


def base_of(path: str | None, given: PyTree | None, model: LanguageModel) -> PyTree | None:
    """The base: parameters that were given, or those of the agent in a file; None where there is neither.

    Args:
        path: a ``.safetensors`` file that ``agent.save`` or ``purerl export`` wrote, of any learner of language.
        given: parameters.
        model: that begins with them.

    Raises:
        ValueError: if there are both, or parameters of other shapes than the model's.
        FileNotFoundError: if there is no such file.
    """
    if path is None and given is None:
        return None
    if path is not None and given is not None:
        raise ValueError(f"base = {path!r}, but parameters were given as well: take one of them.")
    base = given if path is None else getattr(agent_file.read(path).state, "params", None)
    wanted = jax.eval_shape(model.init, jax.random.key(0))
    shapes = [
        {jax.tree_util.keystr(at): jnp.shape(leaf) for at, leaf in jax.tree.leaves_with_path(params)}
        for params in (base, wanted)
    ]
    for name in sorted({*shapes[0], *shapes[1]}):
        found, expected = (shape.get(name, "nothing") for shape in shapes)
        if found != expected:
            raise ValueError(
                f"base{'' if path is None else f' = {path}'}: {name} is {found}, but the model has {expected} there. "
                "Take the sizes that the base was trained with."
            )
    return base


def first_params(
    task: Task,
    model: LanguageModel,
    base: PyTree | None,
    warm_up_steps: int,
    warm_up_batch_size: int,
    hypers: Any,
    key: jax.Array,
) -> PyTree:
    """Parameters at the start: the base as it is, or the network's own after so many steps of imitation.

    Args:
        task: what is asked; with an ``answer`` where there are steps.
        model: what learns.
        base: parameters to begin with; None: those of ``model.init`` and the steps.
        warm_up_steps: static.
        warm_up_batch_size: demonstrations a step, static.
        hypers: with ``warm_up_learning_rate``, ``max_grad_norm`` and ``adam_epsilon``.
        key: of the network and the demonstrations.
    """
    if base is not None:
        return jax.tree.map(jnp.asarray, base)
    params_key, data_key = jax.random.split(key)
    params = model.init(params_key)
    if not warm_up_steps:
        return params
    optimizer, loss = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon), loss_of(model, "token")

    def step(carry: tuple, key: jax.Array) -> tuple[tuple, None]:
        params, opt_state = carry
        grads, _ = mean_gradient(loss, params, demonstrate(task, key, warm_up_batch_size))
        return descend(optimizer, hypers.warm_up_learning_rate, params, opt_state, grads), None

    keys = jax.random.split(data_key, warm_up_steps)
    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), keys)
    return params


def kept_reference(base: PyTree | None, params: PyTree) -> PyTree:
    """What the state keeps of the reference: nothing where all seeds share the base, else a copy of its parameters."""
    return jax.tree.map(jnp.copy, params) if base is None else ()


def reference(base: PyTree | None, kept: PyTree) -> PyTree:
    """Parameters of the reference policy, from the base or from what the state keeps."""
    return kept if base is None else jax.tree.map(jnp.asarray, base)


def record(**fingerprints: str | None) -> dict[str, dict[str, str]]:
    """What the settings of a run say of what it was given, by name: fingerprints, without those that are None.

    A run that goes on with another base, from the same file even, is refused by them.
    """
    given = {name: text for name, text in fingerprints.items() if text is not None}
    return {"given": given} if given else {}


def fingerprint(params: PyTree | None) -> str | None:
    """Fingerprint of parameters, SHA-256 of their names and bits, for the record of a run; None of None."""
    if params is None:
        return None
    digest = hashlib.sha256()
    for at, leaf in jax.tree.leaves_with_path(params):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(at)} {array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
