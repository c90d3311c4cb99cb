"""Analysis of runs: statistics with intervals, figures, animated pictures."""
