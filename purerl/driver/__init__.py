"""The driver: everything around training, written once for every algorithm. It imports no algorithm."""

from purerl.driver.hypers.population import PBT
from purerl.driver.hypers.schedules import cosine, linear, piecewise
from purerl.driver.hypers.sweep import Sweep, choice, grid, log_uniform, random_search, uniform
from purerl.driver.options import RunOptions
from purerl.driver.running.interruption import Interrupted
from purerl.driver.running.loop import train
from purerl.driver.running.result import TrainResult
from purerl.driver.storage.load import load

__all__ = [
    "PBT",
    "Interrupted",
    "RunOptions",
    "Sweep",
    "TrainResult",
    "choice",
    "cosine",
    "grid",
    "linear",
    "load",
    "log_uniform",
    "piecewise",
    "random_search",
    "train",
    "uniform",
]
