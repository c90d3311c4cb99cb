"""Pictures of episodes: which moments are drawn, and what is where in them, read back from the artists."""

from types import SimpleNamespace

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from purerl.agent import Agent, reactive
from purerl.envs import drawing, episode_statistics, flatten_observation, frame_stack, make, time_limit
from tests.support.nim import nim

MINATAR = [f"{game}-MinAtar" for game in ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")]
CLASSIC = ["CartPole-v1", "Acrobot-v1", "Pendulum-v1", "MountainCar-v0", "MountainCarContinuous-v0"]


def drawn(draw, state, obs=None):
    """New axes with one moment on them."""
    axes = Figure().add_axes((0, 0, 1, 1))
    draw(axes, SimpleNamespace(**state) if isinstance(state, dict) else state, obs)
    return axes


def labelled(axes, label):
    (artist,) = [artist for artist in axes.get_children() if artist.get_label() == label]
    return artist


def points(axes):
    """Ends of the rods, ``[K, 2]``."""
    return labelled(axes, "rods").get_xydata()


class Recorder:
    """A drawing that remembers what it was given, on axes that must be empty every time."""

    def __init__(self):
        self.states, self.observations = [], []

    def __call__(self, axes, state, obs):
        assert not axes.has_data()
        axes.plot([0, 1])
        self.states.append(state)
        self.observations.append(obs)
        self.caption = axes.figure.texts[0]


ZERO = reactive(lambda seen, key: jnp.zeros(1, jnp.int32))


def test_frames_are_the_reset_state_and_one_for_each_step():
    """The probe that shows one unit vector per step and ends after three: four frames, those observations in order."""
    recorder = Recorder()
    pictures = drawing.frames(make("probe/termination", num_steps=3), ZERO, jax.random.key(0), draw=recorder)
    assert (pictures.shape, pictures.dtype) == ((4, 300, 400, 3), np.uint8)
    np.testing.assert_array_equal(recorder.observations, np.eye(4, 3))
    np.testing.assert_array_equal(recorder.states, range(4))
    assert all(isinstance(x, np.ndarray) for x in (*recorder.observations, *recorder.states))
    assert recorder.caption.get_text() == "step 3   return 3   terminated"


def test_frames_end_at_a_time_limit_or_at_max_steps():
    """A probe that never terminates: its own limit ends the episode and is named, the drawing's only stops drawing."""
    env = make("probe/truncation", max_steps=4)
    for max_steps, count, caption in ((9, 5, "step 4   return 4   truncated"), (2, 3, "step 2   return 2   ")):
        recorder = Recorder()
        pictures = drawing.frames(env, ZERO, jax.random.key(0), max_steps, recorder)
        assert len(pictures) == count == len(recorder.states)
        assert recorder.caption.get_text() == caption


def test_frames_give_the_agent_observations_and_keys_of_its_own():
    """Actions of an agent that mixes observation and key come back through the rewards; another key, other ones."""
    env = make("probe/continuous-action")
    agent = reactive(lambda seen, key: seen.obs / 2 + jax.random.uniform(key, (1, 1), minval=0.5))  # reward -uniform**2

    captions = []
    for seed in (0, 0, 1):
        recorder = Recorder()
        drawing.frames(env, agent, jax.random.key(seed), draw=recorder)
        captions.append(recorder.caption.get_text())
    assert captions[0] == captions[1] != captions[2]
    assert all(-1 <= float(caption.split()[3]) <= -0.25 for caption in captions)


def test_frames_carry_the_memory_of_a_recurrent_agent():
    """Who keeps the first observation until it is asked for gets 1 in the memory probe, whatever the first was."""
    env = make("probe/memory")

    def policy(carry, seen, key):
        carry = jnp.where(carry == 0, seen.obs[:, 0], carry)
        return carry, (carry > 0).astype(jnp.int32)

    returns, cues = set(), set()
    for seed in range(4):
        recorder = Recorder()
        drawing.frames(env, Agent(lambda: jnp.zeros(()), policy), jax.random.key(seed), draw=recorder)
        returns.add(recorder.caption.get_text())
        cues.add(float(recorder.observations[0][0]))
    assert (returns, cues) == ({"step 2   return 1   terminated"}, {-1.0, 1.0})


def test_frames_of_a_game_are_its_text():
    """Nim of an agent against itself, that takes a stone a move: the text of every state, each side with a carry of its
    own, and the return of who moves first."""
    recorder, game = Recorder(), nim()

    def policy(carry, seen, key):
        return carry + 1, jnp.zeros(1, jnp.int32)

    agent = Agent(lambda: jnp.int32(0), policy)
    drawing.frames(game, agent, jax.random.key(0), draw=recorder)
    stones = [int(state[0]) for state in recorder.states]
    assert stones == list(range(stones[0], -1, -1)) and [int(state[1]) for state in recorder.states][:2] == [0, 1]
    first_wins = stones[0] % 2
    assert recorder.caption.get_text() == f"step {stones[0]}   return {1 if first_wins else -1}   terminated"
    axes = drawn(drawing.drawing_of(game), recorder.states[0])
    assert [text.get_text() for text in axes.texts] == [game.show(recorder.states[0])]


def test_wrappers_do_not_change_the_picture():
    """CartPole below three wrappers is drawn as CartPole, frame by frame; the agent sees what the wrappers show, and
    their state."""
    env = make("CartPole-v1")
    wrapped = frame_stack(time_limit(episode_statistics(env), 100), 2)
    shapes = []

    def policy(seen, key):
        shapes.append((seen.obs.shape, seen.env_state.frames.shape))
        return jnp.zeros(1, jnp.int32)

    key = jax.random.key(0)
    np.testing.assert_array_equal(drawing.frames(wrapped, reactive(policy), key, 5), drawing.frames(env, ZERO, key, 5))
    assert set(shapes) == {((1, 8), (1, 8))}


@pytest.mark.parametrize(
    "name", [*CLASSIC, *MINATAR, "Catch-bsuite", "FourRooms-misc", "Pong-misc", "DeepSea-bsuite", "MemoryChain-bsuite"]
)
def test_environments_by_name(name):
    """Each is drawn, by itself and below a wrapper, and its picture is not blank."""
    env = time_limit(make(name), 3)
    obs, state = jax.device_get(jax.jit(env.reset)(jax.random.key(0)))
    axes = drawn(drawing.drawing_of(env), state.env_state, obs)
    axes.set_axis_off()
    canvas = FigureCanvasAgg(axes.figure)
    canvas.draw()
    assert len(np.unique(np.asarray(canvas.buffer_rgba()).reshape(-1, 4), axis=0)) > 2


def test_the_pole_stands_on_the_cart():
    """The pole's ends in closed form: the cart's top, and 1 further at angle theta to the right of upright."""
    axes = drawn(drawing.draw_cart_pole, {"x": 0.7, "theta": 0.3})
    bottom, top = points(axes)
    np.testing.assert_allclose(bottom, [0.7, 0.25])
    np.testing.assert_allclose(top - bottom, [np.sin(0.3), np.cos(0.3)])
    (cart,) = axes.patches
    assert cart.get_bbox().extents == pytest.approx([0.45, 0.0, 0.95, 0.25])


def test_a_pole_lags_behind_a_cart_pushed_to_the_right():
    """From rest and upright, gymnax's dynamics under action 1: in the picture the cart is right of where it was and the
    tip left of the cart."""
    env = make("CartPole-v1")
    _, state = env.reset(jax.random.key(0))
    state = jax.tree.map(jnp.zeros_like, state)
    for _ in range(3):
        _, state, *_ = env.step(jax.random.key(0), state, 1)
    bottom, top = points(drawn(drawing.draw_cart_pole, state))
    assert bottom[0] > 0 and top[0] < bottom[0]


def test_acrobat_reaches_the_line_when_gymnax_says_so():
    """Links of length 1 in closed form; at random angles the tip is above the line where gymnax terminates."""
    axes = drawn(drawing.draw_acrobot, {"joint_angle1": 0.4, "joint_angle2": -1.1})
    expected = [[0, 0], [np.sin(0.4), -np.cos(0.4)], [np.sin(0.4) + np.sin(-0.7), -np.cos(0.4) - np.cos(-0.7)]]
    np.testing.assert_allclose(points(axes), expected)

    env, params = gymnax.make("Acrobot-v1")
    _, state = env.reset_env(jax.random.key(0), params)
    above = []
    for first, second in np.random.default_rng(0).uniform(-np.pi, np.pi, (40, 2)):
        state = state.replace(joint_angle1=first, joint_angle2=second)
        axes = drawn(drawing.draw_acrobot, state)
        above.append(points(axes)[-1, 1] > axes.lines[0].get_ydata()[0])
        assert above[-1] == env.is_terminated(state, params)
    assert 0 < sum(above) < 40


def test_the_pendulum_is_as_it_is_observed():
    """The observation is (cos, sin) of the angle counterclockwise from upright: the tip is at (-sin, cos)."""
    env = make("Pendulum-v1")
    obs, state = env.reset(jax.random.key(1))
    pivot, tip = points(drawn(drawing.draw_pendulum, state, obs))
    np.testing.assert_array_equal(pivot, [0, 0])
    np.testing.assert_allclose(tip, [-obs[1], obs[0]], rtol=1e-6)


def test_the_car_stands_on_the_hill_and_rolls_down_it():
    """The car's place in closed form, and its tilt against gymnax: without force it gathers speed downhill."""
    env = make("MountainCar-v0")
    _, state = env.reset(jax.random.key(0))
    draw = drawing.drawing_of(env)
    for position in (-1.1, -0.7, -0.3, 0.2, 0.45):
        state = state.replace(position=jnp.float32(position), velocity=jnp.float32(0.0))
        axes = drawn(draw, state)
        to_data = labelled(axes, "car").get_data_transform() - axes.transData
        origin, ahead = to_data.transform([[0, 0], [1, 0]])
        np.testing.assert_allclose(origin, [position, 0.45 * np.sin(3 * position)], atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(ahead - origin), 1.0, rtol=1e-6)
        _, after, *_ = env.step(jax.random.key(0), state, 1)
        assert np.sign(after.velocity) == -np.sign(ahead[1] - origin[1])


def test_the_rooms_agent_walks_between_the_walls():
    """Along 60 random steps the disc is on a cell that is no wall, at (column, row) of the state; the goal is too."""
    env = make("FourRooms-misc")
    wall = [False]

    def draw(axes, state, obs):
        drawing.draw_four_rooms(axes, state, obs)
        (walls,) = axes.images
        assert tuple(labelled(axes, "agent").center) == (obs[1], obs[0])
        goal = labelled(axes, "goal")
        assert (goal.get_x() + 0.5, goal.get_y() + 0.5) == (obs[3], obs[2])
        wall.append(walls.get_array()[obs[0], obs[1]] or walls.get_array()[obs[2], obs[3]])

    agent = reactive(lambda seen, key: env.action_space.sample(key)[None])
    drawing.frames(env, agent, jax.random.key(0), 60, draw)
    assert len(wall) > 2 and not any(wall)


def test_variant_is_drawn_as_what_its_name_begins_with():
    """CartPole without velocities, whose name has a second part."""
    env = make("CartPole-v1")
    assert drawing.drawing_of(env._replace(name="CartPole-v1/positions")) is drawing.drawing_of(env)


def test_memory_chain_shows_its_context_at_first_alone():
    """The bit of the state in the first frames (gymnax observes the state before a step), then none; and the time until
    the question."""
    texts, env = [], make("MemoryChain-bsuite")

    def draw(axes, state, obs):
        drawing.draw_memory_chain(axes, state, obs)
        texts.append((axes.texts[0].get_text(), int(state.context[0])))

    drawing.frames(env, ZERO, jax.random.key(0), 3, draw)
    assert texts[0][0] == texts[1][0] == f"context: {texts[0][1]}\ntime left: 1.0"
    assert all(text.startswith("context: hidden") for text, _ in texts[2:]) and len(texts) == 4


def test_catch_shows_the_observed_cells():
    """Ball and paddle are at the two cells that the observation marks, the paddle in the last row."""
    env = make("Catch-bsuite")

    def draw(axes, state, obs):
        drawing.draw_catch(axes, state, obs)
        (x, y), paddle = labelled(axes, "ball").center, labelled(axes, "paddle")
        row, column = paddle.get_y() + 0.5, paddle.get_x() + 0.5
        np.testing.assert_array_equal(np.argwhere(obs), np.unique([[y, x], [row, column]], axis=0))
        assert row == len(obs) - 1

    assert len(drawing.frames(env, ZERO, jax.random.key(0), draw=draw)) == 10


GRID = np.zeros((2, 3, 3), bool)
GRID[0, 0] = [True, True, False]
GRID[0, 1] = [False, True, True]
GRID[1, 2] = [False, False, True]
FIRST = np.array([[0, 1, -1], [-1, -1, 2]])  # of the channels that are set, -1 for none


def cells(axes):
    """The number of each cell's colour among matplotlib's ten, -1 for the background."""
    image = np.asarray(axes.images[0].get_array())
    matches = np.all(np.isclose(image[..., None, :], [to_rgb(f"C{i}") for i in range(10)]), axis=-1)
    return np.where(matches.any(axis=-1), matches.argmax(axis=-1), -1)


def test_a_cell_has_the_colour_of_its_first_channel():
    """Three channels that overlap, flags and numbers alike; ``[H, W]`` is one channel."""
    for obs in (GRID, GRID.astype(np.float32) * 0.5):
        np.testing.assert_array_equal(cells(drawn(drawing.draw_grid, None, obs)), FIRST)
    np.testing.assert_array_equal(cells(drawn(drawing.draw_grid, None, GRID[..., 1])), np.where(GRID[..., 1], 0, -1))


def test_named_channels_are_the_newest_and_have_a_legend():
    """With names only as many channels count, from the end of a stack; one without a name is not drawn."""
    stack = np.concatenate([~GRID, GRID], axis=-1)

    def draw(axes, state, obs):
        drawing.draw_grid(axes, state, obs, channels=("a", "", "c"))

    axes = drawn(draw, None, stack)
    np.testing.assert_array_equal(cells(axes), [[0, 2, -1], [-1, -1, 2]])
    squares, names = axes.texts[::2], axes.texts[1::2]
    assert [text.get_text() for text in names] == ["a", "c"]
    np.testing.assert_allclose([square.get_color() for square in squares], [to_rgb("C0"), to_rgb("C2")])


@pytest.mark.parametrize("name", MINATAR)
def test_every_channel_of_a_game_is_accounted_for(name):
    """As many names as gymnax's observation has channels, and the game is drawn alike from a stack of observations."""
    env = make(name)
    draw = drawing.drawing_of(env)
    assert len(drawing._CHANNELS[name]) == env.observation_space.shape[-1]
    obs = np.random.default_rng(0).random(env.observation_space.shape) < 0.3
    stacked = np.concatenate([~obs, ~obs, ~obs, obs], axis=-1)
    assert drawing.drawing_of(frame_stack(env, 4)) is draw
    np.testing.assert_array_equal(cells(drawn(draw, None, stacked)), cells(drawn(draw, None, obs)))


def test_the_oxygen_bar_is_behind_the_saved_divers():
    """Seaquest shows both in one row: where they meet, the divers are seen."""
    oxygen, saved = map(drawing._CHANNELS["Seaquest-MinAtar"].index, ("oxygen", "divers saved"))
    obs = np.zeros((10, 10, 10))
    obs[9, :6, oxygen] = obs[9, 4:9, saved] = 1
    axes = drawn(drawing.drawing_of(make("Seaquest-MinAtar")), None, obs)
    np.testing.assert_array_equal(cells(axes)[9], [oxygen] * 4 + [saved] * 5 + [-1])


@pytest.mark.parametrize(
    "env",
    [
        make("probe/memory"),
        make("FrozenLake-misc"),
        make("SimpleBandit-bsuite"),
        flatten_observation(make("Catch-bsuite")),
        make("Pong-misc", width=80),
        frame_stack(make("Freeway-MinAtar"), 4)._replace(name="too many channels"),
    ],
    ids=lambda env: env.name,
)
def test_what_cannot_be_drawn_is_an_error(env):
    """Neither known by name nor a grid: the message names the environment, what can be drawn, and the way out."""
    with pytest.raises(ValueError, match=r"cannot be drawn.*CartPole-v1.*Breakout-MinAtar.*draw=") as error:
        drawing.frames(env, ZERO, jax.random.key(0))
    assert str(error.value).startswith(env.name)


def test_an_episode_of_no_steps_is_an_error():
    """The number is named."""
    with pytest.raises(ValueError, match="max_steps=0"):
        drawing.frames(make("CartPole-v1"), ZERO, jax.random.key(0), max_steps=0)


def test_anybody_may_add_a_drawing(monkeypatch):
    """A name in the table is drawn by its function, though its observation is no grid."""
    recorder = Recorder()
    monkeypatch.setitem(drawing.DRAWINGS, "probe/action-reward", recorder)
    assert len(drawing.frames(make("probe/action-reward"), ZERO, jax.random.key(0))) == 2 == len(recorder.states)
