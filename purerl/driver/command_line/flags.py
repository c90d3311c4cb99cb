"""Flags made of the fields of records: their help, with ranges, and how whole numbers are read."""

import ast
import dataclasses
import decimal
import functools
import inspect
import itertools
import shutil
import textwrap
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from purerl.ranges import Range, range_of

_Record = TypeVar("_Record")


def parse_record(record: type[_Record], words: Sequence[str] | None, prog: str, description: str | None) -> _Record:
    """A command line whose flags are the fields of one record.

    Args:
        record: its class, a dataclass.
        words: the command line; None: ``sys.argv[1:]``.
        prog: what the command is called.
        description: the first lines of its help.

    Raises:
        SystemExit: for words that are no flags or values, after saying so; after ``--help``.
        ValueError: for values that the record refuses.
    """
    made: Any = tyro.cli(
        record,
        prog=prog,
        description=wrapped(description or ""),
        args=None if words is None else list(words),
        registry=registry([record]),
    )
    return made()


def wrapped(text: str) -> str:
    """Paragraphs in lines that fit the terminal. They are indented: tyro joins those that begin with a letter."""
    lines = textwrap.TextWrapper(shutil.get_terminal_size().columns, subsequent_indent="  ", break_on_hyphens=False)
    return "\n\n".join(map(lines.fill, text.split("\n\n")))


def registry(records: Iterable[Any], sizes: Iterable[Any] = ()) -> ConstructorRegistry:
    """How tyro makes flags of records: every field that is no object of Python, with its text and its range.

    In the place of a record tyro then returns a function without arguments that makes it.

    Args:
        records: dataclasses; their fields become flags with the defaults of what tyro is given, and so do those of
            records that are fields.
        sizes: those of them in which an ``int`` is at least 1 where it declares nothing else, such as configs.
    """
    classes, rules = {*itertools.chain.from_iterable(map(_with_inner, records))}, ConstructorRegistry()
    sizes = {*itertools.chain.from_iterable(map(_with_inner, sizes))}

    @rules.struct_rule
    def of_record(info: StructTypeInfo) -> StructConstructorSpec | None:
        if info.type not in classes:
            return None
        whole = Range(low=1) if info.type in sizes else Range()
        annotations = typing.get_type_hints(info.type, include_extras=True)
        shown, hidden, texts = [], {}, help_texts(info.type, whole)
        for field in dataclasses.fields(info.type):
            default = getattr(info.default, field.name, field.default)
            default = tyro.MISSING if default is dataclasses.MISSING else default
            if field.metadata.get("in_python"):
                hidden[field.name] = default
            else:
                shown.append(StructFieldSpec(field.name, annotations[field.name], default, texts[field.name]))
        # Made when tyro is done, for what a record raises is said as every other error of a command line.
        make = functools.partial(_make, info.type)
        return StructConstructorSpec(lambda **given: functools.partial(make, **hidden, **given), tuple(shown))

    @rules.primitive_rule
    def of_whole_number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
        if info.type is not int:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="INT",
            instance_from_str=lambda words: whole_number(words[0]),
            is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
            str_from_instance=lambda value: [str(value)],
        )

    return rules


def _with_inner(record: Any) -> list[Any]:
    """A class of records, and those of the records that are its fields."""
    inner = [kind for kind in typing.get_type_hints(record).values() if dataclasses.is_dataclass(kind)]
    return [record, *itertools.chain.from_iterable(map(_with_inner, inner))]


def _make(record: Callable, **values: Any) -> Any:
    """A record, and before it the records that are its fields."""
    return record(**{name: made() if isinstance(made, functools.partial) else made for name, made in values.items()})


def whole_number(text: str) -> int:
    """``1000000``, ``1_000_000``, ``1e6`` or ``1.5e3`` as a whole number, exactly.

    Raises:
        ValueError: if it is none.
    """
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = decimal.Decimal(text)
        if number == number.to_integral_value() and abs(number) < 10**18:
            return int(number)
    except decimal.InvalidOperation:
        pass
    raise ValueError(f"{text} is no whole number")


def help_texts(record: type, whole: Range) -> dict[str, str]:
    """What is said of each field: the string below it in the source, in one line, and the range that it declares.

    Args:
        record: a dataclass.
        whole: the range of whole numbers that declare none.
    """
    annotations, texts = typing.get_type_hints(record), field_texts(record)
    for field in dataclasses.fields(record):
        range_ = range_of(field)
        if range_ is None and annotations[field.name] in (int, tuple[int, ...]):
            range_ = whole
        if range_ not in (None, Range()):
            texts[field.name] += f" {str(range_).capitalize()}."
    return texts


def field_texts(record: type) -> dict[str, str]:
    """The string below each field of a dataclass in its source, in one line; empty where there is none."""
    texts = dict.fromkeys((field.name for field in dataclasses.fields(record)), "")
    for cls in reversed(record.__mro__[:-1]):
        if not dataclasses.is_dataclass(cls):
            continue
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        except (OSError, TypeError):  # made at run time
            continue
        body = getattr(tree, "body", [])
        for field, below in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(field.target, ast.Name):
                text = getattr(below.value, "value", "")
                texts[field.target.id] = " ".join(str(text).replace("``", "").split())
    return texts
