"""SARSA: on-policy TD control with one or n steps, and n-step off-policy SARSA.

    algorithm = sarsa(purerl.envs.make("CliffWalking"))
    state = algorithm.init(ControlHypers(step_size=0.5, epsilon=0.1), key)

Acting, exploring and counting visits are in :mod:`.control`.
"""

from purerl.algorithm import Algorithm
from purerl.algorithms.tabular.control import ControlConfig, control
from purerl.algorithms.tabular.n_step import n_step
from purerl.envs.base import Environment
from purerl.recipes import recorded


@recorded
def sarsa(env: Environment, config: ControlConfig | None = None, n: int = 1) -> Algorithm:
    """SARSA: on-policy TD control, the value of the policy that acts.

    ``Q(s, a) += alpha (r + gamma Q(s', a') - Q(s, a))``, or with n rewards

    Source: Sutton & Barto 2018, (6.7), and (7.4) for n steps.
    """
    return control(env, n_step(n, "sampled", name="sarsa"), config)


@recorded
def off_policy_sarsa(env: Environment, config: ControlConfig | None = None, n: int = 1) -> Algorithm:
    """n-step off-policy SARSA: the policy with hypers.target_epsilon, by importance ratios.

    Source: Sutton & Barto 2018, (7.11).
    """
    return control(env, n_step(n, "sampled", on_policy=False, name="off-policy-sarsa"), config)
