"""Q-learning: off-policy TD control.

    algorithm = q_learning(purerl.envs.make("CliffWalking"))
    state = algorithm.init(ControlHypers(step_size=0.5, epsilon=0.1), key)

Acting, exploring and counting visits are in :mod:`.control`.
"""

from purerl.algorithm import Algorithm
from purerl.algorithms.tabular.control import ControlConfig, control
from purerl.algorithms.tabular.n_step import n_step
from purerl.envs.base import Environment
from purerl.recipes import recorded


@recorded
def q_learning(env: Environment, config: ControlConfig | None = None) -> Algorithm:
    """Q-learning: off-policy TD control, the value of the greedy policy whatever the behaviour.

    ``Q(s, a) += alpha (r + gamma max_b Q(s', b) - Q(s, a))``

    Source: Watkins 1989; Sutton & Barto 2018, (6.8).
    """
    return control(env, n_step(1, "expected", on_policy=False, name="q-learning"), config)
