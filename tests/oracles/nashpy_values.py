"""All Nash equilibria that nashpy, another library, finds in random games of two players, by vertex enumeration.

    pip install nashpy
    python -m tests.oracles.nashpy_values

writes nashpy_values.json beside this file. nashpy is needed to write it, not to read it.
"""

import importlib.metadata
import json
import pathlib

import numpy as np

PATH = pathlib.Path(__file__).with_suffix(".json")
NUM_GAMES = 250


def games() -> np.ndarray:
    """Payoffs ``[N, 2, 3, 3]``, normal numbers, of which no game is degenerate; the last fifth has zero sum."""
    payoffs = np.random.default_rng(1951).normal(size=(NUM_GAMES, 2, 3, 3))
    zero_sum = payoffs[-NUM_GAMES // 5 :]
    zero_sum[:, 1] = -zero_sum[:, 0]
    return payoffs


def main() -> None:
    """Compute everything and write the file."""
    import nashpy

    def equilibria(payoffs):
        found = nashpy.Game(*payoffs).vertex_enumeration()
        return sorted([[*np.round(row, 9).tolist(), *np.round(column, 9).tolist()] for row, column in found])

    record = {
        "made_by": f"python -m tests.oracles.nashpy_values, nashpy {importlib.metadata.version('nashpy')}",
        "equilibria": [equilibria(payoffs) for payoffs in games()],
    }
    PATH.write_text(json.dumps(record, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
