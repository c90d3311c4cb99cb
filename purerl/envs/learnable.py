"""What a learner asks of an environment before it begins, in the words of :func:`purerl.envs.check_env`."""

from typing import Any

from purerl.envs import checks
from purerl.envs.base import Environment
from purerl.envs.games import Game
from purerl.observation import encoding
from purerl.spaces import Box, Discrete, MaskedSpace, MultiDiscrete, Text


def check_learnable(
    env: Environment | Game,
    learner: str,
    *,
    games: bool = False,
    actions: tuple[type, ...] = (Discrete,),
    masks: bool = False,
) -> None:
    """Refuse an environment that a learner with networks cannot learn from, with the remedy.

    Its two functions are traced, not run: what does not fit a rollout is found here and not inside a compilation.

    Args:
        env: the environment.
        learner: its name, for the message.
        games: whether it plays games of two players.
        actions: the kinds of action space that it can choose from.
        masks: whether it heeds which actions are legal, where observations say so.

    Raises:
        ValueError: naming the field, what is wrong with it and the remedy.
    """
    errors = checks.interface_errors(env)
    name = getattr(env, "name", type(env).__name__)
    if not errors:
        if not games and hasattr(env, "legal") and hasattr(env, "player"):
            raise ValueError(
                f"{name} is a game of two players, and {learner} learns for one: it would take the moves of both for "
                "its own. Use AlphaZero or MuZero (purerl.algorithms.games.alphazero, .planning.muzero)."
            )
        _check_actions(name, env.action_space, learner, actions)
        _check_masks(name, env, learner, masks)
        try:
            encoding(env.observation_space)
        except ValueError as error:
            raise ValueError(f"{name}.observation_space: {learner} needs observations of numbers. {error}") from None
        errors = checks.signature_errors(env)
    if errors:
        said = "\n".join(f"  {finding}" for finding in errors)
        raise ValueError(
            f"{name}: {learner} cannot learn from this environment.\n{said}\n"
            "purerl.envs.check_env(env) says all that is wrong with it."
        )


def num_actions(env: Environment | Game, learner: str, *, games: bool = False, masks: bool = False) -> int:
    """Number of discrete actions, A, of an environment that a learner can learn from.

    Raises:
        ValueError: as :func:`check_learnable`.
    """
    check_learnable(env, learner, games=games, masks=masks)
    assert isinstance(env.action_space, Discrete)
    return env.action_space.n


def _check_masks(name: str, env: Environment | Game, learner: str, masks: bool) -> None:
    space = env.observation_space
    if not isinstance(space, MaskedSpace):
        return
    if not masks:
        raise ValueError(
            f"{name}: {learner} does not heed which actions are legal. Use PPO, TRPO or DQN, or leave out expose_legal."
        )
    if space.actions != env.action_space:
        raise ValueError(
            f"{name}.observation_space says which of {space.actions} are legal, but the actions are "
            f"{env.action_space}: make them equal."
        )


def _check_actions(name: str, space: Any, learner: str, kinds: tuple[type, ...]) -> None:
    if isinstance(space, kinds) and (not isinstance(space, Box) or len(space.shape) == 1):
        return
    words = {Discrete: "Discrete actions", MultiDiscrete: "MultiDiscrete actions", Box: "a Box of one axis"}
    needs = " or ".join(words[kind] for kind in kinds)
    remedy = "choose another learner, or an environment with such actions"
    if isinstance(space, MultiDiscrete):
        remedy = "number the combinations, and let env.step divide the number again: Discrete(n_1 n_2 ...), jnp.divmod"
    elif isinstance(space, Text):
        remedy = (
            "take an algorithm for language models (purerl.algorithms.language), or "
            "`env = purerl.envs.token_by_token(task)`"
        )
    elif isinstance(space, Box) and Box in kinds:
        remedy = "let env.step reshape a vector"
    elif isinstance(space, Discrete):
        remedy = "use SAC, PPO or DQN, which take discrete actions"
    elif isinstance(space, Box):
        remedy = "use SAC, TD3 or PPO, which take Box actions, or let env.step look a few actions up in a table"
    raise ValueError(f"{name}: {learner} needs {needs}, but the action space is {space}; {remedy}.")
