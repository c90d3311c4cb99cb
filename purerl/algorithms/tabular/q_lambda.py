"""Watkins' Q(lambda): off-policy TD control with eligibility traces.

    algorithm = q_lambda(purerl.envs.make("WindyGridworld"), trace="replacing")
    state = algorithm.init(ControlHypers(step_size=0.5, lambda_=0.9), key)

Acting, exploring and counting visits are in :mod:`.control`.
"""

from purerl.algorithm import Algorithm
from purerl.algorithms.tabular.control import ControlConfig, control
from purerl.algorithms.tabular.eligibility_traces import Trace, traces
from purerl.envs.base import Environment
from purerl.recipes import recorded


@recorded
def q_lambda(env: Environment, config: ControlConfig | None = None, trace: Trace = "accumulating") -> Algorithm:
    """Watkins' Q(lambda): Q-learning whose traces last as long as the greedy policy is followed.

    Source: Watkins 1989; Sutton & Barto 2018, section 12.10.
    """
    return control(env, traces(trace, on_policy=False, name="q-lambda"), config)
