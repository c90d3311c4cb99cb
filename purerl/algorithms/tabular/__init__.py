"""Tabular methods: dynamic programming in a known model, and learning one table entry at a time."""
