"""Games of two players: matches, players, planners, opponent pools, ratings, exhaustive search. No learning."""
