"""Every benchmark, one after another, each in a process of its own: ``make bench``."""

import subprocess
import sys

BENCHMARKS = (
    ("benchmarks.returns",),
    ("benchmarks.recurrence",),
    ("benchmarks.env",),
    ("benchmarks.env", "--small-loops"),
    ("benchmarks.first_run",),
    ("benchmarks.ppo",),
    ("benchmarks.ppo", "--threads", "1"),
    ("benchmarks.dqn",),
    ("benchmarks.dqn", "--threads", "1"),
    ("benchmarks.sac", "--threads", "1"),
    ("benchmarks.tabular",),
    ("benchmarks.value_iteration",),
    ("benchmarks.replay",),
    ("benchmarks.cfr",),
    ("benchmarks.search", "--threads", "1"),
    ("benchmarks.self_play", "--threads", "1"),
    ("benchmarks.driver",),
    ("benchmarks.deadlock",),
)


def main() -> None:
    for module, *arguments in BENCHMARKS:
        print(f"\n# {' '.join((module, *arguments))}", flush=True)
        subprocess.run([sys.executable, "-m", module, *arguments], check=True)


if __name__ == "__main__":
    main()
