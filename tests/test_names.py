"""Near names, which error messages offer for a name that is not known."""

import pytest

from purerl.names import near


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
