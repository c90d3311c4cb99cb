"""The driver: everything around training, written once for every algorithm. It imports no algorithm."""

from purerl.train.interruption import Interrupted
from purerl.train.loop import train
from purerl.train.population import PBT
from purerl.train.result import TrainResult
from purerl.train.schedules import cosine, linear, piecewise
from purerl.train.sweep import Sweep, choice, grid, log_uniform, random_search, uniform

__all__ = [
    "PBT",
    "Interrupted",
    "Sweep",
    "TrainResult",
    "choice",
    "cosine",
    "grid",
    "linear",
    "log_uniform",
    "piecewise",
    "random_search",
    "train",
    "uniform",
]
