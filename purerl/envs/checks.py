"""What is wrong with an environment, all of it at once, and what to do about it."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Var

from purerl.envs.base import Environment
from purerl.spaces import Box, Dict, Space, Text, Tuple, tree
from purerl.types import PyTree

_NUM_LANES = 4  # environments side by side in the trial run: enough to see that vmap works
_STEP_OUTPUTS = ("obs", "state", "reward", "terminated", "truncated", "info")


class Finding(NamedTuple):
    """One thing about an environment: where, what, and what to do."""

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n    remedy: {self.remedy}"


class Report(NamedTuple):
    """What :func:`check_env` found. ``errors`` break algorithms; ``notes`` are legal and worth knowing."""

    name: str
    errors: tuple[Finding, ...]
    notes: tuple[Finding, ...]

    def __str__(self) -> str:
        lines = [f"{self.name}: {len(self.errors)} errors, {len(self.notes)} notes"]
        lines += [f"  error {i}. {finding}" for i, finding in enumerate(self.errors, 1)]
        lines += [f"  note {i}. {finding}" for i, finding in enumerate(self.notes, 1)]
        return "\n".join(lines)


class EnvError(ValueError):
    """An environment breaks the protocol; ``report`` says where."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


class _Program(NamedTuple):
    """A function as JAX sees it."""

    jaxpr: ClosedJaxpr
    outputs: PyTree  # of ShapeDtypeStruct


class _Run(NamedTuple):
    """A trial run with random actions, on the host. T steps, B environments."""

    first_obs: PyTree  # [B, ...]
    obs: PyTree  # [B, T, ...]
    reward: np.ndarray  # [B, T]
    terminated: np.ndarray  # [B, T]
    truncated: np.ndarray  # [B, T]


def check_env(
    env: Environment, key: jax.Array | None = None, num_steps: int = 200, *, raise_on_error: bool = True
) -> Report:
    """Check that ``env`` keeps the environment protocol.

    First the two functions are traced, which shows shapes, dtypes and hidden Python state; then four
    environments take ``num_steps`` random steps under ``jit``, ``vmap`` and ``scan``, which shows values.

    Args:
        env: what is to be checked; any object.
        key: randomness of the trial run; ``jax.random.key(0)`` where None.
        num_steps: length of the trial run; 0 traces only, which takes milliseconds.
        raise_on_error: whether errors raise, or are only reported.

    Returns:
        The report: ``errors`` (empty, unless ``raise_on_error`` is False) and ``notes``.

    Raises:
        EnvError: if there are errors and ``raise_on_error``; the message lists all of them.
    """
    key = jax.random.key(0) if key is None else key
    errors: list[Finding] = []
    notes: list[Finding] = []
    for severity, finding in _findings(env, key, num_steps):
        (errors if severity == "error" else notes).append(finding)
    report = Report(str(getattr(env, "name", type(env).__name__)), tuple(errors), tuple(notes))
    if errors and raise_on_error:
        raise EnvError(report)
    return report


_Findings = Iterator[tuple[str, Finding]]


def _error(where: str, what: str, remedy: str) -> tuple[str, Finding]:
    return "error", Finding(where, what, remedy)


def _note(where: str, what: str, remedy: str) -> tuple[str, Finding]:
    return "note", Finding(where, what, remedy)


def interface_errors(env: Any) -> list[Finding]:
    """What is wrong with the five attributes."""
    return [finding for _, finding in _interface(env)]


def signature_errors(env: Any) -> list[Finding]:
    """What is wrong with the arrays that ``reset`` and ``step`` return, by tracing each once."""
    programs, errors = _trace_both(env)
    found = errors if programs is None else [*_observation(env, *programs), *_signals(programs[1])]
    return [finding for severity, finding in found if severity == "error"]


def _findings(env: Environment, key: jax.Array, num_steps: int) -> _Findings:
    """Each stage needs what the stage before it establishes, so an unusable stage is the last."""
    interface = list(_interface(env))
    yield from interface
    if interface:
        return

    programs, errors = _trace_both(env)
    yield from errors
    if programs is None:
        return

    reset, step = programs
    observation = list(_observation(env, reset, step))
    static = [
        *_nested(env),
        *observation,
        *_stability("state", reset.outputs[1], step.outputs[1]),
        *_signals(step),
        *_merged(step),
        *_randomness("reset", reset),
        *_randomness("step", step),
        *_repeatable(env, reset, step),
    ]
    yield from static
    if num_steps == 0:
        return
    run, errors = _trial_run(env, key, num_steps)
    # What breaks the trace of a run is said above already, in better words, if anything was found there.
    if run is None:
        yield from () if any(severity == "error" for severity, _ in static) else errors
        return
    yield from errors
    yield from _rewards(run)
    yield from _episodes(run)
    if not observation:
        yield from _observations(env.observation_space, run)


def _interface(env: Any) -> _Findings:
    """The five attributes, and what they are."""
    names = Environment._fields[:-1]  # without the recipe, which is not part of the protocol
    for name in names:
        if not hasattr(env, name):
            yield _error(f"env.{name}", "is missing", f"give the environment {', '.join(names)}")
        elif name in ("reset", "step") and not callable(getattr(env, name)):
            yield _error(f"env.{name}", f"is {getattr(env, name)!r}, which cannot be called", "make it a function")
        elif name.endswith("_space") and not isinstance(getattr(env, name), Space):
            yield _error(
                f"env.{name}",
                f"is {getattr(env, name)!r}, which is no space",
                "use one of purerl.spaces: Box, Discrete, MultiDiscrete, Text, Dict and Tuple of such, or MaskedSpace",
            )


def _nested(env: Environment) -> _Findings:
    """What learners refuse, though it keeps the protocol."""
    if isinstance(env.observation_space, Text) or isinstance(env.action_space, Text):
        yield _note("the spaces", "are of text", "nothing: algorithms for language models (purerl.algorithms.language)")
    if isinstance(env.action_space, Dict | Tuple):
        yield _note(
            "env.action_space",
            f"is a {type(env.action_space).__name__}, which no learner chooses from",
            "number the combinations, Discrete(n_1 n_2 ...), and let env.step divide the number again",
        )


def _trace(function: Callable, *args: Any) -> _Program:
    # A fresh function each time: a known one would be answered from JAX's cache, and hidden state would hide.
    return _Program(*jax.make_jaxpr(lambda *inputs: function(*inputs), return_shape=True)(*args))


def _trace_both(env: Environment) -> tuple[tuple[_Program, _Program] | None, list]:
    """``reset`` and ``step`` as programs, or the errors that prevent it."""
    try:
        where, call = "reset", "obs, state = reset(key)"
        reset = _trace(env.reset, jax.random.key(0))
        if (problem := _tuple_problem(reset.outputs, ("obs", "state"))) is not None:
            return None, [_error(where, *problem)]
        where, call = "step", "obs, state, reward, terminated, truncated, info = step(key, state, action)"
        step = _trace(env.step, *_step_inputs(env, reset))
        if (problem := _tuple_problem(step.outputs, _STEP_OUTPUTS)) is not None:
            return None, [_error(where, *problem)]
    except Exception as error:  # whatever the author's code raises is the finding
        remedy = (
            f"make `{call}` run under jax.jit: jnp in place of numpy, lax.cond in place of `if`, "
            "and nothing but arrays in what it returns"
        )
        return None, [_error(where, f"cannot be traced; {_said(error)}", remedy)]
    return (reset, step), []


def _step_inputs(env: Environment, reset: _Program) -> tuple:
    action = jax.eval_shape(env.action_space.sample, jax.random.key(0))
    return jax.random.key(0), reset.outputs[1], action


def _tuple_problem(outputs: PyTree, names: tuple[str, ...]) -> tuple[str, str] | None:
    signature = f"return ({', '.join(names)})"
    if not isinstance(outputs, tuple):
        return f"returns {type(outputs).__name__}, not a tuple", signature
    if len(outputs) != len(names):
        merged = ": `done` must be given as two flags" if len(names) == 6 and len(outputs) in (4, 5) else ""
        return f"returns {len(outputs)} values, not {len(names)}", signature + merged
    if len(names) == 6 and not (isinstance(outputs[5], dict) and all(isinstance(k, str) for k in outputs[5])):
        return (
            "returns an info that is not a dict with string keys",
            "return {} where there is nothing to tell",
        )
    return None


def _observation(env: Environment, reset: _Program, step: _Program) -> _Findings:
    """Observations are arrays of the containers, shapes and dtypes that their space says."""
    wanted = jax.eval_shape(env.observation_space.sample, jax.random.key(0))
    wrong = {}
    for where, obs in (("reset", reset.outputs[0]), ("step", step.outputs[0])):
        if (what := _unlike(obs, wanted)) is not None:
            wrong[where] = what
    for what in sorted(set(wrong.values())):
        yield _error(
            f"observation of {' and '.join(where for where in wrong if wrong[where] == what)}",
            what,
            "return such an observation, or correct observation_space"
            + " (purerl.spaces.Dict and Tuple hold several arrays)" * ("of arrays" in what),
        )
    if not wrong:
        yield from _stability("observation", reset.outputs[0], step.outputs[0])


def _unlike(obs: PyTree, wanted: PyTree) -> str | None:
    """In what an observation differs from its space, if it does."""
    if jax.tree.structure(obs) != jax.tree.structure(wanted):  # type: ignore[operator]  # PyTreeDef is not typed
        return f"is {_containers(obs)}, but observation_space is {_containers(wanted)}"
    for (path, leaf), of_space in zip(jax.tree.leaves_with_path(obs), jax.tree.leaves(wanted), strict=True):
        if (leaf.shape, leaf.dtype) != (of_space.shape, of_space.dtype):
            part = jax.tree_util.keystr(path)
            return f"{part}{' ' * bool(part)}is {_kind(leaf)}, but observation_space{part} is {_kind(of_space)}"
    return None


def _containers(x: PyTree) -> str:
    if isinstance(x, jax.ShapeDtypeStruct):
        return _kind(x)
    inside = f" with the keys {sorted(map(str, x))}" if isinstance(x, dict) else ""
    return f"a {type(x).__name__} of arrays{inside}"


def _fields(x: PyTree) -> str:
    """A container by its type and the paths of what is in it."""
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(x)]
    return f"a {type(x).__name__} of {', '.join(paths) or 'nothing'}"


def _stability(name: str, before: PyTree, after: PyTree) -> _Findings:
    """A scan carries the state, so ``step`` must give back what ``reset`` gave."""
    if jax.tree.structure(before) != jax.tree.structure(after):  # type: ignore[operator]  # PyTreeDef is not typed
        yield _error(
            name,
            f"is {_fields(before)} after reset but {_fields(after)} after step",
            "return the same containers with the same fields from both",
        )
        return
    for (path, old), new in zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True):
        if _kind(old) != _kind(new):
            yield _error(
                f"{name}{jax.tree_util.keystr(path)}",
                f"is {_kind(old)} after reset but {_kind(new)} after step",
                "return the same shape from both, e.g. by a fixed length"
                if old.shape != new.shape
                else "fix the dtype in both, e.g. jnp.int32(0) in place of 0 (a Python number is weakly typed)",
            )


def _signals(step: _Program) -> _Findings:
    """Reward and flags are scalars of their kind."""
    _, _, reward, terminated, truncated, _ = step.outputs
    if not _is_scalar(reward) or jnp.issubdtype(reward.dtype, jnp.complexfloating):
        yield _error("reward", f"is {_kind(reward)}", "return one float a step, of shape [], e.g. jnp.sum of several")
    elif not jnp.issubdtype(reward.dtype, jnp.floating):
        yield _note("reward", f"is {_kind(reward)}, no float", "nothing: rollouts read it as float32")
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if not (_is_scalar(flag) and flag.dtype == bool):
            yield _error(name, f"is {_kind(flag)}", "return a bool scalar, e.g. state.time >= 10 or jnp.array(False)")


def _merged(step: _Program) -> _Findings:
    """The two flags are two."""
    _, _, _, terminated, truncated, _ = step.outputs
    first = len(jax.tree.leaves(step.outputs[:3]))
    if _is_scalar(terminated) and _is_scalar(truncated) and _same_output(step.jaxpr, first, first + 1):
        yield _error(
            "terminated and truncated",
            "are one and the same value",
            "terminated: no reward follows; truncated: only a limit on steps was reached. "
            "Where there is no limit, truncated is jnp.array(False)",
        )


def _randomness(where: str, program: _Program) -> _Findings:
    """A program that reads no key but draws numbers draws the same ones every time."""
    if _reads(program.jaxpr, 0):
        return
    draws = "random_bits" in str(program.jaxpr)
    keys_in_state = any(
        jnp.issubdtype(aval.dtype, jax.dtypes.prng_key) or (aval.dtype == np.uint32 and aval.shape == (2,))
        for aval in program.jaxpr.in_avals[1:]
    )
    if draws and keys_in_state:
        yield _note(where, "ignores its key and draws from a key in the state", "nothing, if reset renews that key")
    elif draws:
        yield _error(
            where,
            "draws random numbers from a key of its own, the same ones at every call",
            f"draw from the key that {where} is given, which jax.random.split divides",
        )
    elif where == "reset":
        yield _note(where, "ignores its key: every episode starts alike", "nothing, if that is meant")


def _repeatable(env: Environment, reset: _Program, step: _Program) -> _Findings:
    """Traced a second time, a pure function is the same program with the same constants."""
    again = _trace(env.reset, jax.random.key(0)), _trace(env.step, *_step_inputs(env, reset))
    infos = [program.outputs[5].keys() for program in (step, again[1])]
    if infos[0] != infos[1]:
        yield _error(
            "info",
            f"has the keys {sorted(infos[0])}, then {sorted(infos[1])}",
            "give the same keys at every step",
        )
        return
    for where, first, second in (("reset", reset, again[0]), ("step", step, again[1])):
        if _fingerprint(first.jaxpr) != _fingerprint(second.jaxpr):
            yield _error(
                where,
                "is a different program when it is traced again",
                "depend on the arguments alone: jax.random with the given key in place of numpy.random, "
                "counters in the state in place of Python variables",
            )


def _trial_run(env: Environment, key: jax.Array, num_steps: int) -> tuple[_Run | None, list]:
    """Run twice with the same key; what comes out, and what went wrong."""

    def lane(key: jax.Array) -> tuple:
        reset_key, scan_key = jax.random.split(key)
        first_obs, state = env.reset(reset_key)

        def step(state: PyTree, key: jax.Array) -> tuple:
            reset_key, action_key, step_key = jax.random.split(key, 3)
            action = env.action_space.sample(action_key)
            obs, state, reward, terminated, truncated, info = env.step(step_key, state, action)
            terminated, truncated = jnp.asarray(terminated, bool), jnp.asarray(truncated, bool)
            _, fresh = env.reset(reset_key)
            state = jax.tree.map(lambda a, b: jnp.where(terminated | truncated, a, b), fresh, state)
            return state, (obs, reward, terminated, truncated, info)

        return first_obs, *jax.lax.scan(step, state, jax.random.split(scan_key, num_steps))[1]

    keys = jax.random.split(key, _NUM_LANES)
    try:
        # Little is run, so the compiler of the CPU, where it is the slow part, need not optimise.
        fast = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
        options = fast if jax.default_backend() == "cpu" else None
        compiled = jax.jit(jax.vmap(lane)).lower(keys).compile(compiler_options=options)
        first, second = jax.device_get((compiled(keys), compiled(keys)))
    except Exception as error:  # whatever the author's code raises is the finding
        remedy = "make both functions run under jax.jit(jax.vmap(...)) and inside jax.lax.scan"
        return None, [_error("reset and step", f"cannot be batched or compiled; {_said(error)}", remedy)]
    findings = []
    if not all(map(_equal, jax.tree.leaves(first), jax.tree.leaves(second))):
        findings.append(
            _error(
                "reset and step",
                "give two results for the same key",
                "call nothing with a memory of its own from inside (a callback that draws or counts)",
            )
        )
    return _Run(*first[:5]), findings


def _observations(space: Space, run: _Run) -> _Findings:
    """They are finite and lie in their space; the first that does not is told, of each array."""
    observed = zip(jax.tree.leaves_with_path(run.first_obs), jax.tree.leaves(run.obs), strict=True)
    for part, ((path, first), later) in zip(jax.tree.leaves(tree(space)), observed, strict=True):
        yield from _of_array(part, jax.tree_util.keystr(path), np.concatenate([first[:, None], later], axis=1))


def _of_array(space: Any, path: str, observed: np.ndarray) -> _Findings:
    """The same of one array ``[B, 1 + T, ...]``, at a path of the observation."""
    finite = _finite(observed).reshape(*observed.shape[:2], -1).all(axis=(0, 2))
    inside = np.asarray(jax.vmap(jax.vmap(space.contains))(observed)).all(axis=0)
    if (finite & inside).all():
        return
    t = int(np.argmin(finite & inside))
    where, obs = f"observation{path} of {'reset' if t == 0 else f'step {t - 1}'}", observed[:, t]
    if not finite[t]:
        yield _error(where, "is not finite", "keep inf and nan out of the dynamics")
        return
    values = f"values from {obs.min():.9g} to {obs.max():.9g}, space {space}"
    if _rounds_inside(space, observed):
        remedy = "nothing, if that is known; else clip the observation, or widen observation_space by as much"
        yield _note(where, f"lies outside observation_space by rounding: {values}", remedy)
    else:
        remedy = "widen observation_space (low=-inf, high=inf is unbounded), or correct the observation"
        yield _error(where, f"lies outside observation_space: {values}", remedy)


def _rewards(run: _Run) -> _Findings:
    finite = _finite(run.reward).reshape(*run.terminated.shape[:2], -1).all(axis=(0, 2))  # [T]
    if not finite.all():
        yield _error(f"reward of step {np.argmin(finite)}", "is not finite", "keep inf and nan out of the reward")


def _episodes(run: _Run) -> _Findings:
    ended = run.terminated | run.truncated
    if not ended.any():
        yield _note(
            "terminated and truncated",
            f"no episode ended within {ended.shape[1]} random steps",
            "nothing, if episodes are long; else see purerl.envs.time_limit",
        )
    elif run.terminated.any() and np.array_equal(run.terminated, run.truncated):
        yield _note(
            "terminated and truncated",
            "were equal at every step of the trial run",
            "nothing, if the last step is also the limit; else keep the two apart",
        )


def _kind(x: Any) -> str:
    if not isinstance(x, jax.ShapeDtypeStruct):
        return f"a {type(x).__name__}"
    return f"{'weakly typed ' * bool(getattr(x, 'weak_type', False))}{x.dtype}{list(x.shape)}"


def _is_scalar(x: Any) -> bool:
    return isinstance(x, jax.ShapeDtypeStruct) and x.shape == ()


def _finite(x: np.ndarray) -> np.ndarray:
    return np.isfinite(x) if np.issubdtype(x.dtype, np.floating) else np.ones(x.shape, bool)


def _rounds_inside(space: Any, x: np.ndarray) -> bool:
    """Whether what lies outside does so by the rounding of float32 alone: ``1 - t/n`` may end below 0."""
    if not isinstance(space, Box) or x.dtype.kind != "f":
        return False
    low, high = np.asarray(space.low, np.float64), np.asarray(space.high, np.float64)
    return bool(np.all((x >= low - 1e-5 * (1 + np.abs(low))) & (x <= high + 1e-5 * (1 + np.abs(high)))))


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a, b, equal_nan=np.issubdtype(a.dtype, np.inexact))


def _said(error: Exception) -> str:
    message = str(error).strip().split("\n\n")[0].split("\nSee ")[0]
    return f"the error was {type(error).__name__}: {message[:400]}"


def _inner(eqn: Any) -> list[ClosedJaxpr]:
    """The programs inside one instruction (of a jit, a loop, a branch)."""
    parameters = jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda x: isinstance(x, ClosedJaxpr))
    return [parameter for parameter in parameters if isinstance(parameter, ClosedJaxpr)]


def _called(eqn: Any) -> ClosedJaxpr | None:
    """The program that an instruction calls as it is, with the same inputs and outputs, as ``jit`` does."""
    match _inner(eqn):
        case [inner] if eqn.primitive.name in ("jit", "pjit"):
            return inner
    return None


def _reads(jaxpr: ClosedJaxpr, position: int) -> bool:
    """Whether anything is computed from an input. Handing it to a function that ignores it is not reading."""
    var = jaxpr.jaxpr.invars[position]
    for eqn in jaxpr.jaxpr.eqns:
        for i in (i for i, x in enumerate(eqn.invars) if x is var):
            if (inner := _called(eqn)) is None or _reads(inner, i):
                return True
    return any(x is var for x in jaxpr.jaxpr.outvars)


def _same_output(jaxpr: ClosedJaxpr, i: int, j: int) -> bool:
    """Whether two outputs are one variable, also inside a ``jit``."""
    outputs = jaxpr.jaxpr.outvars
    if outputs[i] is outputs[j]:
        return isinstance(outputs[i], Var)
    for eqn in jaxpr.jaxpr.eqns:
        first, second = (next((k for k, x in enumerate(eqn.outvars) if x is outputs[n]), None) for n in (i, j))
        if first is not None and second is not None:
            return (inner := _called(eqn)) is not None and _same_output(inner, first, second)
    return False


def _fingerprint(jaxpr: ClosedJaxpr) -> tuple:
    """The program as text, less addresses in memory, and its constants, also those of inner programs."""

    def constants(jaxpr: ClosedJaxpr) -> list:
        plain = (x for x in jaxpr.consts if not jnp.issubdtype(x.dtype, jax.dtypes.extended))
        own = [np.asarray(x).tobytes() for x in plain]
        return own + [c for eqn in jaxpr.jaxpr.eqns for inner in _inner(eqn) for c in constants(inner)]

    return re.sub(r"0x[0-9a-f]+", "", str(jaxpr)), constants(jaxpr)
