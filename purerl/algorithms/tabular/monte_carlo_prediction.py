"""Monte Carlo prediction, first-visit and every-visit."""

from purerl.algorithms.tabular.episodes import Episode
from purerl.algorithms.tabular.prediction import (
    StateValues,
    check_steps,
    monte_carlo_returns,
    visit_in_order,
    visit_weights,
)
from purerl.types import Scalar


def monte_carlo(
    values: StateValues,
    episode: Episode,
    gamma: Scalar,
    *,
    first_visit: bool = False,
    step_size: Scalar = 1.0,
    decay: Scalar = 1.0,
) -> StateValues:
    """Monte Carlo prediction: towards the return from each visit to the end.

    ``V(S_t) += alpha (G_t - V(S_t))``

    With sample means (the default) first visits give unbiased estimates. Every visit is biased as long as episodes are
    few, since the returns of one episode overlap, and consistent. Constant steps weigh late episodes more.

    Args:
        values: so far.
        episode: of the policy.
        gamma: discount in [0, 1].
        first_visit: leave out all but an episode's first visit of a state.
        step_size: of a state's first target, in [0, 1].
        decay: exponent by which it falls, in [0, 1].

    Source: Sutton & Barto 2018, section 5.1 and (6.1); Singh & Sutton 1996 for the bias.
    """
    check_steps("monte_carlo", gamma, step_size, decay)
    targets = monte_carlo_returns(episode, values.value, gamma)
    weight = visit_weights(episode, len(values.value), first_visit)
    return visit_in_order(values, episode, lambda _, t: targets[t], weight, step_size, decay)
