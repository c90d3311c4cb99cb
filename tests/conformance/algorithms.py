"""Every algorithm of purerl, as the conformance suite sees it. Adding one is adding an entry to its family's cases."""

from tests.conformance.case import Case
from tests.conformance.cases import bandits, continuous, games, language, model_based, planning, policy, tabular, value

CASES: dict[str, Case] = {
    **policy.CASES,
    **bandits.CASES,
    **tabular.CASES,
    **model_based.CASES,
    **value.CASES,
    **continuous.CASES,
    **planning.CASES,
    **games.CASES,
    **language.CASES,
}

# One of each kind of state: for these `make test` checks the deep laws, too.
REPRESENTATIVES = ("ppo-discrete", "dqn", "r2d2", "alphazero", "q-learning", "offline-dqn", "sft")
