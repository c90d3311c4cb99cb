"""Neural networks: flax linen modules, which know nothing of learning."""
