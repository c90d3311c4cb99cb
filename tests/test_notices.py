"""Warnings for users: where they point."""

import contextlib
import warnings

import pytest

from purerl import notices
from purerl.driver.storage.logs import Columns, Log
from tests.support import toy


class Full:
    """What cannot be written to."""

    name = "A log"

    def close(self) -> None:
        """Refused."""
        raise OSError("no room")


def test_warnings_point_to_the_line_of_the_user():
    """Of a run that is longer than asked for, of a log that is given up at the end of a context of Python's, and where
    it is warned of at once."""
    with pytest.warns(UserWarning, match="running 2 updates, 20 steps") as rounded:
        toy.train(num_env_steps=15)
    log = Log(Columns(1, {}))
    log.attach(Full())
    with pytest.warns(UserWarning, match="no room") as refused, contextlib.ExitStack() as stack:
        stack.callback(log.close)
    with pytest.warns(UserWarning, match="mind") as direct:
        notices.warn("mind")
    assert [warning.filename for warning in rounded] == [toy.__file__]
    assert [warning.filename for warning in (*refused, *direct)] == [__file__] * 2


def test_a_warning_without_a_line_of_the_user_is_given_all_the_same():
    """Called from code that says it is purerl's own, and from nowhere else."""
    inside = compile("warn('alone')", notices.__file__, "exec")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        exec(inside, {"warn": notices.warn})
    assert [str(warning.message) for warning in found] == ["alone"]
