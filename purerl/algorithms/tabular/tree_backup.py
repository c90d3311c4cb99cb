"""Tree backup: n-step off-policy TD control without importance ratios.

    algorithm = tree_backup(purerl.envs.make("CliffWalking"), n=3)
    state = algorithm.init(ControlHypers(step_size=0.5, epsilon=0.1), key)

Acting, exploring and counting visits are in :mod:`.control`.
"""

from purerl.algorithm import Algorithm
from purerl.algorithms.tabular.control import ControlConfig, control
from purerl.algorithms.tabular.n_step import n_step
from purerl.envs.base import Environment
from purerl.recipes import recorded


@recorded
def tree_backup(
    env: Environment, config: ControlConfig | None = None, n: int = 1, on_policy: bool = False
) -> Algorithm:
    """n-step tree backup: averaged over all actions, deeper along the one that was taken.

    Source: Precup et al. 2000; Sutton & Barto 2018, (7.16).
    """
    return control(env, n_step(n, "expected", on_policy, name="tree-backup"), config)
