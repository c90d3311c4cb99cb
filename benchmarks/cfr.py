"""Counterfactual regret minimisation against OpenSpiel's in C++: iterations of CFR+ on Kuhn's and Leduc's poker.

    python -m benchmarks.cfr

An iteration updates both players by turns, over the whole tree. Each contestant runs in a process of its own, and they
take turns; compiling is timed apart, and so is making arrays of the game, which is not counted.
"""

import sys

import tyro

from benchmarks import common, setup_peers

GAMES = {  # of ours and of the peer, with the number of iterations that take each a good part of a second
    "Kuhn": {"game": "pgx/kuhn_poker", "peer": "kuhn_poker", "num_iterations": 50_000, "peer_iterations": 3_000},
    "Leduc": {"game": "pgx/leduc_holdem", "peer": "leduc_poker", "num_iterations": 3_000, "peer_iterations": 50},
}
MANY = 64  # runs side by side
OURS = {
    "purerl, float64": {"x64": True, "num_runs": 1},
    "purerl, float32": {"x64": False, "num_runs": 1},
    f"purerl, float32, {MANY} runs": {"x64": False, "num_runs": MANY},
}


def main(repeats: int = common.REPEATS, threads: int | None = None, small_loops: bool = False) -> None:
    """Measure CFR.

    Args:
        repeats: rounds; medians are reported.
        threads: of XLA; None: one per core.
        small_loops: let XLA compile small loops as one function.
    """
    suffix = common.set_flags(small_loops, threads)
    python = str(setup_peers.python_of("openspiel"))
    tables = {name: rows(setup, python, repeats) for name, setup in GAMES.items()}
    common.report(f"cfr{suffix}", {"games": GAMES, "repeats": repeats}, ("jax", "pgx"), **tables)


def rows(setup: dict, python: str, repeats: int) -> list[common.Row]:
    """Seconds of an iteration of each contestant, of a single run; they take turns."""
    turns = [
        {
            "OpenSpiel, C++": common.run_peer([python, "-m", "benchmarks.peers.run_openspiel"], setup),
            **{
                name: common.run_peer(
                    [sys.executable, "-m", "benchmarks.peers.run_purerl_cfr"], setup | ours | fewer(setup, ours)
                )
                for name, ours in OURS.items()
            },
        }
        for _ in range(repeats)
    ]
    medians = {
        name: {key: sorted(turn[name][key] for turn in turns)[repeats // 2] for key in ("compile_s", "run_s", "cpu_s")}
        for name in turns[0]
    }
    number = {"OpenSpiel, C++": setup["peer_iterations"]}
    number |= {name: ours["num_runs"] * fewer(setup, ours)["num_iterations"] for name, ours in OURS.items()}
    peer = {key: s / number["OpenSpiel, C++"] for key, s in medians["OpenSpiel, C++"].items()}
    return [
        {
            "contestant": name,
            "compile s": median["compile_s"],
            "microseconds per iteration": 1e6 * median["run_s"] / number[name],
            "CPU microseconds": 1e6 * median["cpu_s"] / number[name],
            "iterations per second": number[name] / median["run_s"],
            "speed / OpenSpiel's": peer["run_s"] * number[name] / median["run_s"],
            "the same in CPU time": peer["cpu_s"] * number[name] / median["cpu_s"],
        }
        for name, median in medians.items()
    ]


def fewer(setup: dict, ours: dict) -> dict:
    """As many iterations in all, whatever the number of runs, but not too few."""
    return {"num_iterations": max(setup["num_iterations"] // ours["num_runs"], 200)}


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
