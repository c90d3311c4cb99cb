"""Animated pictures. Pillow, which comes with matplotlib, is imported when one is written."""

import os

import numpy as np

from purerl import files

_MAX_FPS = 50  # a GIF counts hundredths of a second, and viewers slow down what shows for less than two of them


def save_gif(path: str | os.PathLike, frames: np.ndarray, fps: float = 30.0) -> None:
    """Write pictures as an animated GIF that plays for ever, whole or not at all.

    Each picture shows for ``round(100 / fps)`` hundredths of a second, the last one for a second. A picture that equals
    the one before it is not stored again, only shown longer.

    Args:
        path: of the file.
        frames: ``[T, H, W, 3]`` uint8, at least one.
        fps: pictures per second, in (0, 50].

    Raises:
        ValueError: if ``frames`` are not such pictures, or ``fps`` is out of range.
    """
    from PIL import Image

    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ValueError(f"save_gif takes uint8 [T, H, W, 3] with T >= 1, not {frames.dtype} {list(frames.shape)}.")
    if not 0 < fps <= _MAX_FPS:
        raise ValueError(f"save_gif(fps={fps}): a GIF shows more than 0 and at most {_MAX_FPS} pictures per second.")
    durations = [10 * round(100 / fps)] * (len(frames) - 1) + [1000]  # milliseconds
    first, *rest = map(Image.fromarray, frames)
    with files.atomic_path(path) as temporary:
        first.save(temporary, "GIF", save_all=True, append_images=rest, duration=durations, loop=0)
