"""Text as sequences of tokens under a policy; knows no learning."""
