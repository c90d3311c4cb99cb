"""purerl's counterfactual regret minimisation with the settings given as JSON; prints one line of JSON."""

import json
import sys

import jax
import jax.numpy as jnp

from benchmarks.peers import jax_run
from purerl import envs, xla
from purerl.algorithms.games.cfr import PLUS, CFRConfig, CFRHypers, cfr

setup = json.loads(sys.argv[1])
jax.config.update("jax_enable_x64", setup["x64"])
algorithm = cfr(envs.make(setup["game"]), CFRConfig(num_iterations=setup["num_iterations"]))


def train(hypers: CFRHypers, key: jax.Array):
    def one(hypers: CFRHypers):
        return algorithm.update(hypers, algorithm.init(hypers, key), key)

    return jax.vmap(one)(hypers) if setup["num_runs"] > 1 else one(hypers)


# Arguments of the program, and no constants of it. Without sampling seeds are alike: many runs are many averages.
gamma = jnp.linspace(1.0, 2.0, setup["num_runs"]) if setup["num_runs"] > 1 else PLUS.gamma
hypers = jax.tree.map(lambda x: jnp.broadcast_to(jnp.asarray(x), jnp.shape(gamma)), PLUS.replace(gamma=gamma))
jax_run.measure(
    train,
    hypers,
    compiler_options=xla.compiler_options(jax.default_backend()),
)
