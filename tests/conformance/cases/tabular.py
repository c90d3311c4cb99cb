"""Tabular control."""

from collections.abc import Callable
from typing import Any

from purerl import envs
from purerl.algorithm import Algorithm
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers
from purerl.algorithms.tabular.double_q_learning import double_expected_sarsa, double_q_learning
from purerl.algorithms.tabular.expected_sarsa import expected_sarsa
from purerl.algorithms.tabular.monte_carlo_control import monte_carlo, off_policy_monte_carlo
from purerl.algorithms.tabular.q_lambda import q_lambda
from purerl.algorithms.tabular.q_learning import q_learning
from purerl.algorithms.tabular.q_sigma import q_sigma
from purerl.algorithms.tabular.sarsa import off_policy_sarsa, sarsa
from purerl.algorithms.tabular.sarsa_lambda import sarsa_lambda
from purerl.algorithms.tabular.tree_backup import tree_backup
from tests.conformance.case import Case, at_least_one, unknown_choice

_OTHER = ControlHypers(
    step_size=0.5,
    step_decay=0.5,
    gamma=0.9,
    initial_value=1.0,
    epsilon=0.5,
    temperature=2.0,
    exploration_decay=0.2,
    bonus=3.0,
    target_epsilon=0.2,
    sigma=0.3,
    lambda_=0.5,
)
_ENV = envs.make("Gridworld4x4", max_steps=6)
_EXPLORATION = {
    "epsilon-greedy": {"epsilon", "exploration_decay"},
    "boltzmann": {"temperature", "exploration_decay"},
    "ucb": {"bonus"},
}
_EVERY = {"step_size", "step_decay", "gamma", "initial_value"}


def _tabular(source: str, factory: Callable[..., Algorithm], *settings: Any, uses: tuple[str, ...] = (), **config: Any):
    """A case of control. ``uses``: hyperparameters besides those of every rule and of the exploration."""
    used = _EVERY | _EXPLORATION[config.get("exploration", "epsilon-greedy")] | set(uses)
    return Case(
        factory=lambda env, config: factory(env, config, *settings),
        env=_ENV,
        config=ControlConfig(num_steps=8, **config),
        hypers=ControlHypers(),
        other_hypers=_OTHER,
        kind="tabular",
        sources=(f"tabular/{source}.py", "tabular/control.py"),
        learned=lambda state: state.tables.q,
        unused={name: "of other rules or explorations" for name in vars(_OTHER) if name not in used},
        refused=(*at_least_one("num_steps", "max_episode_steps"), *unknown_choice("exploration")),
    )


CASES = {
    "sarsa": _tabular("sarsa", sarsa, 3),
    "expected-sarsa": _tabular("expected_sarsa", expected_sarsa),
    "q-learning": _tabular("q_learning", q_learning, uses=("target_epsilon",)),
    "off-policy-sarsa": _tabular("sarsa", off_policy_sarsa, 2, uses=("target_epsilon",)),
    "tree-backup": _tabular("tree_backup", tree_backup, 3, uses=("target_epsilon",)),
    "q-sigma": _tabular("q_sigma", q_sigma, 3, uses=("sigma",), exploration="boltzmann"),
    "double-q-learning": _tabular("double_q_learning", double_q_learning, uses=("target_epsilon",), exploration="ucb"),
    "double-expected-sarsa": _tabular("double_q_learning", double_expected_sarsa),
    "sarsa-lambda": _tabular("sarsa_lambda", sarsa_lambda, uses=("lambda_",)),
    "true-online-sarsa-lambda": _tabular("sarsa_lambda", sarsa_lambda, "dutch", uses=("lambda_",)),
    "q-lambda": _tabular("q_lambda", q_lambda, "replacing", uses=("target_epsilon", "lambda_")),
    "monte-carlo": _tabular("monte_carlo_control", monte_carlo),
    "off-policy-monte-carlo": _tabular(
        "monte_carlo_control", off_policy_monte_carlo, uses=("target_epsilon",), exploring_starts=True
    ),
}
