"""Warnings for users, at the line of their own that led to them."""

import contextlib
import os
import sys
import types
import warnings

_INSIDE = (os.path.join(os.path.dirname(os.path.abspath(__file__)), ""), contextlib.__file__)


def warn(message: str) -> None:
    """Warn, at the innermost line that is neither purerl's nor that of a context manager of Python's.

    So a script that trains is told which of its lines did, however deep inside something was noticed.
    """
    frame: types.FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
