"""What optimising a fallible judge does: the task ``overrated``, whose judges each rate one answer far too high.

    python -m experiments.studies.overoptimisation --out-dir experiments/results/rlhf/overoptimisation

A policy that has been fine-tuned on demonstrations is improved by RLHF: by one judge, for a range of penalties beta; by
the mean and by the least of three judges, without a penalty; and by the least of three reward models, of which each has
learnt from one judge's comparisons. DPO learns from comparisons by the true reward. Where each should arrive is known,
``ref exp(R / beta) / Z``, and is drawn over it. Prints a table, draws a picture, and keeps the numbers.
"""

import dataclasses
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl import files, xla
from purerl.algorithm import Algorithm
from purerl.algorithms.language.answers import Answers, draw, model_of, score_answers, worth
from purerl.algorithms.language.comparisons import proxy
from purerl.algorithms.language.dpo import DPOConfig, DPOHypers, dpo
from purerl.algorithms.language.reward_model import (
    REWARD_HEAD,
    RewardModelConfig,
    RewardModelHypers,
    reward_model,
    scores,
)
from purerl.algorithms.language.rlhf import RLHFConfig, RLHFHypers, rlhf
from purerl.algorithms.language.scalars import ScalarModel
from purerl.analysis import plots
from purerl.analysis.statistics import mean, stratified_bootstrap
from purerl.config_checks import check_options
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.kernels.language import kl
from purerl.language.policy import Prompts
from purerl.language.tasks import Task, overrated
from purerl.nets.decoder import DecoderConfig
from purerl.nets.language_model import LanguageModel
from purerl.ranges import setting
from purerl.types import Mean, PyTree

DECODER = DecoderConfig(size=16, num_layers=1, num_heads=2, num_kv_heads=1, head_size=8, feed_forward_size=32)
BETAS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
DPO_BETA, DPO_NOISE = 0.5, 0.5  # together the optimum of RLHF at a beta of .25
WHO = ("one judge", "mean of three judges", "min of three judges", "min of three reward models")


class Setting(NamedTuple):
    """Who judges, and the penalty."""

    who: str
    beta: float


SETTINGS = (*(Setting(WHO[0], beta) for beta in BETAS), *(Setting(who, 0.0) for who in WHO[1:]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How many runs, how long, and where results go."""

    num_seeds: int = setting(10, low=2)
    """Runs of everything, each with a reference of its own."""
    num_updates: int = setting(200, low=1)
    """Of RLHF, of 128 answers; the learning rate falls to 0 over them."""
    num_pair_updates: int = setting(200, low=1)
    """Of DPO, of 1,280 pairs, and a tenth as many of the reward models."""
    seed: int = 0
    """Fixes everything random."""
    out_dir: pathlib.Path = pathlib.Path("runs", "overoptimisation")
    """Folder for the picture and the numbers."""
    cpu_threads: int | None = None
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        check_options(self)


class Lives(NamedTuple):
    """What came of runs, in arrays of JAX or NumPy; leading axes are those that were mapped over."""

    reference: Any  # [V] log-probabilities of all answers
    learnt: Any  # [V]
    curve: Any  # [U] mean true reward of what was drawn; NaN where nothing is


# --- runs -------------------------------------------------------------------------------------------------


def every_answer(task: Task) -> Answers:
    """The V answers of one token."""
    number = len(task.vocab)
    prompts = jax.tree.map(lambda x: jnp.repeat(x, number, axis=0), task.draw(jax.random.key(0), 1))
    tokens = jnp.arange(number, dtype=jnp.int32)[:, None]
    mask = jnp.ones((number, 1), bool)
    return Answers(Prompts(*prompts), tokens, mask, jnp.zeros((number, 1)), None, mask[:, 0])


def law(task: Task, model: LanguageModel, params: PyTree) -> jax.Array:
    """Log-probabilities of all answers, ``[V]``."""
    return score_answers(model.policy(params), every_answer(task)).log_prob[0]


def live(algorithm: Algorithm, hypers: Any, key: jax.Array, num_updates: int) -> tuple[PyTree, PyTree, jax.Array]:
    """The state at the start and at the end of a run whose learning rate falls to 0, and its returns ``[U]``."""
    init_key, run_key = jax.random.split(key)

    def step(state: PyTree, t: jax.Array) -> tuple[PyTree, jax.Array]:
        now = hypers.replace(learning_rate=hypers.learning_rate * (1 - t / num_updates))
        state, metrics = algorithm.update(now, state, jax.random.fold_in(run_key, t))
        total, number = metrics.get("episode_return", Mean(jnp.array(jnp.nan), jnp.ones(())))
        return state, total / number

    start = algorithm.init(hypers, init_key)
    return start, *jax.lax.scan(step, start, jnp.arange(num_updates))


def reward_models(task: Task, num_updates: int, key: jax.Array) -> Callable[[Answers], jax.Array]:
    """What three reward models say, ``(answers [B]) -> [B, 3]``, of which each has learnt from one judge's rankings.

    They say 0 of the answers that they learnt from, on average, and are in the judges' units.
    """
    run_key, answers_key = jax.random.split(key)
    config = RewardModelConfig(decoder=DECODER, num_members=3, num_answers=4, loss="plackett-luce", judge="proxy")
    hypers = RewardModelHypers(learning_rate=3e-3, noise=0.25)
    _, state, _ = live(reward_model(task, config), hypers, run_key, num_updates)
    model = model_of(task, DECODER, None)
    scalar = ScalarModel(model, REWARD_HEAD)
    zero_at = draw(task, model.policy(state.writer), answers_key, 256)

    def said(answers: Answers) -> jax.Array:
        shift = jnp.mean(scores(scalar, state.params, zero_at), axis=0)
        return hypers.noise * (scores(scalar, state.params, answers) - shift)

    return said


def by_judge(task: Task, judge: Callable, num_updates: int, key: jax.Array, beta: jax.Array) -> Lives:
    """RLHF by ``(answers [B]) -> [B]``."""
    config = RLHFConfig(decoder=DECODER, normalize_advantage=False, warm_up_steps=300)
    hypers = RLHFHypers(learning_rate=3e-3, value_learning_rate=1e-2, warm_up_learning_rate=3e-3).replace(beta=beta)
    model = model_of(task, DECODER, None)
    _, state, curve = live(rlhf(task, config, reward=judge), hypers, key, num_updates)
    return Lives(law(task, model, state.reference), law(task, model, state.params), curve)


def by_pairs(task: Task, num_updates: int, key: jax.Array) -> Lives:
    """DPO from comparisons by the true reward."""
    config = DPOConfig(decoder=DECODER, batch_size=128, warm_up_steps=300)
    hypers = DPOHypers(learning_rate=3e-3, beta=DPO_BETA, noise=DPO_NOISE, warm_up_learning_rate=3e-3)
    model = model_of(task, DECODER, None)
    _, state, curve = live(dpo(task, config), hypers, key, num_updates)
    return Lives(law(task, model, state.reference), law(task, model, state.params), curve)


class Found(NamedTuple):
    """All runs, as arrays of NumPy with leading axes of settings and seeds."""

    rlhf: Lives  # [P, S, ...] in the order of SETTINGS
    pairs: Lives  # [S, ...]
    seconds: float


def run(options: Options) -> Found:
    """Everything in one program, with settings and seeds side by side."""
    began, task = time.perf_counter(), overrated()

    def of_seed(key: jax.Array) -> tuple[Lives, Lives]:
        models_key, rlhf_key, pairs_key = jax.random.split(key, 3)
        models = reward_models(task, max(options.num_pair_updates // 10, 1), models_key)

        def of_setting(who: jax.Array, beta: jax.Array) -> Lives:
            def judge(answers: Answers) -> jax.Array:
                judges = proxy(task, answers)
                said = [judges[:, 0], judges.mean(axis=1), judges.min(axis=1), models(answers).min(axis=1)]
                return jnp.stack(said)[who]

            return by_judge(task, judge, options.num_updates, rlhf_key, beta)

        who = jnp.array([WHO.index(setting.who) for setting in SETTINGS])
        beta = jnp.array([setting.beta for setting in SETTINGS])
        return jax.vmap(of_setting)(who, beta), by_pairs(task, options.num_pair_updates, pairs_key)

    keys = jax.random.split(jax.random.key(options.seed), options.num_seeds)
    compiled = jax.jit(jax.vmap(of_seed)).lower(keys).compile(xla.compiler_options(jax.default_backend()))
    of_rlhf, pairs = jax.tree.map(np.asarray, compiled(keys))
    return Found(jax.tree.map(lambda x: np.swapaxes(x, 0, 1), of_rlhf), pairs, time.perf_counter() - began)


# --- what came of them ------------------------------------------------------------------------------------


def rewards() -> tuple[np.ndarray, np.ndarray]:
    """True rewards of all answers ``[V]``, and what each judge says ``[V, K]``."""
    task = overrated()
    answers = every_answer(task)
    return np.asarray(worth(task, answers), np.float64), np.asarray(proxy(task, answers), np.float64)


def divergence(lives: Lives) -> np.ndarray:
    """KL divergence from the reference, ``[...]``."""
    return np.sum(np.exp(lives.learnt) * (lives.learnt - lives.reference), axis=-1)


def distance(lives: Lives, optimum: np.ndarray) -> np.ndarray:
    """Total variation between what was learnt and log-probabilities ``[..., V]``."""
    return np.abs(np.exp(lives.learnt) - np.exp(optimum)).sum(axis=-1) / 2


def optimum(reference: np.ndarray, reward: np.ndarray, beta: float) -> np.ndarray:
    """The closed form, ``[..., V]`` of log-probabilities; without a penalty all on the best answer."""
    if beta > 0:
        return np.asarray(kl.optimum(jnp.asarray(reference), jnp.asarray(reward), beta))
    return np.broadcast_to(np.log(np.where(reward == reward.max(), 1.0, 1e-30)), reference.shape)


def rows(found: Found) -> dict[str, dict[str, list[float]]]:
    """For each setting and seed: the true reward, what over-rated answers get, the KL divergence, and the distance to
    the closed form."""
    true, judges = rewards()
    said = dict(zip(WHO, (judges[:, 0], judges.mean(axis=1), judges.min(axis=1), judges.min(axis=1)), strict=True))

    def row(lives: Lives, best: np.ndarray) -> dict[str, list[float]]:
        chance = np.exp(lives.learnt)
        each = {
            "true_reward": chance @ true,
            "over_rated": chance @ (judges.max(axis=1) > true),
            "kl": divergence(lives),
            "total_variation": distance(lives, best),
        }
        return {name: np.asarray(x, np.float64).tolist() for name, x in each.items()}

    result = {}
    for i, (who, beta) in enumerate(SETTINGS):
        lives = Lives(*(x[i] for x in found.rlhf))
        result[f"{who}, beta = {beta:g}"] = row(lives, optimum(lives.reference, said[who], beta))
    best = optimum(found.pairs.reference, true / DPO_NOISE, DPO_BETA)
    result[f"DPO, noise = {DPO_NOISE:g}, beta = {DPO_BETA:g}"] = row(found.pairs, best)
    return result


def report(found: dict[str, dict[str, list[float]]]) -> list[str]:
    """A line for each setting: means over seeds, of the true reward with its 95 % interval, and the worst distance."""
    width = max(map(len, found))
    lines = [f"{'':{width}}  {'true reward':>24}  over-rated     KL  distance to the optimum: mean, most"]
    for name, row in found.items():
        reward = str(stratified_bootstrap(mean, np.asarray(row["true_reward"]))).partition(" (")[0]
        means = {key: np.mean(values) for key, values in row.items()}
        lines.append(
            f"{name:{width}}  {reward:>24}  {means['over_rated']:10.3f}  {means['kl']:5.2f}  "
            f"{means['total_variation']:.3f}, {max(row['total_variation']):.3f}"
        )
    return lines


# --- the picture ------------------------------------------------------------------------------------------


def picture(found: Found):
    """The true reward as runs go on; at their end, over the divergence, with the closed form; what DPO has learnt."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14.0, 4.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _draw_curves(left, found)
    _draw_frontier(middle, found)
    _draw_pairs(right, found.pairs)
    return figure


def _draw_curves(axes: Any, found: Found) -> None:
    shown = [i for i, (who, beta) in enumerate(SETTINGS) if who != WHO[0] or beta in (0.0, 0.1, 0.3)]
    for color, i in enumerate(shown):
        curve, at = found.rlhf.curve[i], np.arange(1, found.rlhf.curve.shape[-1] + 1)
        label = f"{SETTINGS[i].who}, β = {SETTINGS[i].beta:g}"
        axes.plot(at, curve.mean(axis=0), color=f"C{color}", linewidth=1.2, label=label)
        axes.fill_between(at, curve.min(axis=0), curve.max(axis=0), color=f"C{color}", alpha=0.2, linewidth=0)
    axes.set(xlabel="updates of 128 answers", ylabel="true reward", title="RLHF: mean and range of the seeds")
    axes.legend(frameon=False, fontsize="small")
    axes.grid(alpha=0.3)


def _draw_frontier(axes: Any, found: Found) -> None:
    true, judges = rewards()
    one = [i for i, setting in enumerate(SETTINGS) if setting.who == WHO[0]]
    lives = Lives(*(x[one] for x in found.rlhf))
    reference = np.log(np.exp(lives.reference[0]).mean(axis=0))
    laws = np.stack([optimum(reference, judges[:, 0], beta) for beta in np.geomspace(0.02, 20, 200)])
    at, chance = np.sum(np.exp(laws) * (laws - reference), axis=1), np.exp(laws)
    for i, (name, reward) in enumerate({"what the judge says": judges[:, 0], "true reward": true}.items()):
        axes.plot(at, chance @ reward, color=f"C{i}", linewidth=1.0, label=f"{name}: closed form")
        got = np.exp(lives.learnt) @ reward
        axes.plot(divergence(lives).ravel(), got.ravel(), "o", color=f"C{i}", markersize=3.5, alpha=0.6)
    for place, value, i in zip(
        divergence(lives).mean(axis=1), (np.exp(lives.learnt) @ true).mean(axis=1), one, strict=True
    ):
        text = f"β = {SETTINGS[i].beta:g}"
        axes.annotate(text, (place, value), xytext=(4, -10), textcoords="offset points", fontsize="x-small")
    axes.set(xlabel="KL divergence from the reference", ylabel="reward", title="one judge: runs and closed form")
    axes.legend(frameon=False, fontsize="small")
    axes.grid(alpha=0.3)


def _draw_pairs(axes: Any, pairs: Lives) -> None:
    true, _ = rewards()
    best = optimum(pairs.reference, true / DPO_NOISE, DPO_BETA)
    names = [f"{token}\n{reward:g}" for token, reward in zip(overrated().vocab, true, strict=True)]
    at = np.arange(len(names))
    laws = {"reference": pairs.reference, "DPO": pairs.learnt, "closed form": best}
    for i, (label, log_prob) in enumerate(laws.items()):
        chance = np.exp(log_prob)
        spread = np.abs(np.stack([chance.min(axis=0), chance.max(axis=0)]) - chance.mean(axis=0))
        axes.bar(at + 0.27 * (i - 1), chance.mean(axis=0), 0.27, yerr=spread, color=f"C{i}", label=label)
    axes.set(xticks=at, xticklabels=names, ylabel="probability", title="DPO: answers and their true rewards")
    axes.legend(frameon=False, fontsize="small")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("overoptimisation", flags=[Options]):
        options = parse_record(Options, arguments, "python -m experiments.studies.overoptimisation", __doc__)
        xla.set_cpu_flags(threads=options.cpu_threads, small_loops=True)
        image, numbers = options.out_dir / "overoptimisation.png", options.out_dir / "overoptimisation.json"
        plots.check_can_save(image)
        found = run(options)
        results = rows(found)
        print(f"{options.num_seeds} seeds", *report(results), sep="\n")
        plots.save(picture(found), image)
        files.write_json(numbers, {"num_seeds": options.num_seeds, "num_updates": options.num_updates, **results})
    print(f"{found.seconds:.1f} s with compilation; wrote {image} and {numbers}", file=sys.stderr)


if __name__ == "__main__":
    main()
