"""Algorithms with settings that work: a module each, with ``PRESETS`` by environment and their ``EXPERIMENT``.

``purerl train NAME`` runs the module of that name; ``experiments/NAME.py`` in the repository does the same.
"""
