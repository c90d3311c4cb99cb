"""Write an agent to a file: to load it again, or as a program for machines without purerl.

purerl export runs/ppo/TIME-ENV agent.safetensors --best      # purerl.load("agent.safetensors")
purerl export runs/ppo/TIME-ENV agent.program                 # purerl.load_program, or jax.export alone
purerl export agent.safetensors agent.onnx --batch-size 8     # needs the extra onnx
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Literal

import tyro

from purerl import agent_file, export, xla
from purerl.driver import load
from purerl.driver.command_line import one_line_errors

_SUFFIXES = (agent_file.SUFFIX, export.SUFFIX, export.ONNX)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which agent, and where to."""

    source: tyro.conf.Positional[pathlib.Path]
    """Folder of a run, finished or not, or a file of an agent, .safetensors."""
    file: tyro.conf.Positional[pathlib.Path]
    """File to write; its ending says of which kind: .safetensors, .program, .onnx."""
    agent: int | None = None
    """The run's agent of this seed, counted from 0; None: of the first."""
    point: int | None = None
    """Point of the run's sweep; None: the first."""
    step: int | None = None
    """Environment step of the run's checkpoint; None: the last."""
    best: bool = False
    """Take the run's checkpoint with the best evaluation."""
    sampled: bool = False
    """For a program: draw actions from the policy instead of taking its mode."""
    batch_size: int = 1
    """For a program: how many environments it acts for at once."""
    platforms: tuple[Literal["cpu", "cuda", "tpu"], ...] = ("cpu", "cuda", "tpu")
    """For a .program: where it is to run."""
    allow: tuple[str, ...] = ()
    """Modules of your own that the run or file may import; whatever is in them runs."""
    cpu_threads: int | None = None
    """Threads of XLA on a CPU; None: one per core."""

    def __post_init__(self) -> None:
        if self.file.suffix not in _SUFFIXES:
            raise ValueError(f"{self.file}: the file's name ends in one of {', '.join(_SUFFIXES)}.")
        if self.batch_size < 1:
            raise ValueError(f"--batch-size {self.batch_size}: it must be at least 1.")
        if self.best and self.step is not None:
            raise ValueError(f"--best chooses the step by itself: drop it, or --step {self.step}.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with one_line_errors("export"):
        options = tyro.cli(Options, prog="purerl export", description=__doc__, args=arguments)
        xla.set_cpu_flags(threads=options.cpu_threads)
        agent = load(
            options.source,
            seed=options.agent,
            point=options.point,
            step=options.step,
            best=options.best,
            sample=options.sampled,
            allow=options.allow,
        )
        if options.file.suffix == agent_file.SUFFIX:
            agent.save(options.file)
        else:
            agent.export(options.file, options.batch_size, options.platforms)
    size = options.file.stat().st_size / 1000
    print(f"wrote {options.file}, {size:,.0f} kB")


if __name__ == "__main__":
    main()
