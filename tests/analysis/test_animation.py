"""Animated pictures: what is written, read back."""

import numpy as np
import pytest
from PIL import Image, ImageSequence

from purerl.analysis.animation import save_gif

FRAMES = np.zeros((5, 8, 12, 3), np.uint8)
FRAMES[np.arange(5), :, np.arange(5)] = [255, 0, 128]  # a bar that moves


def test_a_gif_holds_the_frames(tmp_path):
    """Five pictures come back as they were, the last one a second long, shown again and again."""
    path = tmp_path / "new" / "episode.gif"
    save_gif(path, FRAMES, fps=30)
    with Image.open(path) as image:
        assert (image.format, image.info["loop"]) == ("GIF", 0)
        pictures, durations = zip(
            *((np.array(f.convert("RGB")), f.info["duration"]) for f in ImageSequence.Iterator(image)), strict=True
        )
    np.testing.assert_array_equal(pictures, FRAMES)
    assert durations == (30, 30, 30, 30, 1000)


def test_a_lone_picture_is_a_gif(tmp_path):
    """One frame is one picture."""
    save_gif(tmp_path / "one.gif", FRAMES[:1])
    with Image.open(tmp_path / "one.gif") as image:
        assert len(list(ImageSequence.Iterator(image))) == 1


def test_a_writer_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    """Half a file is written, then the disk is full: the old file is as it was, and there is no temporary one."""

    def full(image, file, *args, **kwargs):
        file.write_bytes(b"GIF8")
        raise OSError("No space left on device")

    path = tmp_path / "episode.gif"
    path.write_text("old")
    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space"):
        save_gif(path, FRAMES)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("wrong", [FRAMES[:0], FRAMES[0], FRAMES[..., :2], FRAMES / 255])
def test_what_is_no_series_of_pictures_is_an_error(tmp_path, wrong):
    """None, a lone picture, two colours, and floats: each named by dtype and shape, and no file."""
    with pytest.raises(ValueError, match="uint8 .* not " + str(wrong.dtype)):
        save_gif(tmp_path / "episode.gif", wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [0, -1, 51, float("nan")])
def test_a_speed_that_a_gif_cannot_play_is_an_error(tmp_path, fps):
    """The number is named."""
    with pytest.raises(ValueError, match=rf"fps={fps}"):
        save_gif(tmp_path / "episode.gif", FRAMES, fps)
