"""SAC's presets."""

from tests.support.presets import check


def test_presets_can_be_run():
    """Their kinds, names and environments; the default one's first state."""
    check("sac")
