"""Model-based learning and planning: experience becomes a model, and a model becomes experience or a plan."""
