"""Which algorithm suits which problem: a table of properties, and the decision tree as a function.

    >>> [method.name for method in purerl.choose(actions="continuous", samples="costly")]
    ['SAC', 'TD3', 'PPO']

``python -m purerl.guide`` prints the table as Markdown; docs/choosing.md is made of it.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

Problem = Literal["control", "bandit", "game", "text"]
Actions = Literal["discrete", "continuous"]
Samples = Literal["cheap", "costly"]
Feedback = Literal["demonstrations", "preferences", "reward", "teacher"]


class Method(NamedTuple):
    """One algorithm and where it stands on the axes that textbooks classify by."""

    name: str
    problem: Problem
    model: str  # of the environment: none, known, learned
    learns: str  # value, policy, both
    data: str  # on-policy, off-policy, offline, self-play; none if it only plans
    actions: tuple[Actions, ...]
    timing: str  # when it learns: step, episode, batch
    module: str  # of purerl.algorithms or purerl.search; empty if it is not here
    suits: str


_BOTH: tuple[Actions, ...] = ("discrete", "continuous")
_DISCRETE: tuple[Actions, ...] = ("discrete",)
_CONTINUOUS: tuple[Actions, ...] = ("continuous",)

METHODS = (
    # Bandits: one state.
    Method("UCB1", "bandit", "none", "value", "on-policy", _DISCRETE, "step", "bandits.ucb1", "few arms"),
    Method(
        "Thompson", "bandit", "none", "value", "on-policy", _DISCRETE, "step", "bandits.thompson", "a prior on arms"
    ),
    Method("LinUCB", "bandit", "none", "value", "on-policy", _DISCRETE, "step", "bandits.linucb", "arms with features"),
    Method("EXP3", "bandit", "none", "policy", "on-policy", _DISCRETE, "step", "bandits.exp3", "an adversary"),
    # A model that is known, or learned.
    Method(
        *("value iteration", "control", "known", "value", "none", _DISCRETE, "batch"),
        *("tabular.value_iteration", "tables that fit into memory"),
    ),
    Method("MCTS", "control", "known", "value", "none", _DISCRETE, "step", "search", "large spaces, time to think"),
    Method("Dyna-Q", "control", "learned", "value", "off-policy", _DISCRETE, "step", "model_based.dyna", "tables"),
    Method(
        "MuZero", "control", "learned", "both", "off-policy", _DISCRETE, "batch", "planning.muzero", "costly samples"
    ),
    # Without a model.
    Method("Q-learning", "control", "none", "value", "off-policy", _DISCRETE, "step", "tabular.q_learning", "tables"),
    Method(
        "SARSA", "control", "none", "value", "on-policy", _DISCRETE, "step", "tabular.sarsa", "tables, safe exploration"
    ),
    Method(
        "DQN", "control", "none", "value", "off-policy", _DISCRETE, "batch", "value.dqn", "costly samples; Rainbow too"
    ),
    Method("R2D2", "control", "none", "value", "off-policy", _DISCRETE, "batch", "value.r2d2", "hidden state"),
    Method(
        "PQN", "control", "none", "value", "on-policy", _DISCRETE, "batch", "value.pqn", "cheap samples, in parallel"
    ),
    Method(
        "PPO", "control", "none", "both", "on-policy", _BOTH, "batch", "policy.ppo", "cheap samples; the first to try"
    ),
    Method("TD3", "control", "none", "both", "off-policy", _CONTINUOUS, "batch", "continuous.td3", "costly samples"),
    Method(
        "SAC",
        "control",
        "none",
        "both",
        "off-policy",
        _BOTH,
        "batch",
        "continuous.sac",
        "costly samples, broad exploration",
    ),
    # Games.
    Method("AlphaZero", "game", "known", "both", "self-play", _DISCRETE, "batch", "games.alphazero", "board games"),
    Method("CFR", "game", "known", "policy", "none", _DISCRETE, "batch", "games.cfr", "small games, hidden cards"),
    # Text: a token is a discrete action.
    Method("SFT", "text", "none", "policy", "offline", _DISCRETE, "batch", "language.sft", "demonstrations to imitate"),
    Method(
        "DPO", "text", "none", "policy", "offline", _DISCRETE, "batch", "language.dpo", "pairs, and no need to explore"
    ),
    Method(
        "RLHF-PPO",
        "text",
        "none",
        "both",
        "on-policy",
        _DISCRETE,
        "batch",
        "language.rlhf",
        "pairs, and exploration beyond them",
    ),
    Method(
        "GRPO",
        "text",
        "none",
        "policy",
        "on-policy",
        _DISCRETE,
        "batch",
        "language.grpo",
        "a verifier or a reward model",
    ),
    Method(
        "GSPO",
        "text",
        "none",
        "policy",
        "on-policy",
        _DISCRETE,
        "batch",
        "language.grpo",
        "as GRPO; long answers, experts",
    ),
    Method(
        "CISPO",
        "text",
        "none",
        "policy",
        "on-policy",
        _DISCRETE,
        "batch",
        "language.grpo",
        "as GRPO; rare, decisive tokens",
    ),
    Method(
        "distillation",
        "text",
        "none",
        "policy",
        "on-policy",
        _DISCRETE,
        "batch",
        "language.distillation",
        "a stronger teacher",
    ),
)
"""Every method, in the order in which a problem tries them; ``choose`` takes from it."""

_BY_NAME = {method.name: method for method in METHODS}


def choose(
    problem: Problem = "control",
    *,
    actions: Actions = "discrete",
    model: bool = False,
    samples: Samples = "cheap",
    feedback: Feedback = "reward",
    explore: bool = True,
    small: bool = False,
) -> tuple[Method, ...]:
    """Decision tree: the algorithms to try, the first one first.

    Args:
        problem: "control" of one agent, a "bandit", a two-player "game", or writing "text".
        actions: of control; games, bandits and text here have discrete ones.
        model: whether the dynamics are known, so that one can plan.
        samples: whether experience is "cheap" (a fast simulator) or "costly".
        feedback: of text: "demonstrations", "preferences" between answers, a "reward" (verifier or reward model), or a
            "teacher" model that scores tokens.
        explore: of text with preferences: whether to go beyond the answers that were compared.
        small: of control: whether a table over states and actions fits into memory; of games: whether all nodes do.

    Returns:
        methods, best first.

    Raises:
        ValueError: if an argument is none of its choices, or continuous actions are asked for where there are none.
    """
    for name, value, kind in (
        ("problem", problem, Problem),
        ("actions", actions, Actions),
        ("samples", samples, Samples),
        ("feedback", feedback, Feedback),
    ):
        if value not in get_args(kind):
            raise ValueError(f"choose: {name}={value!r} must be one of {', '.join(map(repr, get_args(kind)))}.")
    if actions == "continuous" and (problem != "control" or small):
        raise ValueError("choose: only control that is not a table has continuous actions here.")
    if problem == "text":
        return _named(_for_text(feedback, explore))
    if problem == "bandit":
        return _named(("UCB1", "Thompson", "LinUCB", "EXP3"))
    if problem == "game":
        return _named(("CFR",) if small else ("AlphaZero",))
    return _named(_for_control(actions, model, samples, small))


def _for_text(feedback: Feedback, explore: bool) -> tuple[str, ...]:
    if feedback == "preferences":
        return ("RLHF-PPO", "DPO") if explore else ("DPO",)
    return {
        "demonstrations": ("SFT",),
        "reward": ("GRPO", "GSPO", "CISPO"),
        "teacher": ("distillation", "SFT"),
    }[feedback]


def _for_control(actions: Actions, model: bool, samples: Samples, small: bool) -> tuple[str, ...]:
    if actions == "continuous":
        return ("SAC", "TD3", "PPO") if samples == "costly" else ("PPO", "SAC")
    if model:
        return ("value iteration",) if small else ("MCTS", "MuZero")
    if small:
        return ("Dyna-Q", "Q-learning") if samples == "costly" else ("Q-learning", "SARSA")
    return ("DQN", "MuZero", "SAC") if samples == "costly" else ("PPO", "PQN", "DQN")


def _named(names: Iterable[str]) -> tuple[Method, ...]:
    return tuple(_BY_NAME[name] for name in names)


def table() -> str:
    """All methods with their properties, as a Markdown table."""
    header = ("algorithm", "problem", "model", "learns", "data", "actions", "learns every", "suits", "in purerl")
    rows = [
        (m.name, m.problem, m.model, m.learns, m.data, ", ".join(m.actions), m.timing, m.suits, _where(m))
        for m in METHODS
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ("---",) * len(header), *rows))


def _where(method: Method) -> str:
    """Dotted name of a method's module, as code; a dash for one that is not here."""
    if not method.module:
        return "-"
    return f"`purerl.{method.module}`" if method.module == "search" else f"`purerl.algorithms.{method.module}`"


if __name__ == "__main__":
    print(table())
