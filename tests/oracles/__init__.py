"""Slow and obvious answers in NumPy float64, for tests to compare the library with."""
