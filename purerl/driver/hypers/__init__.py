"""Hyperparameters: sweeps, schedules, population-based training."""
