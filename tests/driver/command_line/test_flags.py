"""Flags of records: their texts from the source, their ranges, and whole numbers in the ways that people write them."""

import dataclasses
import typing

import pytest
import tyro

from purerl.config_checks import check_options
from purerl.driver.command_line.flags import field_texts, help_texts, parse_record, registry, whole_number
from purerl.driver.options import option
from purerl.ranges import Range, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """A config."""

    num_envs: int = 8
    """Environments, of which there
    are ``B``."""
    scale: float = setting(1.0, above=0)
    """A number."""
    name: str | None = None
    """A text; None: nothing."""
    silent: int = option(3, in_python=True)


class Wider(Sizes):
    """It adds nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class More(Sizes):
    """It adds a field, and says more of another."""

    name: str | None = "x"
    """Another text."""
    extra: int = setting(0, low=0)
    """Extra."""


@pytest.mark.parametrize("text", ["1000000", "1_000_000", "1e6", "1E6", "1.0e6", "10e5", "1000000.0", "0.001e9"])
def test_whole_numbers_are_read_exactly(text):
    """With an exponent, underscores or a point."""
    assert whole_number(text) == 1_000_000 and isinstance(whole_number(text), int)
    assert whole_number("9007199254740993") == 2**53 + 1 == whole_number("9007199254740.993e3")
    assert whole_number("-3") == -3


@pytest.mark.parametrize("text", ["1.5", "1e-1", "10k", "inf", "nan", "", "x", "1e30", "1e"])
def test_what_is_no_whole_number_is_refused(text):
    """By what was written."""
    with pytest.raises(ValueError, match=f"^{text} is no whole number$"):
        whole_number(text)


def test_texts_are_those_of_the_source_in_one_line():
    """Without marks of code; of inherited fields, too; the last class that says something is heard."""
    texts = field_texts(Sizes)
    assert texts == {
        "num_envs": "Environments, of which there are B.",
        "scale": "A number.",
        "name": "A text; None: nothing.",
        "silent": "",
    }
    assert field_texts(Wider) == texts
    assert field_texts(More) == texts | {"name": "Another text.", "extra": "Extra."}


def test_ranges_end_the_texts():
    """Those that are declared, and of other whole numbers the one of all."""
    assert help_texts(More, Range(low=1)) == field_texts(More) | {
        "num_envs": "Environments, of which there are B. At least 1.",
        "scale": "A number. Above 0.",
        "silent": "",
        "extra": "Extra. At least 0.",
    }


def test_a_command_line_of_one_record(capsys):
    """Its flags, values that it refuses, and one that must be given."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Options:
        path: str
        size: int = setting(3, low=1)

        def __post_init__(self) -> None:
            check_options(self)

    assert parse_record(Options, ["--path", "x", "--size", "2e0"], "tool", "About.") == Options(path="x", size=2)
    with pytest.raises(ValueError, match=r"^size = 0: it must be at least 1\.$"):
        parse_record(Options, ["--path", "x", "--size", "0"], "tool", None)
    with pytest.raises(SystemExit):
        parse_record(Options, [], "tool", None)
    assert "--path" in capsys.readouterr().err


def test_a_record_is_made_when_parsing_is_done():
    """So that what it raises comes as it is; what no flag gives stays as it was."""

    def parse(*words: str) -> typing.Any:
        made = tyro.cli(More, args=words, default=More(silent=5), registry=registry([More], [More]))
        return typing.cast(typing.Any, made)()

    assert parse() == More(silent=5)
    assert parse("--num-envs", "1e1", "--scale", "3") == More(num_envs=10, scale=3.0, silent=5)
    with pytest.raises(SystemExit):
        parse("--silent", "4")
