"""Which tier a law of one algorithm belongs to, and the choice of algorithms on the command line."""

import pytest

from tests.conformance import touched
from tests.conformance.algorithms import REPRESENTATIVES


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark deep laws, and leave out the algorithms that were not asked for."""
    chosen = [name for name in config.getoption("algorithms").split(",") if name]
    deep = config.getoption("deep").split(",")
    if deep == ["touched"]:
        deep = touched.algorithms(touched.files())
    left_out = []
    for item in items:
        mine = item.path.name == "test_conformance.py" and hasattr(item, "callspec")
        name = item.callspec.params.get("runs") if mine else None
        if item.get_closest_marker("deep_law") and name not in (*REPRESENTATIVES, *deep):
            item.add_marker("deep")
        if chosen and name is not None and name not in chosen:
            left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
