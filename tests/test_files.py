"""Output files: whole or not at all."""

import json
import pathlib

import pytest

from purerl.files import atomic_path, write_csv, write_json


def test_a_block_that_succeeds_replaces_the_file(tmp_path):
    """The old text stands until the block ends, then the new one; folders are made, nothing else is left."""
    path = tmp_path / "a" / "b" / "file.txt"
    for text in ("old", "new"):
        with atomic_path(path) as temporary:
            assert temporary.parent == path.parent and temporary.suffix == ".txt"
            temporary.write_text(text)
            assert path.exists() == (text == "new")
            assert text == "old" or path.read_text() == "old"
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_changes_nothing(tmp_path, error):
    """Half a file is written, then an error: the old file is as it was, and there is no temporary one."""
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_path(path) as temporary:
        temporary.write_text("hal")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_can_be_read_by_others(tmp_path):
    """Not the owner's alone, as temporary files are."""
    write_json(tmp_path / "file.json", {})
    assert (tmp_path / "file.json").stat().st_mode & 0o777 == 0o644


def test_json_of_everything(tmp_path):
    """Numbers stay numbers, tuples become lists, paths text, what is not finite null, at any depth."""
    data = {"n": 1, "flag": True, "none": None, "path": pathlib.Path("a/b"), 3: [float("inf"), (float("nan"), -0.5)]}
    write_json(tmp_path / "file.json", data)
    expected = {"n": 1, "flag": True, "none": None, "path": "a/b", "3": [None, [None, -0.5]]}
    assert json.loads((tmp_path / "file.json").read_text()) == expected


def test_csv(tmp_path):
    """A header and a line per row; text with a comma is quoted."""
    write_csv(tmp_path / "file.csv", ["name", "value"], [("a", 1.5), ("b,c", 2)])
    assert (tmp_path / "file.csv").read_text().splitlines() == ["name,value", "a,1.5", '"b,c",2']


def test_a_row_that_fails_leaves_the_old_table(tmp_path):
    """Rows are an iterator that breaks: the table is the old one."""
    path = tmp_path / "file.csv"
    write_csv(path, ["n"], [(1,)])
    with pytest.raises(ZeroDivisionError):
        write_csv(path, ["n"], ((1 // n,) for n in (1, 0)))
    assert path.read_text().split() == ["n", "1"]
    assert list(tmp_path.iterdir()) == [path]
