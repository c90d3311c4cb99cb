"""Texts of environments: what is written can be read back."""

import pytest

from purerl.env_names import EnvName, Named, base_name, parse_arguments, reward_wrappers


@pytest.mark.parametrize(
    ("text", "name", "keywords", "wrappers"),
    [
        ("CartPole-v1", "CartPole-v1", {}, []),
        ("CartPole-v1(max_steps_in_episode=200)", "CartPole-v1", {"max_steps_in_episode": 200}, []),
        ("a/b(x=(0, 2), y='p + (q', z=-1.5, w=None, v=True)", "a/b", {"x": (0, 2), "y": "p + (q", "z": -1.5}, []),
        ("lab.mazes:big(size=4) + one_hot_observation", "lab.mazes:big", {"size": 4}, ["one_hot_observation"]),
        ("Taxi + frame_stack(k=4) + flatten_observation", "Taxi", {}, ["frame_stack(k=4)", "flatten_observation"]),
        ("a+b(c=1e+5)", "a+b", {"c": 1e5}, []),
    ],
)
def test_a_text_is_read_and_written_alike(text, name, keywords, wrappers):
    """Name, arguments in their types, and wrappers from the inside out."""
    read = EnvName.parse(text)
    assert (read.base.name, [*map(str, read.wrappers)], base_name(text)) == (name, wrappers, name)
    assert keywords.items() <= dict(read.base.keywords).items()
    assert EnvName.parse(str(read)) == read
    assert read.is_code == (":" in name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not of the form NAME or NAME"),
        ("Taxi(", r"'Taxi\(' is not of the form"),
        ("Taxi(size=4", "is not of the form"),
        ("Taxi(size=four)", r"its arguments cannot be read. Write numbers, .* such as Taxi\(size=4"),
        ("Taxi(size=__import__('os'))", "its arguments cannot be read"),
        ("Taxi(size=<Params>)", "its arguments cannot be read"),
        ("Taxi()(1)", "its arguments cannot be read"),
        ("Taxi(4)", "give the arguments of Taxi by name"),
        ("Taxi + ", "'' is not of the form"),
    ],
)
def test_other_texts_are_refused(text, message):
    """Each is quoted, with what to write; nothing in it is run."""
    with pytest.raises(ValueError, match=message):
        EnvName.parse(text)


def test_further_arguments_and_wrappers():
    """Of a command line, on top of those that a name has; a value that no text gives is shown as what it is."""
    name = EnvName.parse("Taxi(size=4) + clip_reward").wrapped({"size": 5, "wet": True}, ["frame_stack(4)"])
    assert str(name) == "Taxi(size=5, wet=True) + clip_reward + frame_stack(4)"
    assert str(EnvName(Named("Taxi")).wrapped({"params": object()}, ())) == "Taxi(params=<object>)"


def test_arguments_of_a_command_line():
    """Numbers, truth values in either case, tuples, None, and words."""
    items = ["a=200", "b=1e-3", "c=true", "d=False", "e=(0,2)", "f=None", "g=pays 1.5", "h="]
    assert parse_arguments(items) == {
        **{"a": 200, "b": 1e-3, "c": True, "d": False, "e": (0, 2), "f": None, "g": "pays 1.5", "h": ""}
    }
    for wrong, message in (("a", "'a' is not of the form NAME=VALUE"), ("a-b=1", "not of the form"), ("=1", "form")):
        with pytest.raises(ValueError, match=message):
            parse_arguments([wrong])
    with pytest.raises(ValueError, match=r"Argument 'a=2': a is '1' already. Give it once"):
        parse_arguments(["a=1", "a=2"])


def test_making_calls_with_what_the_text_says():
    """Wrappers as texts, arguments by name, and a function in place of its name."""
    calls = []
    name = EnvName.parse("m:f(size=4) + clip_reward")
    name.make(lambda *args, **kwargs: calls.append((args, kwargs)), len)
    EnvName.parse("Taxi").make(lambda *args, **kwargs: calls.append((args, kwargs)))
    assert calls == [((len,), {"wrappers": ("clip_reward",), "size": 4}), (("Taxi",), {})]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Taxi", ()),
        ("Taxi + frame_stack(k=2)", ()),
        (
            "Taxi + clip_reward(low=-1) + frame_stack(k=2) + scale_reward(factor=2)",
            ("clip_reward(low=-1)", "scale_reward(factor=2)"),
        ),
        ("Taxi + clip_reward + episode_statistics", ()),
        ("my own (env", ()),
    ],
)
def test_wrappers_that_change_rewards_are_found(text, found):
    """In order; not those whose rewards the reported returns are of, and none in a name that cannot be read."""
    assert reward_wrappers(text) == found
