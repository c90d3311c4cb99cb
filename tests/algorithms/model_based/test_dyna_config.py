"""Settings of Dyna: what is refused."""

import pytest

from purerl.algorithms.model_based.dyna_config import DynaConfig


def test_dyna_config_refuses_bad_settings():
    """Sizes, choices and what would learn nothing: each named with the remedy."""
    for settings, message in (
        ({"num_steps": 0}, r"DynaConfig\.num_steps = 0: it must be at least 1"),
        ({"num_planning_steps": -1}, r"num_planning_steps = -1: it must be at least 0"),
        ({"model": "neural"}, r"DynaConfig\.model = 'neural'"),
        ({"planning": "fast"}, r"DynaConfig\.planning = 'fast'"),
        ({"planning": "prioritized", "num_planning_steps": 0}, "learns nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            DynaConfig(**settings)
