"""Dyna."""

from typing import Any

from purerl import envs
from purerl.algorithms.model_based.dyna import dyna
from purerl.algorithms.model_based.dyna_config import DynaConfig, DynaHypers
from tests.conformance.case import Case, at_least_one, unknown_choice


def _dyna(unused: dict[str, str], **config: Any) -> Case:
    return Case(
        factory=dyna,
        env=envs.make("Gridworld4x4", max_steps=6),
        config=DynaConfig(num_steps=8, num_planning_steps=3, **config),
        hypers=DynaHypers(),
        other_hypers=DynaHypers(step_size=0.5, gamma=0.8, epsilon=0.3, kappa=0.01, theta=0.3, initial_value=1.0),
        kind="tabular",
        sources=tuple(f"model_based/{name}.py" for name in ("dyna", "dyna_config", "dyna_planning", "dyna_tables")),
        learned=lambda state: state.tables.q,
        unused=unused,
        refused=(
            *at_least_one("num_steps"),
            *unknown_choice("model", "planning"),
            ({"num_planning_steps": -1}, r"num_planning_steps = -1: it must be at least 0"),
            ({"planning": "prioritized", "num_planning_steps": 0}, "learns nothing"),
        ),
    )


CASES = {
    "dyna-q+": _dyna({"theta": "planning is uniform"}, plan_untried=True),
    "prioritized-sweeping": _dyna({}, planning="prioritized", model="counts"),
}
