"""The README's table of measured results, from what is kept under ``experiments/results/``.

    python -m experiments.tools.table

Each folder there is what a run left in its ``--out-dir``; ``experiments/results/README.md`` has the commands.
"""

import json

from purerl.tools.reproduce import RESULTS, final_return


def rows() -> list[str]:
    """One line of a Markdown table per kept result, sorted by path, with the name of its folder: the environment, and
    what else tells it from others."""
    lines = []
    for path in sorted(RESULTS.glob("*/*/summary.json")):
        summary = json.loads(path.read_text())
        config = json.loads(path.with_name("config.json").read_text())
        curve = (path.parent / "curve.png").relative_to(RESULTS.parent.parent)
        name = config.get("experiment", config["algorithm"])
        lines.append(
            f"| {name} | {path.parent.name} | {summary['num_env_steps']:,} | "
            f"{summary['num_seeds']} | {final_return(summary)} | [curve]({curve}) |"
        )
    return lines


def main() -> None:
    """Print the table."""
    print("| algorithm | environment | steps | seeds | return, 95 % interval | |")
    print("|---|---|---|---|---|---|")
    print("\n".join(rows()))


if __name__ == "__main__":
    main()
