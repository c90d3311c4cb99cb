"""The README's table of measured results, from what is kept under ``experiments/results/``.

    python -m experiments.table

Each folder there is what a run left in its ``--out-dir``; ``experiments/results/README.md`` has the commands.
"""

import json
import pathlib

from purerl.train.statistics import Interval

RESULTS = pathlib.Path(__file__).parent / "results"


def rows() -> list[str]:
    """One line of a Markdown table per kept result, sorted by path."""
    lines = []
    for path in sorted(RESULTS.glob("*/*/summary.json")):
        summary = json.loads(path.read_text())
        config = json.loads(path.with_name("config.json").read_text())
        final = Interval(*(float("nan") if x is None else x for x in summary["final_return"].values()))
        curve = (path.parent / "curve.png").relative_to(RESULTS.parent.parent)
        lines.append(
            f"| {config['algorithm']} | {config['settings']['env']} | {summary['num_env_steps']:,} | "
            f"{summary['num_seeds']} | {final} | [curve]({curve}) |"
        )
    return lines


def main() -> None:
    """Print the table."""
    print("| algorithm | environment | steps | seeds | return, 95 % interval | |")
    print("|---|---|---|---|---|---|")
    print("\n".join(rows()))


if __name__ == "__main__":
    main()
