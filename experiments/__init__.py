"""Experiments: one small module each, run as ``python -m experiments.NAME --help``."""
