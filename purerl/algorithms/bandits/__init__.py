"""Bandits: reinforcement learning without states, exploration alone."""
