"""purerl: reinforcement learning in pure JAX.

Every algorithm is a record of pure functions (:mod:`purerl.algorithm`), so a training run is one ``scan``, a
sweep over seeds is one ``vmap``, and the driver (:func:`purerl.train`) is written once for all of them.
"""

from purerl import envs
from purerl.algorithm import Algorithm, Spec
from purerl.driver import train

__all__ = ["Algorithm", "Spec", "envs", "train"]
__version__ = "0.1.0"
