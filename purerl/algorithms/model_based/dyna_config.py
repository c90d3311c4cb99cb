"""Settings and hyperparameters of Dyna."""

import dataclasses
from typing import Literal

from flax import struct

from purerl.config_checks import check_config
from purerl.ranges import hyper, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class DynaConfig:
    """Static settings of Dyna: what fixes a loop's length or a branch.

    Raises:
        ValueError: at construction, if a number is too small, a choice unknown, or nothing would ever be learnt.
    """

    num_steps: int = 100
    """Real steps per update, K."""
    num_planning_steps: int = setting(5, low=0)
    """Backups from the model after each real step, n; at most so many where pairs are prioritised."""
    model: Literal["last", "counts"] = "last"
    """What is remembered of a pair: what it did last, for deterministic environments, or on average."""
    planning: Literal["uniform", "prioritized"] = "uniform"
    """Which known pair is backed up: any, or the one with the largest error. The latter does without a backup of the
    real step itself, and each costs a pass over all pairs."""
    plan_untried: bool = False
    """Whether planning knows all actions of a state that was visited, as Dyna-Q+ does, or those that were tried."""
    max_evaluation_steps: int = 1000
    """Evaluation stops an episode after so many steps, as a greedy policy may go round in circles."""

    def __post_init__(self) -> None:
        check_config(self)
        if self.planning == "prioritized" and self.num_planning_steps == 0:
            raise ValueError(
                'DynaConfig.num_planning_steps = 0 with planning = "prioritized" learns nothing, as only planning '
                'learns there: make it at least 1, or choose planning = "uniform".'
            )


class DynaHypers(struct.PyTreeNode):
    """Hyperparameters of Dyna."""

    step_size: float = hyper(0.1, above=0, high=1)
    """alpha, of real and planned steps alike; 1 is best in a deterministic environment."""
    gamma: float = hyper(0.95, low=0, high=1)
    """Discount."""
    epsilon: float = hyper(0.1, low=0, high=1)
    """Share of uniformly drawn actions."""
    kappa: float = hyper(0.0, low=0)
    """Reward, in planning, for a pair not tried for tau real steps: kappa sqrt(tau)."""
    theta: float = hyper(1e-4, low=0)
    """Error up to which prioritised sweeping leaves a pair alone; to be above Q's rounding."""
    initial_value: float = hyper(0.0, initial=True)
    """Value of every pair at the beginning."""
