"""The folder of a run: settings, logs, checkpoints, and runs made again from them."""
