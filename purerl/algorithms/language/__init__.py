"""Learning to write: from demonstrations, from preferences, from rewards, from a teacher."""
