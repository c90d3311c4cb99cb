"""What rliable, the library of Agarwal et al. 2021, computes for one fixed table of scores.

    pip install rliable "pandas<3"
    python -m tests.oracles.rliable_values

writes rliable_values.json beside this file. rliable is needed to write it, not to read it.
"""

import importlib.metadata
import json
import pathlib

import numpy as np

PATH = pathlib.Path(__file__).with_suffix(".json")
NUM_RESAMPLES = 50_000
THRESHOLDS = [-0.5, 0.0, 0.4, 0.8, 1.2, 2.0]


def scores() -> dict[str, np.ndarray]:
    """Two algorithms on five tasks of different difficulty, 8 and 12 runs, with ties, outliers and scores beyond 1."""
    random = np.random.default_rng(2108_13264)
    difficulty = np.array([0.1, 0.4, 0.7, 0.9, 1.5])
    x = difficulty + 0.3 * random.normal(size=(8, 5))
    y = difficulty - 0.1 + 0.4 * random.standard_t(3, size=(12, 5))
    return {"x": x.round(1), "y": y.round(1)}


def main() -> None:
    """Compute everything and write the file."""
    from rliable import library, metrics

    tables = scores()

    def estimate(table, function) -> dict[str, list[float]]:
        np.random.seed(0)  # noqa: NPY002  rliable draws from the global stream
        points, intervals = library.get_interval_estimates({"it": table}, function, reps=NUM_RESAMPLES)
        low, high = intervals["it"]
        return {"estimate": points["it"].tolist(), "low": low.tolist(), "high": high.tolist()}

    aggregates = {
        "interquartile_mean": metrics.aggregate_iqm,
        "mean": metrics.aggregate_mean,
        "median": metrics.aggregate_median,
        "optimality_gap": metrics.aggregate_optimality_gap,
    }
    values = {
        name: estimate(tables["x"], lambda table, function=function: np.array([function(table)]))
        for name, function in aggregates.items()
    }
    values["performance_profile"] = estimate(
        tables["x"], lambda table: library.score_distributions(table, np.array(THRESHOLDS))
    )
    values["probability_of_improvement"] = estimate(
        [tables["x"], tables["y"]], lambda x, y: np.array([metrics.probability_of_improvement(x, y)])
    )
    record = {
        "made_by": f"python -m tests.oracles.rliable_values, rliable {importlib.metadata.version('rliable')}",
        "num_resamples": NUM_RESAMPLES,
        "scores": {name: table.tolist() for name, table in tables.items()},
        "thresholds": THRESHOLDS,
        "values": values,
    }
    PATH.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
