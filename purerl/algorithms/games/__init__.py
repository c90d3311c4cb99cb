"""Games of two players: who plays, and what comes of it."""
