"""Games: matches, players, planners, opponent pools, ratings, exhaustive search, exact equilibria. No learning."""
