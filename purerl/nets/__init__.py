"""Flax modules. They know shapes, not learning."""
