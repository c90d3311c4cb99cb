"""The environment that a command line names: registered or a function of one's own, with arguments and wrappers."""

from collections.abc import Sequence
from typing import Any

from purerl import recipes
from purerl.driver.command_line.experiment import Experiment
from purerl.env_names import EnvName, base_name, parse_arguments


def env_text(env: str, arguments: Sequence[str] = (), wrappers: Sequence[str] = ()) -> str:
    """One text of ``--env``, ``--env-arg`` and ``--wrap``, as ``config.json`` has it.

    Raises:
        ValueError: if one of them cannot be read.
    """
    return str(EnvName.parse(env).wrapped(parse_arguments(arguments), wrappers))


def make_env(experiment: Experiment, text: str) -> Any:
    """The environment of such a text. For ``module:function`` the module is imported, also from the working directory.

    Raises:
        ValueError: if there is none, or it does not have these arguments or wrappers.
    """
    name = EnvName.parse(text)
    if not name.is_code:
        return name.make(experiment.make_env)
    function = recipes.resolve(name.base.name, allow=[name.base.name.partition(":")[0]])
    return name.make(experiment.make_env, function)


def check_trusted(recorded: str, given: str | None, source: Any) -> None:
    """Nothing, unless the record of a run names code of the user's own, and the command line does not.

    Raises:
        ValueError: then; for a record may come from anywhere.
    """
    if EnvName.parse(recorded).is_code and (given is None or base_name(given) != base_name(recorded)):
        raise ValueError(
            f"The environment of {source} is {recorded}, code that is not purerl's. If you trust it, say so: --env "
            f"{base_name(recorded)}"
        )
