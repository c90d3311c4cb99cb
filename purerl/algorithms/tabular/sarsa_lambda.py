"""SARSA(lambda) and true online SARSA(lambda): on-policy TD control with eligibility traces.

    algorithm = sarsa_lambda(purerl.envs.make("WindyGridworld"), trace="replacing")
    state = algorithm.init(ControlHypers(step_size=0.5, lambda_=0.9), key)

Acting, exploring and counting visits are in :mod:`.control`.
"""

from purerl.algorithm import Algorithm
from purerl.algorithms.tabular.control import ControlConfig, control
from purerl.algorithms.tabular.eligibility_traces import Trace, traces
from purerl.envs.base import Environment
from purerl.recipes import recorded


@recorded
def sarsa_lambda(env: Environment, config: ControlConfig | None = None, trace: Trace = "accumulating") -> Algorithm:
    """SARSA(lambda); with dutch traces true online SARSA(lambda).

    Source: Sutton & Barto 2018, sections 12.5 and 12.7.
    """
    return control(env, traces(trace, name="sarsa-lambda"), config)
