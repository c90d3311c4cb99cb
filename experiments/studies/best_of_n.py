"""Best of N answers by outcome and process reward models: how often the answer that is kept is right, against N.

    python -m experiments.studies.best_of_n --out-dir experiments/results/prm/best_of_n

The task is ``running_sums``, whose answers are chains of digits of which the last one counts. A policy that has
imitated for a while writes all answers, and is right now and then. On the same policies models learn from labels of
several kinds, each with as many gradient steps, on as many answers; rollouts are drawn in addition. Then each policy
writes 16 answers to every one of fresh prompts, and of N neighbours each model keeps the one it likes best; who knew
which are right would find one wherever there is one. Prints a table, draws a picture, and keeps the numbers.
"""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purerl import files, xla
from purerl.algorithms.language import start
from purerl.algorithms.language.answers import draw, model_of, reward
from purerl.algorithms.language.process_reward import (
    ProcessRewardConfig,
    ProcessRewardHypers,
    answer_score,
    process_reward,
)
from purerl.algorithms.language.scalars import ScalarModel
from purerl.analysis import plots
from purerl.analysis.statistics import mean, stratified_bootstrap
from purerl.config_checks import check_options
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.language.tasks import Task, running_sums
from purerl.nets.decoder import DecoderConfig
from purerl.nets.heads import linear_head
from purerl.ranges import setting
from purerl.types import PyTree

NAMES: dict[Any, str] = {  # by kind of label
    "answer": "outcome model: answers",
    "outcome": "process model: outcomes",
    "rollouts": "process model: rollouts",
    "tree": "process model: tree",
    "steps": "process model: steps",
}
WHO_KNOWS = "who knows"
DECODER = DecoderConfig(size=32, num_layers=2, num_heads=4, num_kv_heads=4, head_size=8, feed_forward_size=64)
CONFIG = ProcessRewardConfig(decoder=DECODER, num_rollouts=1, num_gradient_steps=10)
HYPERS = ProcessRewardHypers(learning_rate=3e-3, warm_up_learning_rate=3e-3)
CANDIDATES = (1, 2, 4, 8, 16)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How many runs, how long, and where results go."""

    num_terms: int = setting(2, low=2)
    """Digits that are added up; answers have one less."""
    num_warm_up_steps: int = setting(200, low=1)
    """Of imitation, 64 demonstrations each."""
    num_updates: int = setting(30, low=1)
    """Of ten gradient steps."""
    num_prompts: int = setting(512, low=1)
    """To which 16 answers are drawn in the end."""
    num_seeds: int = setting(10, low=2)
    """Runs of each."""
    seed: int = 0
    """Fixes everything random."""
    out_dir: pathlib.Path = pathlib.Path("runs", "best_of_n")
    """Folder for the picture and the numbers."""
    cpu_threads: int | None = setting(None, low=1)
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        check_options(self)


def configs() -> dict[str, ProcessRewardConfig]:
    """A config for each kind of label; steps that are held to be correct are judged together."""
    return {
        kind: dataclasses.replace(CONFIG, labels=kind, answer_score="product" if kind == "steps" else "last")
        for kind in NAMES
    }


def imitate(task: Task, num_steps: int, key: jax.Array) -> PyTree:
    """Parameters of a policy after so many steps of imitation."""
    model = model_of(task, CONFIG.decoder, None)
    return start.first_params(task, model, None, num_steps, CONFIG.warm_up_batch_size, HYPERS, key)


def learn(task: Task, config: ProcessRewardConfig, num_updates: int, policy: PyTree, key: jax.Array) -> PyTree:
    """Parameters of a model that has learnt from a policy's answers, and begins as that policy."""
    algorithm = process_reward(task, config)
    init_key, run_key = jax.random.split(key)
    state = algorithm.init(HYPERS, init_key)
    state = state.replace(params=state.params | {"trunk": policy}, writer=policy)

    def step(state, key):
        return algorithm.update(HYPERS, state, key)[0], None

    return jax.lax.scan(step, state, jax.random.split(run_key, num_updates))[0].params


def judge(
    task: Task,
    configs: Mapping[str, ProcessRewardConfig],
    num_prompts: int,
    policy: PyTree,
    models: PyTree,
    key: jax.Array,
) -> dict[str, jax.Array]:
    """How often the best of N is right, by each model and by who knows which are right, ``[len(CANDIDATES)]`` each."""
    model = model_of(task, CONFIG.decoder, None)
    answers = draw(task, model.policy(policy), key, num_prompts, max(CANDIDATES))
    right, scalar = reward(task, answers), ScalarModel(model, linear_head())
    liked = {name: answer_score(scalar, models[name], config.answer_score, answers) for name, config in configs.items()}
    return {name: kept(right, x) for name, x in (liked | {WHO_KNOWS: right}).items()}


def kept(right: jax.Array, liked: jax.Array) -> jax.Array:
    """Share of right answers among the best of N neighbours, for each N.

    Args:
        right: ``[M]``, of which every N is a divisor.
        liked: ``[M]``.
    """

    def of(n: int) -> jax.Array:
        best = jnp.argmax(liked.reshape(-1, n), axis=1)
        return jnp.mean(jnp.take_along_axis(right.reshape(-1, n), best[:, None], axis=1))

    return jnp.stack([of(n) for n in CANDIDATES])


def run(options: Options) -> dict[str, np.ndarray]:
    """Shares ``[S, len(CANDIDATES)]`` by who chooses."""
    task, kinds = running_sums(options.num_terms), configs()
    imitate_key, learn_key, judge_key = jax.random.split(jax.random.key(options.seed), 3)
    each = functools.partial(jax.random.split, num=options.num_seeds)
    policies = jax.jit(jax.vmap(functools.partial(imitate, task, options.num_warm_up_steps)))(each(imitate_key))
    models = {}
    for i, (kind, config) in enumerate(kinds.items()):
        of_seed = functools.partial(learn, task, config, options.num_updates)
        models[kind] = jax.jit(jax.vmap(of_seed))(policies, each(jax.random.fold_in(learn_key, i)))
    found = jax.jit(jax.vmap(functools.partial(judge, task, kinds, options.num_prompts)))(
        policies, models, each(judge_key)
    )
    return jax.tree.map(np.asarray, found)


def drawn(options: Options) -> dict[str, int]:
    """Answers that a model has been taught with, rollouts included."""
    max_tokens = running_sums(options.num_terms).max_tokens
    return {kind: config.num_drawn(max_tokens) * options.num_updates for kind, config in configs().items()}


def table(found: Mapping[str, np.ndarray], number: Mapping[str, int]) -> list[str]:
    """A line for each who chooses: answers that were drawn to teach it, and shares with 95 % intervals."""
    lines = [f"{'right, mean [95 %]':<24}  {'answers':>9}" + "".join(f"  {f'N = {n}':>21}" for n in CANDIDATES)]
    for name, shares in found.items():
        cells = "".join(f"  {stratified_bootstrap(mean, x)!s:>21}" for x in shares.T)
        lines.append(f"{NAMES.get(name, name):<24}  {number.get(name, 0):>9,}{cells}")
    return lines


def picture(found: Mapping[str, np.ndarray]):
    """Share of right answers against N, with 95 % intervals over seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for i, (name, shares) in enumerate(found.items()):
        each = [stratified_bootstrap(mean, x) for x in shares.T]
        color = "black" if name == WHO_KNOWS else f"C{i}"
        axes.plot(CANDIDATES, [x.estimate for x in each], ".-", color=color, label=NAMES.get(name, name))
        axes.fill_between(
            CANDIDATES, [x.low for x in each], [x.high for x in each], color=color, alpha=0.2, linewidth=0
        )
    axes.set_xscale("log", base=2)
    axes.set(xlabel="answers to choose from, N", ylabel="share right")
    axes.set_xticks(CANDIDATES, [str(n) for n in CANDIDATES])
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("best_of_n", flags=[Options]):
        options = parse_record(Options, arguments, "python -m experiments.studies.best_of_n", __doc__)
        xla.set_cpu_flags(threads=options.cpu_threads)
        image, numbers = options.out_dir / "best_of_n.png", options.out_dir / "best_of_n.json"
        plots.check_can_save(image)
        found, number = run(options), drawn(options)
        settings = {name: value for name, value in dataclasses.asdict(options).items() if name != "out_dir"}
        shares = {name: x.tolist() for name, x in found.items()}
        files.write_json(numbers, {**settings, "candidates": CANDIDATES, "answers": number, "right": shares})
        plots.save(picture(found), image)
    print(*table(found, number), sep="\n")
    print(f"wrote {image} and {numbers}", file=sys.stderr)


if __name__ == "__main__":
    main()
