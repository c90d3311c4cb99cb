"""Theorems, checked exactly: by enumerating every trajectory or by solving a linear system."""
