"""Pictures of an episode, drawn by matplotlib from the environment's states.

    pictures = drawing.frames(env, agent, jax.random.key(0))

A drawing is a function ``(axes, state, obs) -> None`` that draws one moment of an episode on empty axes. It is found by
the environment's name in :data:`DRAWINGS`, to which anybody may add; failing that, a game is drawn as its text, and any
small grid of cells from its observation. gymnax's own pictures are not used: those of classic control need pygame, all
need pyplot.
"""

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from purerl.agent import Agent
from purerl.env_names import base_name
from purerl.envs.base import Environment
from purerl.envs.games import Game
from purerl.types import PyTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Draw = Callable[["Axes", Any, np.ndarray], None]

_SIZE = (4.0, 3.0)  # inches
_DPI = 100
_BACKGROUND = 0.93  # grey of an empty cell
_GRID_SIDE = (2, 64)  # cells; a single one shows nothing, and larger is a photograph, not a grid
_MAX_CHANNELS = 20  # as many colours can be told apart, barely
_LARGEST_TEXT = 32.0  # points
_LEGEND_LINES = 12  # that there is room for beside a grid

# What each channel of a grid shows. An unnamed one repeats another and is not drawn.
_CHANNELS = {
    "Asterix-MinAtar": ("player", "enemy", "trail", "gold"),
    "Breakout-MinAtar": ("paddle", "ball", "trail", "brick"),
    "Freeway-MinAtar": ("chicken", "car", "speed 1", "speed 2", "speed 3", "speed 4", "speed 5"),
    "Seaquest-MinAtar": (
        *("submarine", "stern", "own bullet", "trail", "enemy bullet"),
        *("enemy fish", "enemy sub", "oxygen", "divers saved", "diver"),
    ),
    "SpaceInvaders-MinAtar": ("cannon", "alien", "", "", "own bullet", "alien bullet"),
}
_BEHIND = "oxygen"  # a bar along the row in which the saved divers are counted


class _Moment(NamedTuple):
    """What a picture shows: the situation after ``step`` steps."""

    step: int
    obs: PyTree  # [...]
    state: PyTree  # [...]
    episode_return: float
    end: str  # "", "terminated" or "truncated"


def frames(
    env: Environment | Game, agent: Agent, key: jax.Array, max_steps: int = 500, draw: Draw | None = None
) -> np.ndarray:
    """Pictures of one episode of an agent: the reset state, then the state after each step.

    A game is played by the agent on both sides, each with a carry of its own; the return in the caption is the first
    player's.

    Args:
        env: the environment, wrapped or not; or a game.
        agent: reactive, recurrent or planning.
        key: randomness of the environment and the agent.
        max_steps: at least 1; a longer episode is drawn so far. A frame takes 360 kB.
        draw: ``(axes, state, obs) -> None`` on empty axes of equal scales, without ticks. ``state`` is the innermost
            environment's, below all wrappers; both are NumPy arrays. Where None, :func:`drawing_of` finds it.

    Returns:
        ``[T + 1, 300, 400, 3]`` uint8, for an episode of T steps.

    Raises:
        ValueError: if ``max_steps < 1``, or ``draw`` is None and the environment cannot be drawn.
    """
    if max_steps < 1:
        raise ValueError(f"frames(max_steps={max_steps}): an episode has at least 1 step.")
    return np.stack(list(_pictures(draw or drawing_of(env), _play(env, agent, key, max_steps))))


def drawing_of(env: Environment | Game) -> Draw:
    """The function that draws ``env``: :data:`DRAWINGS` by name, else :func:`draw_text` of a game, else
    :func:`draw_grid` where observations are a grid.

    A variant such as ``CartPole-v1/positions`` is drawn as what its name begins with. Sizes that are parameters of an
    environment, such as the pole's length, are drawn at their defaults.

    Raises:
        ValueError: if there is none.
    """
    shape = env.observation_space.shape
    base = base_name(env.name)
    for name in (base, base.partition("/")[0]):
        if name in DRAWINGS:
            return DRAWINGS[name]
    if isinstance(env, Game):
        return functools.partial(draw_text, show=env.show)
    if _is_grid(shape):
        if base in _GRID_DRAWINGS:
            return _GRID_DRAWINGS[base]
        if shape[2:] <= (_MAX_CHANNELS,):
            return draw_grid
    raise ValueError(
        f"{env.name} with observations of shape {shape} cannot be drawn. Those that can: {', '.join(DRAWINGS)}, games, "
        f"and, as long as observations are not flattened, {', '.join(_GRID_DRAWINGS)} and every grid [H, W] or "
        f"[H, W, C] of at most {_GRID_SIDE[1]} cells a side and {_MAX_CHANNELS} channels. Give "
        "draw=(axes, state, obs) -> None."
    )


def draw_cart_pole(axes: "Axes", state: Any, obs: np.ndarray) -> None:
    """A cart at ``x`` and a pole of length 1 from its top, ``theta`` clockwise from upright."""
    from matplotlib.patches import Rectangle

    pivot = np.array([state.x, 0.25])
    axes.axhline(0.0, color="0.6", linewidth=1.0)
    axes.vlines([-2.4, 2.4], -0.1, 0.1, color="0.6", linewidth=1.0)  # beyond these the episode is over
    axes.add_patch(Rectangle((state.x - 0.25, 0.0), 0.5, 0.25, color="0.25"))
    _rods(axes, [pivot, pivot + [np.sin(state.theta), np.cos(state.theta)]])
    axes.set(xlim=(-2.6, 2.6), ylim=(-0.4, 1.6))


def draw_acrobot(axes: "Axes", state: Any, obs: np.ndarray) -> None:
    """Two links of length 1; angles count counterclockwise, the first from hanging, the second from the first link."""
    angles = np.cumsum([state.joint_angle1, state.joint_angle2])
    links = np.stack([np.sin(angles), -np.cos(angles)], axis=-1)
    axes.axhline(1.0, color="0.6", linewidth=1.0, linestyle="--")  # the tip's goal
    _rods(axes, [np.zeros(2), *np.cumsum(links, axis=0)])
    axes.set(xlim=(-2.8, 2.8), ylim=(-2.2, 2.2))


def draw_pendulum(axes: "Axes", state: Any, obs: np.ndarray) -> None:
    """A rod of length 1, ``theta`` counterclockwise from upright."""
    _rods(axes, [np.zeros(2), [-np.sin(state.theta), np.cos(state.theta)]])
    axes.set(xlim=(-1.5, 1.5), ylim=(-1.2, 1.2))


def draw_mountain_car(axes: "Axes", state: Any, obs: np.ndarray, goal: float) -> None:
    """A car on the hill ``0.45 sin(3 x)``, and a flag at the goal.

    The hill's shape is the potential whose slope the dynamics feel; its height is ours, as the dynamics have none.
    """
    from matplotlib.patches import Circle, Polygon, Rectangle
    from matplotlib.transforms import Affine2D

    x = np.linspace(-1.2, 0.6, 100)
    axes.fill_between(x, _hill(x), -0.6, color="0.85", linewidth=0)
    axes.plot(x, _hill(x), color="0.6", linewidth=1.0)
    axes.vlines(goal, _hill(goal), _hill(goal) + 0.2, color="0.25", linewidth=1.0)
    axes.add_patch(Polygon(_hill_point(goal) + np.array([[0.0, 0.2], [0.08, 0.17], [0.0, 0.14]]), color="C2"))
    slope = np.arctan(1.35 * np.cos(3 * state.position))
    on_the_hill = Affine2D().rotate(slope).translate(*_hill_point(state.position)) + axes.transData
    body = Rectangle((-0.07, 0.02), 0.14, 0.05, color="C0", label="car", transform=on_the_hill)
    wheels = [Circle((side, 0.02), 0.02, color="0.25", transform=on_the_hill) for side in (-0.04, 0.04)]
    for patch in (body, *wheels):
        axes.add_patch(patch)
    axes.set(xlim=(-1.25, 0.65), ylim=(-0.6, 0.75))


def draw_four_rooms(axes: "Axes", state: Any, obs: np.ndarray) -> None:
    """Walls, the agent's disc and the goal's square. Positions are (row, column), row 0 at the top."""
    from matplotlib.patches import Circle, Rectangle

    axes.imshow(_four_rooms_walls(), cmap="Greys", vmin=0, vmax=1.5)
    row, column = state.goal
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1.0, 1.0, color="C2", label="goal"))
    axes.add_patch(Circle(state.pos[::-1], 0.35, color="C0", label="agent"))


def draw_catch(axes: "Axes", state: Any, obs: np.ndarray) -> None:
    """A ball that falls and a paddle below it, told apart, which the observation ``[rows, columns]`` does not."""
    from matplotlib.patches import Circle, Rectangle

    axes.imshow(np.full((*obs.shape, 3), _BACKGROUND))
    axes.add_patch(Rectangle((state.paddle_x - 0.5, state.paddle_y - 0.5), 1.0, 1.0, color="C0", label="paddle"))
    axes.add_patch(Circle((state.ball_x, state.ball_y), 0.35, color="C1", label="ball"))


def draw_grid(axes: "Axes", state: Any, obs: np.ndarray, channels: tuple[str, ...] = ()) -> None:
    """Cells coloured by their first channel that is not 0, e.g. by MinAtar's player where it covers a trail.

    Args:
        axes: empty axes.
        state: not used.
        obs: ``[H, W]`` or ``[H, W, C]``.
        channels: what the channels show, ``C <= 20`` names for a legend; an empty name is not drawn. Only the last C
            channels are used, so that of stacked observations the newest is drawn. All, and no legend, where ().
    """
    present = np.reshape(obs, (*obs.shape[:2], -1)) != 0
    present = present[..., -len(channels) :] if channels else present
    weighed = present * _weights(channels or ("channel",) * present.shape[-1])
    colours = _colours()
    cells = np.where(weighed.any(axis=-1, keepdims=True), colours[weighed.argmax(axis=-1)], _BACKGROUND)
    height, width = cells.shape[:2]
    axes.imshow(cells, interpolation="nearest")
    axes.hlines(np.arange(height + 1) - 0.5, -0.5, width - 0.5, color="white", linewidth=0.5)
    axes.vlines(np.arange(width + 1) - 0.5, -0.5, height - 0.5, color="white", linewidth=0.5)
    if channels:
        _legend(axes, [(name, colour) for name, colour in zip(channels, colours, strict=False) if name])


def draw_text(axes: "Axes", state: Any, obs: np.ndarray, show: Callable[[Any], str]) -> None:
    """A state in text, such as the board of a game.

    Args:
        axes: empty axes.
        state: what to show.
        obs: not used.
        show: ``(state) -> str``.
    """
    _text(axes, show(state))


def draw_memory_chain(axes: "Axes", state: Any, obs: np.ndarray) -> None:
    """The context of the memory chain, shown or hidden, and the time that is left until the question."""
    context = " ".join("1" if bit > 0 else "0" for bit in obs[2:]) if np.any(obs[2:]) else "hidden"
    _text(axes, f"context: {context}\ntime left: {max(obs[0], 0.0):.1f}")


DRAWINGS: dict[str, Draw] = {
    "Acrobot-v1": draw_acrobot,
    "CartPole-v1": draw_cart_pole,
    "FourRooms-misc": draw_four_rooms,
    "MemoryChain-bsuite": draw_memory_chain,
    "MountainCar-v0": functools.partial(draw_mountain_car, goal=0.5),
    "MountainCarContinuous-v0": functools.partial(draw_mountain_car, goal=0.45),
    "Pendulum-v1": draw_pendulum,
}

# These need observations that are a grid: for what it shows, or for its size.
_GRID_DRAWINGS: dict[str, Draw] = {
    "Catch-bsuite": draw_catch,
    **{name: functools.partial(draw_grid, channels=channels) for name, channels in _CHANNELS.items()},
}


def _play(env: Environment | Game, agent: Agent, key: jax.Array, max_steps: int) -> Iterator[_Moment]:
    """One episode on the host, moment by moment, so that its length need not be known before."""

    @jax.jit
    def advance(key: jax.Array, t: int, carry: PyTree, obs: PyTree, state: PyTree) -> tuple:
        policy_key, step_key = jax.random.split(jax.random.fold_in(key, t))
        carry, action = agent.act(carry, obs, policy_key, state)
        obs, state, *outcome, _ = env.step(step_key, state, action)
        return carry, obs, state, outcome

    reset_key, key = jax.random.split(key)
    obs, state = jax.jit(env.reset)(reset_key)
    total, carries = 0.0, [agent.start(), agent.start()]  # of the players of a game; without one the first acts alone
    yield _Moment(0, obs, state, total, "")
    for t in range(max_steps):
        mover = int(env.player(state)) if isinstance(env, Game) else 0
        carries[mover], obs, state, (reward, terminated, truncated) = advance(key, t, carries[mover], obs, state)
        total += float(reward) if mover == 0 else -float(reward)
        end = "terminated" if terminated else "truncated" if truncated else ""
        yield _Moment(t + 1, obs, state, total, end)
        if end:
            return


def _pictures(draw: Draw, moments: Iterator[_Moment]) -> Iterator[np.ndarray]:
    """Each moment as ``[H, W, 3]`` uint8, drawn on one figure that pyplot does not know."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.03, 0.03, 0.94, 0.87))
    caption = figure.text(0.03, 0.94, "", color="0.4", fontsize=8, va="center")
    for moment in moments:
        axes.clear()
        axes.set_axis_off()
        axes.set_aspect("equal")
        obs, state = jax.device_get((moment.obs, _innermost(moment.state)))
        draw(axes, state, obs)
        # adding 0.0 makes -0.0 a plain 0
        caption.set_text(f"step {moment.step}   return {round(moment.episode_return, 2) + 0.0:g}   {moment.end}")
        canvas.draw()
        yield np.array(canvas.buffer_rgba())[..., :3]


def _innermost(state: PyTree) -> PyTree:
    """The environment's state below those of all wrappers, which keep it as ``env_state``."""
    while hasattr(state, "env_state"):
        state = state.env_state
    return state


def _is_grid(shape: tuple[int, ...]) -> bool:
    low, high = _GRID_SIDE
    return len(shape) in (2, 3) and all(low <= side <= high for side in shape[:2])


def _weights(channels: tuple[str, ...]) -> np.ndarray:
    """What is seen of the channels of a cell is the heaviest: the first one, unless it lies behind all others."""
    first_is_heaviest = np.arange(len(channels), 0.0, -1.0)
    return np.select([np.isin(channels, ""), np.isin(channels, _BEHIND)], [0.0, 0.5], first_is_heaviest)


def _legend(axes: "Axes", entries: list[tuple[str, np.ndarray]]) -> None:
    """Names and colours to the right of the axes, which move to the left."""
    axes.set_anchor("W")
    for i, (name, colour) in enumerate(entries):
        y = 1.0 - (i + 0.5) / _LEGEND_LINES
        axes.text(1.04, y, "■", color=colour, fontsize=9, va="center", transform=axes.transAxes)
        axes.text(1.11, y, name, color="0.25", fontsize=8, va="center", transform=axes.transAxes)


def _text(axes: "Axes", text: str) -> None:
    """Lines in the middle of the axes."""
    lines = text.splitlines()
    # As large as fits: a character is about 0.6 of its size wide, a line 1.3 of it high.
    width, height = _SIZE[0] * 0.9 * 72 / (0.6 * max(map(len, lines))), _SIZE[1] * 0.8 * 72 / (1.3 * len(lines))
    size = min(width, height, _LARGEST_TEXT)
    axes.text(0.5, 0.5, text, family="monospace", fontsize=size, ha="center", va="center", transform=axes.transAxes)


def _rods(axes: "Axes", points: list) -> None:
    """A chain of rods with a dot at each joint."""
    x, y = np.transpose(points)
    axes.plot(x, y, color="C1", linewidth=5.0, solid_capstyle="round", label="rods")
    axes.plot(x[:-1], y[:-1], "o", color="0.25", markersize=5.0)


def _hill(x: Any) -> Any:
    return 0.45 * np.sin(3 * x)


def _hill_point(x: float) -> np.ndarray:
    return np.array([x, _hill(x)])


@functools.cache
def _colours() -> np.ndarray:
    """Twenty colours ``[20, 3]``, the ten strong ones first."""
    from matplotlib import colormaps

    strong_and_pale = np.array(colormaps["tab20"].colors)  # type: ignore[attr-defined]
    return np.concatenate([strong_and_pale[::2], strong_and_pale[1::2]])


@functools.cache
def _four_rooms_walls() -> np.ndarray:
    import gymnax

    return np.asarray(gymnax.make("FourRooms-misc")[0].occupied_map)
