"""Planning with continuous actions: tree search among sampled actions (Sampled MuZero) in the true model.

    python -m experiments.studies.sampled_mcts
    python -m experiments.studies.sampled_mcts --num-samples 8 --num-simulations 32 --episodes 64
    python -m experiments.studies.sampled_mcts --search puct --num-simulations 128

Every node of a tree has its own few actions, drawn uniformly; a leaf's value is the mean return of uniformly random
playouts from it. Nothing is learnt, neither a policy to draw from nor a value, and the model is the true one: of
Sampled MuZero only the search is left. Prints the mean return beside that of random actions.
"""

import dataclasses
import functools
import pathlib
import sys
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from purerl import envs, files, rollout, search, xla
from purerl.algorithms.model_based import lookahead
from purerl.analysis import statistics
from purerl.config_checks import check_options
from purerl.driver.command_line import one_line_errors, parse_record
from purerl.envs.base import Environment
from purerl.envs.games import Game
from purerl.ranges import setting
from purerl.search import sampled
from purerl.spaces import Space
from purerl.types import PyTree, Seen

# Neither adds chance of its own: the proposals are chance enough.
SEARCHES = {
    "gumbel": functools.partial(search.gumbel_muzero, gumbel_scale=0.0),
    "puct": functools.partial(search.muzero, dirichlet_fraction=0.0, temperature=0.0),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Where to plan, how long, and where to write what came of it."""

    env: str = "Pendulum-v1"
    """Environment of one player, by name."""
    search: str = "gumbel"
    """gumbel or puct."""
    num_samples: int = setting(16, low=1)
    """Actions that are drawn in each node, K."""
    num_simulations: int = setting(64, low=1)
    """Before a step."""
    playout_depth: int = setting(30, low=1)
    """Steps of a playout."""
    num_playouts: int = setting(4, low=1)
    """From each leaf."""
    gamma: float = 0.99
    """Discount of what is planned; returns are reported without."""
    episodes: int = setting(32, low=1)
    """To play; a multiple of --at-once."""
    at_once: int = setting(8, low=1)
    """Episodes side by side."""
    seed: int = 0
    """Fixes everything random."""
    progress: bool = True
    """Show a progress bar."""
    out: pathlib.Path | None = None
    """File for the returns, JSON; None: runs/sampled_mcts/ENV.json."""
    cpu_threads: int | None = None
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.search not in SEARCHES:
            raise ValueError(f"search = {self.search}: choose from {', '.join(SEARCHES)}.")
        if self.episodes % self.at_once:
            raise ValueError(f"episodes = {self.episodes}: it must be a multiple of at_once = {self.at_once}.")
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma = {self.gamma}: it must be in [0, 1].")

    @property
    def simulated_steps(self) -> int:
        """Of the environment, before one step of an agent."""
        playouts = (self.num_simulations + 1) * self.num_playouts
        return self.num_simulations + playouts * self.playout_depth


def uniform(space: Space, num_samples: int) -> Callable:
    """Uniform proposal over the action space, which is the policy that is improved: ``beta = pi``."""

    def propose(params: PyTree, key: jax.Array, env_state: PyTree) -> tuple[PyTree, jax.Array]:
        shape = jax.tree.leaves(env_state)[0].shape[0], num_samples
        return jax.vmap(jax.vmap(space.sample))(jax.random.split(key, shape)), jnp.zeros(shape)

    return propose


def planner(env: Environment, options: Options) -> Callable:
    """Policy that searches before every step, as :func:`purerl.rollout.episodes` takes it."""
    propose = uniform(env.action_space, options.num_samples)
    evaluate_leaf = lookahead.playout_evaluator(
        env, gamma=options.gamma, depth=options.playout_depth, num_samples=options.num_playouts
    )
    model = sampled.model(propose, lookahead.model(env, evaluate_leaf, options.gamma))

    def policy(carry: PyTree, seen: Seen, key: jax.Array) -> tuple[PyTree, jax.Array, tuple]:
        leaf_key, draw_key, search_key = jax.random.split(key, 3)
        _, value = evaluate_leaf((), leaf_key, seen.obs, seen.env_state)
        root = sampled.root(propose, (), draw_key, value, seen.env_state)
        decision = SEARCHES[options.search]((), search_key, root, model, options.num_simulations)
        return carry, sampled.choice(decision).action, ()

    return policy


def random_actions(env: Environment) -> Callable:
    """Policy of uniformly random actions, in the same form."""
    draw = uniform(env.action_space, 1)

    def policy(carry: PyTree, seen: Seen, key: jax.Array) -> tuple[PyTree, jax.Array, tuple]:
        actions, _ = draw((), key, seen.env_state)
        return carry, actions[:, 0], ()

    return policy


def play(env: Environment, policy: Callable, options: Options, name: str) -> np.ndarray:
    """Returns of complete episodes, ``[N]``, with the same initial states for every policy."""
    from tqdm import tqdm

    batch = jax.jit(lambda key: rollout.episodes(env, policy, key, options.at_once).returns)
    keys = jax.random.split(jax.random.key(options.seed), options.episodes // options.at_once)
    returns: list[float] = []
    with tqdm(total=options.episodes, desc=name, unit="episode", disable=not options.progress) as bar:
        for key in keys:
            returns += np.asarray(batch(key), np.float64).tolist()
            bar.set_postfix_str(f"return {np.mean(returns):.1f}", refresh=False)
            bar.update(options.at_once)
    return np.asarray(returns)


def make_env(name: str) -> Environment:
    """The environment of that name.

    Raises:
        ValueError: if it is a game of two players, or there is none.
    """
    env = envs.make(name)
    if isinstance(env, Game):
        raise ValueError(f"{name} is a game of two players: plan in it with experiments.studies.mcts.")
    return env


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("sampled_mcts", flags=[Options]):
        options = parse_record(Options, arguments, "python -m experiments.studies.sampled_mcts", __doc__)
        xla.set_cpu_flags(threads=options.cpu_threads, small_loops=True)
        out = options.out or pathlib.Path("runs", "sampled_mcts", f"{options.env.replace('/', '-')}.json")
        files.check_writable(out)
        env, began = make_env(options.env), time.perf_counter()
        returns = {name: play(env, policy(env), options, name) for name, policy in _policies(options).items()}
        print(*report(env.name, options, returns), sep="\n")
        record = {**dataclasses.asdict(options), "returns": {name: found.tolist() for name, found in returns.items()}}
        files.write_json(out, {**record, "simulated_steps": options.simulated_steps})
    print(f"{time.perf_counter() - began:.1f} s with compilation; wrote {out}", file=sys.stderr)


def report(title: str, options: Options, returns: dict[str, np.ndarray]) -> list[str]:
    """What was played, and a line each: mean return with its 95 % interval."""
    width = max(map(len, returns))
    lines = [
        f"{title}: {options.episodes} episodes; {options.num_simulations} simulations of {options.num_samples} sampled "
        f"actions before a step, {options.simulated_steps:,} steps of the simulator"
    ]
    for name, found in returns.items():
        lines.append(f"{name:<{width}}  return {statistics.stratified_bootstrap(statistics.mean, found)}")
    return lines


def _policies(options: Options) -> dict[str, Callable]:
    return {"random": random_actions, f"search {options.search}": functools.partial(planner, options=options)}


if __name__ == "__main__":
    main()
