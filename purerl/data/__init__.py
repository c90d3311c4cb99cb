"""Replay of experience: storage, uniform and prioritised sampling, transitions and sequences, datasets."""
