"""Settings of SAC: what is refused together, and what passes."""

import pytest

from purerl.algorithms.continuous.sac_config import SACConfig, SACHypers
from purerl.ranges import check_hypers


@pytest.mark.covers("sac")
def test_choices_that_do_not_fit_are_refused():
    """Subsets larger than the ensemble, quantiles with another target, steps that do not end with the actor's."""
    with pytest.raises(ValueError, match=r"SACConfig\.subset = 3 must be at most num_critics = 2"):
        SACConfig(reduce="expected_min", subset=3)
    with pytest.raises(ValueError, match=r'SACConfig\.law = "quantile" needs reduce = "mean", but it is \'min\''):
        SACConfig(law="quantile")
    with pytest.raises(ValueError, match=r"num_gradient_steps = 6 is not a multiple of policy_delay = 4"):
        SACConfig(num_gradient_steps=6, policy_delay=4)
    SACConfig(law="quantile", reduce="mean", num_gradient_steps=6, policy_delay=3)
    check_hypers(SACHypers())
