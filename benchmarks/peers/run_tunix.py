"""tunix's sampler on a Qwen3 of the sizes given as JSON; prints one line of JSON. Runs in tunix's own environment."""

import json
import statistics
import sys
import time

import jax
import numpy as np
from flax import nnx
from tunix.generate import sampler as samplers
from tunix.models.qwen3 import model as qwen3

setup = json.loads(sys.argv[1])
V, B, P, T = (setup[name] for name in ("vocab_size", "batch_size", "prompt_length", "max_tokens"))


class Letters:
    """A tokenizer whose tokens are characters: what the sampler asks for, and no more."""

    def encode(self, text: str, **_) -> list[int]:
        """Of each character."""
        return [ord(letter) % (V - 3) + 3 for letter in text]

    def decode(self, ids, **_) -> str:
        """Not timed for what it says."""
        return "".join(chr(65 + int(i) % 26) for i in ids)

    def bos_id(self) -> int:
        """Begins."""
        return 1

    def eos_id(self) -> int:
        """Ends."""
        return 2

    def pad_id(self) -> int:
        """Fills."""
        return 0


config = qwen3.ModelConfig(
    num_layers=setup["num_layers"],
    vocab_size=V,
    embed_dim=setup["size"],
    hidden_dim=setup["feed_forward_size"],
    num_heads=setup["num_heads"],
    head_dim=setup["head_size"],
    num_kv_heads=setup["num_kv_heads"],
    rope_theta=10_000,
    norm_eps=1e-6,
    use_tied_embedding=True,
)
model = qwen3.Qwen3(config, rngs=nnx.Rngs(0))
num_params = sum(int(np.prod(x.shape)) for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
cache = samplers.CacheConfig(P + T, config.num_layers, config.num_kv_heads, config.head_dim)
sampler = samplers.Sampler(model, Letters(), cache)
letters = np.random.default_rng(0).integers(65, 91, (B, P - 1))
prompts = ["".join(map(chr, row)) for row in letters]


def generate(seed: int) -> None:
    """All T tokens of B answers, drawn from the whole vocabulary."""
    sampler(prompts, T, max_prompt_length=P, temperature=1.0, top_p=1.0, seed=seed, eos_tokens=[V + 7])


start = time.perf_counter()
generate(0)
first_s = time.perf_counter() - start
walls, cpus = [], []
for seed in range(1, 1 + setup["calls"]):
    start, cpu = time.perf_counter(), time.process_time()
    generate(seed)
    walls.append(time.perf_counter() - start)
    cpus.append(time.process_time() - cpu)
measured = {"first_s": first_s, "run_s": statistics.median(walls), "cpu_s": statistics.median(cpus)}
print(json.dumps(measured | {"num_params": num_params}))
