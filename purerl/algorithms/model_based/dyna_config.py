"""Settings and hyperparameters of Dyna."""

import dataclasses
from typing import Literal

from flax import struct

from purerl.config_checks import check_config


@dataclasses.dataclass(frozen=True, kw_only=True)
class DynaConfig:
    """Static settings of Dyna: what fixes a loop's length or a branch.

    Raises:
        ValueError: at construction, if a number is too small, a choice unknown, or nothing would ever be learnt.
    """

    num_steps: int = 100
    """Real steps per update, K."""
    num_planning_steps: int = 5
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
        check_config(self, at_least={"num_planning_steps": 0})
        if self.planning == "prioritized" and self.num_planning_steps == 0:
            raise ValueError(
                'DynaConfig.num_planning_steps = 0 with planning = "prioritized" learns nothing, as only planning '
                'learns there: make it at least 1, or choose planning = "uniform".'
            )


class DynaHypers(struct.PyTreeNode):
    """Hyperparameters of Dyna."""

    step_size: float = 0.1
    """alpha, of real and planned steps alike, in (0, 1]; 1 is best in a deterministic environment."""
    gamma: float = 0.95
    """Discount, in [0, 1]."""
    epsilon: float = 0.1
    """Share of uniformly drawn actions, in [0, 1]."""
    kappa: float = 0.0
    """Reward, in planning, for a pair not tried for tau real steps: kappa sqrt(tau); at least 0."""
    theta: float = 1e-4
    """Error up to which prioritised sweeping leaves a pair alone, at least 0 and above Q's rounding."""
    initial_value: float = 0.0
    """Value of every pair at the beginning."""
