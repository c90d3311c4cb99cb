"""Near names, which error messages offer for a name that is not known."""

import pytest

from purerl.names import assignments, near


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("learning_rat", "Near: 'learning_rate'. "),
        ("GAMMA", "Near: 'gamma'. "),
        ("gama", "Near: 'gamma'. "),
        ("zzz", ""),
        ("", ""),
        (3, ""),
    ],
)
def test_near_names_are_known_names_that_look_alike(name, expected):
    """Whatever the case; nothing where none looks like it, and for what is no text."""
    assert near(name, ["learning_rate", "gamma", "clip_epsilon"]) == expected


def test_near_names_are_at_most_three_the_nearest_first():
    """Of five that look alike."""
    assert near("abcd", ["abcdefg", "abcde", "abcd", "abcdef", "abcdefgh"]) == "Near: 'abcd', 'abcde', 'abcdef'. "


def test_assignments_are_split_at_the_first_equals_sign():
    """In their order; what has another form or a name that is none, and what comes twice is refused."""
    assert assignments(["b=1", "a=x=y", "c="], "Item", "NAME=TEXT") == {"b": "1", "a": "x=y", "c": ""}
    for item in ("a", "=1", "a-b=1", ""):
        with pytest.raises(ValueError, match=f"^Item '{item}' is not of the form NAME=TEXT"):
            assignments([item], "Item", "NAME=TEXT")
    with pytest.raises(ValueError, match="Item 'a=2': a is '1' already"):
        assignments(["a=1", "a=2"], "Item", "NAME=TEXT")
