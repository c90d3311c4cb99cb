"""Settings of TD3: what is refused together, and what passes."""

import pytest

from purerl.algorithms.continuous.td3_config import TD3Config, TD3Hypers
from purerl.ranges import check_hypers


@pytest.mark.covers("td3")
def test_choices_that_do_not_fit_are_refused():
    """Subsets larger than the ensemble, quantiles with another target, steps that do not end with the actor's."""
    with pytest.raises(ValueError, match=r"TD3Config\.subset = 3 must be at most num_critics = 2"):
        TD3Config(reduce="expected_min", subset=3)
    with pytest.raises(ValueError, match=r'TD3Config\.law = "quantile" needs reduce = "mean", but it is \'min\''):
        TD3Config(law="quantile")
    with pytest.raises(ValueError, match=r"num_gradient_steps = 6 is not a multiple of policy_delay = 4"):
        TD3Config(num_gradient_steps=6, policy_delay=4)
    TD3Config(law="quantile", reduce="mean", num_gradient_steps=6, policy_delay=3)
    check_hypers(TD3Hypers())
