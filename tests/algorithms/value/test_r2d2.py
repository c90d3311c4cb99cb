"""R2D2: what it remembers, one update by hand, a question that only a memory answers, and what it refuses."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.value import r2d2 as module
from purerl.algorithms.value.dqn import DQNConfig, DQNHypers, dqn
from purerl.algorithms.value.r2d2 import R2D2Config, R2D2Hypers, r2d2
from purerl.data.transitions import sequences
from purerl.envs import PROBES, Recalled
from purerl.envs.probes import memory as memory_probe
from purerl.nets.value import RecurrentQNetwork, make_q_network
from tests.oracles import returns as oracle
from tests.support.ppo_setup import CONTINUOUS, busy_env, jit

KEY = jax.random.key(0)
GAMMA = 0.7


def network(env, config) -> RecurrentQNetwork:
    """The network that such a config means."""
    net = make_q_network(
        tuple(env.observation_space.shape),
        env.action_space.n,
        hidden_sizes=config.hidden_sizes,
        dueling=config.dueling,
        memory_size=config.memory_size,
    )
    assert isinstance(net, RecurrentQNetwork)
    return net


# --- where it leads ---------------------------------------------------------------------------------------


def trained(algorithm, hypers, key, num_updates):
    """The state after a run whose step size falls to 0."""
    init_key, run_key = jax.random.split(key)

    def update(state, inputs):
        share_left, key = inputs
        now = hypers.replace(learning_rate=hypers.learning_rate * share_left)
        return algorithm.update(now, state, key)[0], None

    inputs = 1 - jnp.arange(num_updates) / num_updates, jax.random.split(run_key, num_updates)
    return jax.lax.scan(update, algorithm.init(hypers, init_key), inputs)[0]


SMALL: dict[str, Any] = {
    "num_gradient_steps": 2,
    "batch_size": 16,
    "sequence_length": 8,
    "burn_in": 4,
    "overlap": 4,
    "replay_capacity": 2048,
    "num_warmup_steps": 128,
    "n_step": 1,
    "hidden_sizes": (16,),
    "memory_size": 16,
}
QUICK = R2D2Hypers(
    learning_rate=1e-2,
    gamma=GAMMA,
    epsilon_end=0.5,
    epsilon_spread=1.0,
    target_update_every=100.0,
    adam_epsilon=1e-6,
)
DELAY = 3
# Both cues side by side, each as an episode is seen, [T, B, 2].
SHOWN = jnp.zeros((DELAY + 1, 2, 2)).at[0, :, 0].set(jnp.array([-1.0, 1.0])).at[DELAY, :, 1].set(1.0)


@pytest.mark.covers("rnnstate", "dqn", "per", "dueling", "double-dqn", "target-net")
def test_remembers_what_it_is_asked_for():
    """A cue, three steps, the question: all action values of both episodes within 0.02 of the truth, for three seeds.

    In greedy evaluation every episode is answered rightly.
    """
    env, config = memory_probe(DELAY), R2D2Config(**SMALL)
    algorithm, net = r2d2(env, config), network(env, config)

    def run(key):
        run_key, eval_key = jax.random.split(key)
        state = trained(algorithm, QUICK, run_key, 300)
        _, scaled = net.apply(state.params, net.memory.start(2), SHOWN, jnp.zeros((DELAY + 1, 2), bool))
        return scaled[..., 0], algorithm.spec.evaluate(QUICK, state, eval_key, 16)

    scaled, episodes = jit(jax.vmap(run))(jax.random.split(KEY, 3))
    right = np.array([[1, -1], [-1, 1]])  # [B, A]
    truth = np.stack([np.full((2, 2), GAMMA ** (DELAY - t)) for t in range(DELAY)] + [right])
    np.testing.assert_allclose(unscaled(np.asarray(scaled)) - truth, 0, atol=0.02)
    np.testing.assert_array_equal(episodes.returns, 1.0)
    np.testing.assert_array_equal(episodes.lengths, DELAY + 1)


@pytest.mark.covers("rnnstate")
def test_nobody_else_can_know():
    """The same question to DQN, which sees the same whatever the cue was: both answers are worth 0, within 0.2."""
    env = memory_probe(DELAY)
    sizes: dict[str, Any] = {"num_warmup_steps": 4096, "replay_capacity": 4096, "hidden_sizes": (16,)}
    config = DQNConfig(**sizes, batch_size=256, loss="squared")
    hypers = DQNHypers(learning_rate=1e-2, gamma=GAMMA, epsilon_end=1.0, target_update_every=100.0)
    net = make_q_network((2,), 2, hidden_sizes=(16,))

    def run(key):
        return net.apply(trained(dqn(env, config), hypers, key, 300).params, SHOWN)[..., 0]

    q = jit(jax.vmap(run))(jax.random.split(KEY, 3))
    np.testing.assert_allclose(q, 0, atol=0.2)


@pytest.mark.covers("nstep-dqn", "polyak")
def test_bootstraps_at_a_time_limit_and_at_the_end_of_a_sequence():
    """Reward 1 for ever, cut every four steps, three-step targets in sequences of eight: the value is 1 / (1 - gamma).

    With uniform draws, values as they are, no burn-in and a target network that moves: within 0.1 of 3.33. Who
    takes a cut for an end finds at most 1 / (1 - 3/4 gamma) = 2.1.
    """
    env, answer = PROBES["truncation"].env(), PROBES["truncation"].answer(GAMMA)
    changes: dict[str, Any] = {
        "prioritized": False,
        "rescale": False,
        "burn_in": 0,
        "n_step": 3,
        "target_update": "polyak",
        "dueling": "none",
    }
    config = R2D2Config(**SMALL | changes)
    net, hypers = network(env, config), QUICK.replace(polyak=0.1)

    def run(key):
        state = trained(r2d2(env, config), hypers, key, 300)
        seen = jnp.broadcast_to(jnp.asarray(answer.obs), (4, 1, 1))
        return net.apply(state.params, net.memory.start(1), seen, jnp.zeros((4, 1), bool))[1][..., 0]

    q = jit(jax.vmap(run))(jax.random.split(KEY, 3))
    np.testing.assert_allclose(q, 1 / (1 - GAMMA), atol=0.1)


# --- one update by hand -----------------------------------------------------------------------------------

# A first step of Adam with a large constant shows how long gradients are, and not their signs alone.
HYPERS = R2D2Hypers(
    learning_rate=0.1,
    gamma=0.9,
    epsilon_end=0.2,
    exploration_steps=1000.0,
    epsilon_spread=2.0,
    polyak=0.3,
    rescale_epsilon=0.01,
    priority_eta=0.7,
    priority_alpha=0.5,
    priority_epsilon=0.01,
    max_grad_norm=1.5,
    adam_epsilon=0.1,
)
BUSY = R2D2Config(
    num_envs=3,
    num_steps=10,
    num_gradient_steps=1,
    batch_size=16,
    sequence_length=6,
    burn_in=4,
    overlap=3,
    replay_capacity=135,
    num_warmup_steps=60,
    n_step=3,
    target_update="polyak",
    hidden_sizes=(8, 6),
    memory_size=5,
)
ROWS, WRITTEN = 45, slice(20, 30)  # rows of the ring, and those that an update after the warm-up writes
NET = network(busy_env(), BUSY)


class Learner:
    """R2D2 in a busy environment of both kinds of end, compiled once: ``init``, ``update``, and what was drawn."""

    def __init__(self) -> None:
        self.drawn: Any = None
        algorithm = r2d2(busy_env(), BUSY)
        self.init, self._update = jit(algorithm.init), jit(functools.partial(self._watched_update, algorithm))

    def start(self, num_env_steps=60):
        """A start whose target network is another than the online one."""
        state, other = (self.init(HYPERS, key) for key in jax.random.split(KEY))
        return state.replace(target_params=other.params, num_env_steps=jnp.int32(num_env_steps))

    def update(self, state, key):
        result = jax.block_until_ready(self._update(HYPERS, state, key))
        jax.effects_barrier()
        return result

    def _watched_update(self, algorithm, hypers, state, key):
        def watched(ring, indices, length, of):
            jax.debug.callback(lambda indices: setattr(self, "drawn", indices), indices)
            return sequences(ring, indices, length, of)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "sequences", watched)
            return algorithm.update(hypers, state, key)


@functools.cache
def learner() -> Learner:
    return Learner()


@jax.jit
def think(params, memory, obs):
    """One step of the network: memory afterwards, scaled action values ``[M, A]``."""
    memory, output = NET.apply(params, memory, obs[None], jnp.zeros((1, len(obs)), bool))
    return memory, output[0, ..., 0]


def forget(memory, ended):
    return tuple(jnp.where(jnp.asarray(ended)[:, None], 0, x) for x in memory)


def values(params, memory, steps):
    """Scaled action values of each observation and of what it led to, ``[T, M, A]``, and the memory in the end."""
    now, following = [], []
    for t in range(len(steps.reward)):
        memory, q = think(params, memory, steps.obs[t])
        now.append(q)
        following.append(think(params, memory, steps.next_obs[t])[1])
        memory = forget(memory, steps.terminated[t] | steps.truncated[t])
    return jnp.stack(now), jnp.stack(following), memory


def scaled(x, epsilon):
    return np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + epsilon * x


def unscaled(y, epsilon=1e-3):
    """The inverse of :func:`scaled` as it is printed, in float64."""
    y = np.asarray(y, np.float64)
    root = np.sqrt(1 + 4 * epsilon * (np.abs(y) + 1 + epsilon))
    return np.sign(y) * (((root - 1) / (2 * epsilon)) ** 2 - 1)


def pick(q, action):
    return np.take_along_axis(np.asarray(q, np.float64), action[..., None], axis=-1)[..., 0]


@pytest.mark.covers("rnnstate", "dqn", "nstep-dqn", "per", "double-dqn", "polyak")
def test_an_update_is_the_one_done_by_hand():
    """What was drawn, step by step: burn-in, targets by float64 loops, both kinds of end, gradient, loss, priorities.

    Each network reads the burn-in by itself, from the memory that was stored; of the gradient's path only what lies
    behind the burn-in is left.
    """
    agent = learner()
    start = agent.start()
    # One update, so that priorities differ; then Adam forgets it.
    before = agent.update(start, jax.random.key(1))[0].replace(opt_state=start.opt_state)
    after, metrics = agent.update(before, jax.random.key(2))
    row, env, weight = (np.asarray(x) for x in (agent.drawn.row, agent.drawn.env, agent.drawn.weight))
    assert np.ptp(weight) > 0.1
    items = jax.device_get(after.replay.ring.items)
    rows = (row + np.arange(10)[:, None]) % ROWS
    steps = jax.tree.map(lambda x: x[rows, env], items.step)
    stored = tuple(x[row, env] for x in items.memory)
    read, learnt = (jax.tree.map(lambda x, part=part: x[part], steps) for part in (slice(4), slice(4, 10)))

    def behind_burn_in(params):
        ended = steps.terminated[3] | steps.truncated[3]
        return forget(values(params, stored, read)[2], ended)

    memory = behind_burn_in(before.params)
    now, choice, _ = values(before.params, memory, learnt)
    _, following, _ = values(before.target_params, behind_burn_in(before.target_params), learnt)
    best = unscaled(pick(following, np.asarray(choice).argmax(-1)), 0.01)
    terminated, truncated = learnt.terminated, learnt.truncated
    assert terminated.any() and (truncated & ~terminated).any()
    assert np.any(steps.terminated[:3]) and not np.all((terminated | truncated)[-1])
    target = scaled(oracle.n_step_returns(learnt.reward, best, terminated, truncated, 0.9, 3), 0.01)
    error = target - pick(now, learnt.action)
    np.testing.assert_allclose(metrics["loss"], np.mean(weight * error**2) / 2, rtol=1e-4)
    np.testing.assert_allclose(metrics["q_value"], np.mean(unscaled(pick(now, learnt.action), 0.01)), rtol=1e-3)

    drawn = row // 3 * 3 + env  # items start every three rows, three environments to a row
    priority = 0.7 * np.abs(error).max(0) + 0.3 * np.abs(error).mean(0) + 0.01
    highest = {item: priority[drawn == item].max() for item in drawn}
    masses = np.asarray(after.replay.priorities.scaled_priorities.levels[0])
    np.testing.assert_allclose([masses[i] for i in highest], np.sqrt([*highest.values()]), rtol=1e-3)

    def loss(params):
        q = values(params, memory, learnt)[0]
        predicted = jnp.take_along_axis(q, jnp.asarray(learnt.action)[..., None], axis=-1)[..., 0]
        return jnp.mean(weight * (jnp.asarray(target, jnp.float32) - predicted) ** 2) / 2

    grads = jax.grad(loss)(before.params)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
    assert norm > 1.5
    grads = jax.tree.map(lambda g: g * 1.5 / norm, grads)
    expected = jax.tree.map(lambda x, g: x - 0.1 * g / (np.abs(g) + 0.1), before.params, grads)
    moved = jax.tree.map(lambda old, new: old + 0.3 * (new - old), before.target_params, after.params)
    for ours, theirs in ((after.params, expected), (after.target_params, moved)):
        for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-3, atol=2e-5)
    assert int(after.num_env_steps) == int(before.num_env_steps) + 30


@pytest.mark.covers("rnnstate")
def test_no_gradient_reaches_the_burn_in():
    """Observations of drawn sequences, shifted: in the burn-in the loss changes, but its derivative there is 0."""
    algorithm, state = r2d2(busy_env(), BUSY), learner().start()

    def loss(shift):
        def shifted(ring, indices, length, of):
            steps = sequences(ring, indices, length, of)
            return steps.replace(obs=steps.obs + shift)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "sequences", shifted)
            return algorithm.update(HYPERS, state, jax.random.key(2))[1]["loss"]

    @jit
    def loss_and_slopes(shift):
        """With a derivative for every step of the sequences, along a direction that moves nothing else."""
        moves = jnp.eye(10)[:, :, None, None] * jnp.ones((16, 2))
        values, slopes = jax.vmap(lambda move: jax.jvp(loss, (shift,), (move,)))(moves)
        return values[0], slopes

    still = jnp.zeros((10, 16, 2))
    value, slopes = loss_and_slopes(still)
    assert float(loss_and_slopes(still.at[:4].set(2.0))[0]) != pytest.approx(float(value), rel=1e-3)
    np.testing.assert_array_equal(slopes[:4], 0)
    assert np.all(np.abs(slopes[4:]) > 1e-6)


# --- how it behaves ---------------------------------------------------------------------------------------


@pytest.mark.covers("rnnstate")
def test_a_stored_memory_is_what_was_remembered():
    """From row to row of the replay: one step of the network behind the memory before, or zeros where an episode ended.

    The running environments go on with the one behind the last row.
    """
    agent = learner()
    before = agent.start()
    after, _ = agent.update(before, jax.random.key(3))
    items = jax.tree.map(lambda x: x[WRITTEN], after.replay.ring.items)
    remembered, ended = before.envs.obs.memory, items.step.terminated | items.step.truncated
    assert np.asarray(ended).any() and not np.asarray(ended).all()
    for t in range(10):
        for ours, stored in zip(remembered, items.memory, strict=True):
            np.testing.assert_allclose(ours, stored[t], rtol=1e-4, atol=1e-6)
        remembered = forget(think(before.params, tuple(x[t] for x in items.memory), items.step.obs[t])[0], ended[t])
    for ours, carried in zip(remembered, after.envs.obs.memory, strict=True):
        np.testing.assert_allclose(ours, carried, rtol=1e-4, atol=1e-6)
    for x in before.replay.ring.items.memory:
        assert np.asarray(x[:20]).any() and not np.asarray(x[20:]).any()


@pytest.mark.covers("rnnstate")
def test_acts_with_its_memory_and_hands_it_on():
    """Of one observation: the best action of the network's, or the one that epsilon 1 draws; and the memory behind."""
    algorithm, state = r2d2(busy_env(), BUSY), learner().start(num_env_steps=0)
    memory, obs = tuple(jnp.linspace(-1, 1, 10).reshape(2, 5)), jnp.array([1.0, -2.0])
    behind, q = think(state.params, tuple(x[None] for x in memory), obs[None])
    best, after = algorithm.act(HYPERS, state, Recalled(obs, memory), KEY)
    assert int(best) == int(jnp.argmax(q))
    for ours, theirs in zip(after, behind, strict=True):
        np.testing.assert_allclose(ours, theirs[0], rtol=1e-5)
    draws = [algorithm.act(HYPERS, state, Recalled(obs, memory), key, sample=True)[0] for key in jax.random.split(KEY)]
    expected = [int(jax.random.uniform(key, (1,))[0] * 3) for key in jax.random.split(KEY)]
    np.testing.assert_array_equal(draws, expected)


@pytest.mark.covers("eps-greedy")
@pytest.mark.parametrize(("num_env_steps", "epsilon"), [(0, 1.0), (500, 0.6), (9999, 0.2)])
def test_environments_explore_differently(num_env_steps, epsilon):
    """Environment i plays the best action in a share 1 - 2/3 epsilon^(1 + i), within 4 deviations of 300."""
    agent = learner()
    state = agent.start(num_env_steps)
    greedy = np.zeros(3)
    for key in jax.random.split(jax.random.key(5), 30):
        items = jax.tree.map(lambda x: x[WRITTEN], agent.update(state, key)[0].replay.ring.items)
        flat = jax.tree.map(lambda x: x.reshape(30, *x.shape[2:]), items)
        best = np.asarray(think(state.params, flat.memory, flat.step.obs)[1]).argmax(-1)
        greedy += np.sum((best == np.asarray(flat.step.action)).reshape(10, 3), axis=0)
    share = 1 - 2 / 3 * epsilon ** np.arange(1.0, 4.0)
    assert np.all(np.abs(greedy - 300 * share) < 4 * np.sqrt(300 * share * (1 - share)))


# --- what it refuses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_envs": 0}, r"R2D2Config.num_envs = 0: it must be at least 1"),
        ({"memory_size": 0}, r"R2D2Config.memory_size = 0: it must be at least 1"),
        ({"n_step": 0}, r"R2D2Config.n_step = 0: it must be at least 1"),
        ({"burn_in": -1}, r"R2D2Config.burn_in = -1: it must be at least 0"),
        ({"overlap": 16}, r"R2D2Config.overlap = 16 must be at least 0 and less than sequence_length = 16"),
        ({"num_warmup_steps": 1025}, r"num_warmup_steps = 1025 is not a positive multiple of num_envs = 8.* is: 1032"),
        (
            {"num_warmup_steps": 184},
            r"num_warmup_steps = 184 must hold .* burn_in \+ sequence_length = 24 .* least 192",
        ),
        (
            {"replay_capacity": 1000},
            r"capacity = 1000 is not a positive multiple of num_envs \* \(sequence_length - overlap\) = 64.* is: 1024",
        ),
        ({"replay_capacity": 1024}, r"replay_capacity = 1024 must hold the warm-up.*: at least 1216 are needed"),
        ({"dueling": "min"}, r"R2D2Config.dueling = 'min': choose one of none, mean, max"),
        ({"target_update": "soft"}, r"R2D2Config.target_update = 'soft': choose one of hard, polyak"),
    ],
    ids=lambda value: "-".join(f"{k}-{v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_bad_sizes_and_choices_are_refused(changes, message):
    """Each names the field, what it was, and what would do."""
    with pytest.raises(ValueError, match=message):
        R2D2Config(**changes)


def test_the_smallest_replay_that_is_accepted_can_be_drawn_from():
    """The capacity that an error asks for is one with which a prioritised replay, the pickier one, can be traced."""
    for changes in ({}, {"batch_size": 700}, {"num_steps": 300}):
        sizes: dict[str, Any] = {**changes, "num_warmup_steps": 192}
        with pytest.raises(ValueError, match="at least") as refused:
            R2D2Config(**sizes, replay_capacity=64)
        needed = int(str(refused.value).split("at least ")[1].split()[0])
        algorithm = r2d2(memory_probe(), R2D2Config(**sizes, replay_capacity=needed))
        state = jax.eval_shape(algorithm.init, R2D2Hypers(), KEY)
        jax.eval_shape(algorithm.update, R2D2Hypers(), state, KEY)
        items = jax.eval_shape(lambda ring: ring.items, state.replay.ring)
        assert items.step.reward.shape == (needed // 8, 8)


def test_continuous_actions_are_refused():
    """The error names the environment and its actions."""
    with pytest.raises(ValueError, match=r"busy: R2D2 needs Discrete actions, but the action space is Box"):
        r2d2(busy_env(CONTINUOUS))


def test_acting_without_a_memory_is_refused():
    """The error says what the observation lacks, and which wrapper gives it."""
    algorithm = r2d2(busy_env(), BUSY)
    with pytest.raises(ValueError, match=r"acts on Recalled\(obs, memory\), not on ndarray: apply carry_memory"):
        algorithm.act(HYPERS, None, np.zeros(2), KEY)
