"""Expected SARSA: on-policy TD control that averages over the next action.

    algorithm = expected_sarsa(purerl.envs.make("CliffWalking"))
    state = algorithm.init(ControlHypers(step_size=0.5, epsilon=0.1), key)

Acting, exploring and counting visits are in :mod:`.control`.
"""

from purerl.algorithm import Algorithm
from purerl.algorithms.tabular.control import ControlConfig, control
from purerl.algorithms.tabular.n_step import n_step
from purerl.envs.base import Environment
from purerl.recipes import recorded


@recorded
def expected_sarsa(env: Environment, config: ControlConfig | None = None) -> Algorithm:
    """Expected SARSA: SARSA without the randomness of its next action.

    ``Q(s, a) += alpha (r + gamma sum_b pi(b|s') Q(s', b) - Q(s, a))``

    Source: Sutton & Barto 2018, (6.9).
    """
    return control(env, n_step(1, "expected", name="expected-sarsa"), config)
