"""Speed, as ratios between programs measured side by side in one run: ``python -m benchmarks.run``."""
