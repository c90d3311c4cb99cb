"""The driver: everything around training, written once for every algorithm. It imports no algorithm."""

from purerl.train.loop import TrainResult, train

__all__ = ["TrainResult", "train"]
