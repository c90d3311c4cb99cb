"""The presets of this algorithm fit each other, their environments and the algorithm."""

from tests.support.presets import check


def test_presets_can_be_run():
    """Their kinds, names and environments; the default one's first state."""
    check("a2c")
