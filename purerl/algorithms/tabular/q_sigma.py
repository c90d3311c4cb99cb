"""Q(sigma): n-step TD control between sampling and averaging over actions.

    algorithm = q_sigma(purerl.envs.make("CliffWalking"), n=3)
    state = algorithm.init(ControlHypers(step_size=0.5, epsilon=0.1, sigma=0.5), key)

Acting, exploring and counting visits are in :mod:`.control`.
"""

from purerl.algorithm import Algorithm
from purerl.algorithms.tabular.control import ControlConfig, control
from purerl.algorithms.tabular.n_step import n_step
from purerl.envs.base import Environment
from purerl.recipes import recorded


@recorded
def q_sigma(env: Environment, config: ControlConfig | None = None, n: int = 1) -> Algorithm:
    """n-step Q(sigma): between n-step SARSA (hypers.sigma 1) and tree backup of the policy that acts (0).

    Source: De Asis et al. 2018 (arXiv 1703.01327).
    """
    return control(env, n_step(n, "mixed", name="q-sigma"), config)
