"""Pictures of gridworlds: what lies on the axes, not how it looks."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

from purerl.envs.textbook import maps, pictures


@pytest.fixture
def axes():
    return Figure().add_subplot()


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_values_are_written_on_the_cells_one_can_stand_on(axes):
    """One number a free cell, none on the cliff, each at the row and column of its state."""
    pictures.draw_values(axes, -np.arange(48.0), maps.CLIFF, form=".0f")
    numbers = {text.get_text(): text.get_position() for text in axes.texts}
    assert sorted(numbers) == sorted([*(f"{-i:d}" for i in range(37)), "-47", "S", "G"])
    assert numbers["-25"] == (1, pytest.approx(2, abs=0.5))
    assert np.isnan(axes.images[-1].get_array().filled(np.nan)[3, 1:11]).all()


def test_a_table_without_a_map_is_drawn_whole(axes):
    """A table ``[H, W]`` is written cell by cell but for its NaN, or not at all where form is empty."""
    pictures.draw_values(axes, np.array([[1.0, np.nan], [-0.0, 4.25]]), form=".1f")
    assert texts(axes) == ["1.0", "0.0", "4.2"]
    pictures.draw_values(quiet := Figure().add_subplot(), np.ones((2, 2)), form="")
    assert not texts(quiet)


def test_arrows_point_where_the_policy_goes(axes):
    """One arrow for each probable action of a state where something is decided, downwards being positive."""
    policy = np.zeros((16, 4))
    policy[:, [1, 2]] = 0.5  # right or down
    policy[1] = [0.0, 1.0, 0.0, 0.0]
    pictures.draw_policy(axes, policy, maps.SMALL)
    (arrows,) = (artist for artist in axes.collections if isinstance(artist, Quiver))
    assert arrows.N == 2 * 13 + 1  # nothing is decided at the two goals
    np.testing.assert_allclose(arrows.U[0], arrows.V[1:3].max())  # alone or shared, as long
    assert ((arrows.U > 0) ^ (arrows.V > 0)).all()


def test_staying_is_a_dot(axes):
    """The action that moves nowhere is drawn as a dot, and no arrow."""
    policy = np.eye(9)[np.full(70, 8)]
    pictures.draw_policy(axes, policy, maps.WINDY, maps.KINGS_MOVES_AND_STAY)
    (dots,) = axes.lines
    assert len(dots.get_xdata()) == 69  # all cells but the goal


def test_a_trajectory_is_a_line_and_a_fall_is_dotted(axes):
    """Steps are solid segments, the jump back from the cliff's far side a dotted one, ends are marked."""
    pictures.draw_trajectory(axes, np.array([36, 24, 25, 26, 36]), maps.CLIFF)
    assert [line.get_linestyle() for line in axes.lines[:4]] == ["-", "-", "-", ":"]
    assert [line.get_marker() for line in axes.lines[4:]] == ["o", "*"]


def test_what_does_not_fit_the_map_is_an_error(axes):
    """Values or a policy of another number of cells or moves raise ValueError with both shapes."""
    with pytest.raises(ValueError, match=r"\(47,\).*4 x 12"):
        pictures.draw_values(axes, np.zeros(47), maps.CLIFF)
    with pytest.raises(ValueError, match=r"\(48, 3\).*\(48, 4\)"):
        pictures.draw_policy(axes, np.zeros((48, 3)), maps.CLIFF)
