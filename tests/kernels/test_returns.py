import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from purerl.kernels import returns
from tests.oracles import returns as oracle

T, GAMMA, LAMBDA = 9, 0.9, 0.7


class Rollout(NamedTuple):
    reward: np.ndarray
    value: np.ndarray
    next_value: np.ndarray
    ratio: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


def make_rollout(seed: int = 0) -> Rollout:
    """Eight lanes, one for each way an episode may end. What a terminated step leads to has the value NaN."""
    rng = np.random.default_rng(seed)
    terminated, truncated = np.zeros((T, 8), bool), np.zeros((T, 8), bool)
    terminated[3, 1] = True  # in the middle; lane 0 never ends
    truncated[3, 2] = True
    terminated[4, 3] = truncated[4, 3] = True  # time limit and termination on one step
    truncated[-1, 4] = True
    terminated[-1, 5] = True
    terminated[-1, 6] = truncated[-1, 6] = terminated[0, 6] = True
    truncated[[2, 3], 7] = terminated[4, 7] = True  # episodes of one step
    value = rng.normal(size=(T, 8))
    inside = np.concatenate([value[1:], rng.normal(size=(1, 8))])
    next_value = np.where(terminated | truncated, rng.normal(size=(T, 8)), inside)
    next_value[terminated] = np.nan
    ratio = np.exp(rng.normal(size=(T, 8)))
    return Rollout(rng.normal(size=(T, 8)), value, next_value, ratio, terminated, truncated)


def tables(lambda_):
    """Every estimator as ``(rollout) -> array``: ours and its oracle, under the same name."""
    clips = {"clip_rho": 1.1, "clip_c": 0.9, "clip_pg_rho": 1.3}

    def table(m):
        def rest(x):
            return x.terminated, x.truncated, GAMMA

        return {
            "n_step": lambda x: m.n_step_returns(x.reward, x.next_value, *rest(x), 3),
            "lambda": lambda x: m.lambda_returns(x.reward, x.next_value, *rest(x), lambda_),
            "td": lambda x: m.td_errors(x.reward, x.value, x.next_value, x.terminated, GAMMA),
            "gae": lambda x: m.gae(x.reward, x.value, x.next_value, *rest(x), lambda_),
            "vtrace_target": lambda x: m.vtrace(*x[:4], *rest(x), lambda_, **clips)[0],
            "vtrace_advantage": lambda x: m.vtrace(*x[:4], *rest(x), lambda_, **clips)[1],
            "retrace": lambda x: m.retrace(*x[:4], *rest(x), lambda_),
        }

    return {name: jax.jit(kernel) for name, kernel in table(returns).items()}, table(oracle)


OURS, ORACLE = tables(LAMBDA)
NAMES = list(OURS)


def on_device(rollout: Rollout) -> Rollout:
    return jax.tree.map(jnp.asarray, rollout)


@pytest.mark.covers("returns", "nstep-td", "lambda-return", "gae", "adv-est")
@pytest.mark.parametrize("name", NAMES)
def test_returns_and_advantages_match_their_forward_definition(name, x64):
    """Every estimator against its sum over the episode in a float64 loop, for all ways an episode may end."""
    rollout = make_rollout()
    actual = OURS[name](on_device(rollout))
    np.testing.assert_allclose(actual, ORACLE[name](rollout), rtol=1e-12, atol=1e-13)


@pytest.mark.covers("returns")
def test_n_step_returns_of_two_players_who_take_turns(x64):
    """A negative discount is one account kept for who moves in even rows: odd rows' numbers count as losses there, both
    as the oracle sums them and as they are told to who moves."""
    rollout, turns = make_rollout(), np.where(np.arange(T) % 2 == 0, 1.0, -1.0)[:, None]
    ends = (rollout.terminated, rollout.truncated)
    account = oracle.n_step_returns(turns * rollout.reward, -turns * rollout.next_value, *ends, GAMMA, 3)
    x = on_device(rollout)
    actual = returns.n_step_returns(x.reward, x.next_value, x.terminated, x.truncated, -GAMMA, 3)
    np.testing.assert_allclose(actual, turns * account, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["lambda", "gae", "vtrace_target", "vtrace_advantage", "retrace"])
def test_lambda_may_differ_from_step_to_step(name, x64):
    """An array of lambdas against the oracle's products of lambdas."""
    rollout = make_rollout(1)
    ours, reference = (table[name] for table in tables(np.random.default_rng(2).uniform(size=(T, 8))))
    np.testing.assert_allclose(ours(on_device(rollout)), reference(rollout), rtol=1e-12, atol=1e-13)


@pytest.mark.covers("returns", "rtg")
def test_discounted_returns_are_sums_to_the_end(x64):
    """Reward-to-go: the recursion equals the longest n-step return, written as a direct sum."""
    rollout = make_rollout()
    x = on_device(rollout)
    expected = oracle.n_step_returns(
        rollout.reward, rollout.next_value, rollout.terminated, rollout.truncated, GAMMA, T
    )
    actual = returns.discounted_returns(x.reward, x.next_value, x.terminated, x.truncated, GAMMA)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.covers("gae", "lambda-return", "nstep-td", "adv-est")
def test_identities_of_lambda_and_n(x64):
    """lambda = 0 and n = 1 are the TD target, lambda = 1 and n = T the return; GAE + V the lambda-return."""
    x = on_device(make_rollout())
    ends = (x.terminated, x.truncated, GAMMA)

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)

    one_step = x.value + returns.td_errors(x.reward, x.value, x.next_value, x.terminated, GAMMA)
    full = returns.discounted_returns(x.reward, x.next_value, *ends)
    close(returns.lambda_returns(x.reward, x.next_value, *ends, 0.0), one_step)
    close(returns.n_step_returns(x.reward, x.next_value, *ends, 1), one_step)
    close(returns.n_step_returns(x.reward, x.next_value, *ends, T), full)
    close(returns.n_step_returns(x.reward, x.next_value, *ends, 5 * T), full)
    for lambda_ in (0.0, LAMBDA, 1.0):
        advantage = returns.gae(x.reward, x.value, x.next_value, *ends, lambda_)
        close(advantage + x.value, returns.lambda_returns(x.reward, x.next_value, *ends, lambda_))


@pytest.mark.covers("gae")
def test_on_policy_corrections_are_gae(x64):
    """With all ratios 1, V-trace and Retrace give value + GAE and V-trace's advantage is GAE, any lambda."""
    x = on_device(make_rollout())
    x = x._replace(ratio=jnp.ones_like(x.ratio))
    for lambda_ in (0.0, LAMBDA, 1.0):
        advantage = returns.gae(*x[:3], *x[4:], GAMMA, lambda_)
        target, pg_advantage = returns.vtrace(*x, GAMMA, lambda_)
        np.testing.assert_allclose(target, x.value + advantage, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(pg_advantage, advantage, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(returns.retrace(*x, GAMMA, lambda_), x.value + advantage, rtol=1e-12, atol=1e-13)


def test_retrace_weighs_the_error_at_t_plus_1_by_the_ratio_at_t_plus_1(x64):
    """Ratio 0 at step 2 keeps what follows out of step 1, not out of step 2; at step 0 it does nothing."""
    x = on_device(make_rollout())
    plain = returns.retrace(*x, GAMMA, 1.0)
    blocked = returns.retrace(*x._replace(ratio=x.ratio.at[2].set(0.0)), GAMMA, 1.0)
    one_step = x.reward[1] + GAMMA * jnp.where(x.terminated[1], 0, x.next_value[1])
    np.testing.assert_allclose(blocked[1], one_step, rtol=1e-12)
    np.testing.assert_array_equal(blocked[2:], plain[2:])
    np.testing.assert_array_equal(returns.retrace(*x._replace(ratio=x.ratio.at[0].set(0.0)), GAMMA, 1.0), plain)


@pytest.mark.covers("returns", "gae")
@pytest.mark.parametrize("name", NAMES)
def test_returns_do_not_leak_across_episodes(name):
    """Replacing all that comes after an end leaves everything up to that end bit for bit as it was."""
    rollout, other = make_rollout(), make_rollout(7)
    end = 3
    terminated, truncated = np.zeros((T, 8), bool), np.zeros((T, 8), bool)
    terminated[end, :3], truncated[end, 2:] = True, True  # terminated, both, truncated
    numbers = [np.concatenate([a[: end + 1], b[end + 1 :]]) for a, b in zip(rollout[:4], other[:4], strict=True)]
    flags = {"terminated": terminated, "truncated": truncated}
    single = functools.partial(jax.tree.map, lambda x: jnp.asarray(x, jnp.float32 if x.dtype != bool else bool))
    kernel = OURS[name]
    before = kernel(single(Rollout(*[np.nan_to_num(x) for x in rollout[:4]], **flags)))[: end + 1]
    after = kernel(single(Rollout(*[np.nan_to_num(x) for x in numbers], **flags)))
    np.testing.assert_array_equal(before, after[: end + 1])
    assert np.all(np.isfinite(after))


@pytest.mark.covers("returns", "gae")
@pytest.mark.parametrize("end", [3, T - 1])
def test_terminated_wins_over_truncated(end, x64):
    """A last step with both flags is worth what `terminated` alone makes it, not what a time limit gives."""
    rollout = make_rollout()
    none, at_end = np.zeros((T, 8), bool), np.zeros((T, 8), bool)
    at_end[end] = True
    x = rollout._replace(next_value=np.nan_to_num(rollout.next_value, nan=1.0))
    for name, kernel in OURS.items():
        both = kernel(x._replace(terminated=at_end, truncated=at_end))
        np.testing.assert_array_equal(both, kernel(x._replace(terminated=at_end, truncated=none)), err_msg=name)
        assert not np.allclose(both, kernel(x._replace(terminated=none, truncated=at_end))), name


@pytest.mark.covers("returns")
def test_end_of_the_rollout_is_a_truncation(x64):
    """Flagging the last step as truncated changes nothing: the rollout's end bootstraps by itself."""
    x = on_device(make_rollout())
    flagged = x._replace(truncated=x.truncated.at[-1].set(True))
    for name, kernel in OURS.items():
        np.testing.assert_array_equal(kernel(x), kernel(flagged), err_msg=name)


@pytest.mark.covers("returns")
def test_returns_of_a_three_step_chain_by_hand():
    """A chain that pays 1 a step gamma = 0.5, bootstrap 8: 1.75 if it terminates, 2.75 if time runs out."""
    reward, next_value = jnp.ones((3, 2)), jnp.full((3, 2), 8.0)
    last = jnp.zeros((3, 2), bool).at[2]
    terminated, truncated = last.set(jnp.array([True, False])), last.set(jnp.array([False, True]))
    expected = [[1.75, 2.75], [1.5, 3.5], [1.0, 5.0]]
    actual = returns.discounted_returns(reward, next_value, terminated, truncated, 0.5)
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(
        returns.n_step_returns(reward, next_value, terminated, truncated, 0.5, 2),
        [[3.5, 3.5], [1.5, 3.5], [1.0, 5.0]],
    )


@pytest.mark.covers("returns", "gae")
def test_shifting_rewards_and_values_together(x64):
    """r + (1 - gamma) c and V + c: errors and advantages stay, returns move by c, unless terminated."""
    x = on_device(make_rollout())
    no_end = jnp.zeros((T, 8), bool)
    x = x._replace(next_value=jnp.nan_to_num(x.next_value), terminated=no_end)
    shift = 3.0
    moved = x._replace(reward=x.reward + (1 - GAMMA) * shift, value=x.value + shift, next_value=x.next_value + shift)
    moves = {"n_step": shift, "lambda": shift, "vtrace_target": shift, "retrace": shift}
    for name, kernel in OURS.items():
        np.testing.assert_allclose(
            kernel(moved), kernel(x) + moves.get(name, 0.0), rtol=1e-11, atol=1e-12, err_msg=name
        )


@pytest.mark.covers("lambda-return", "nstep-td", "gae", "adv-est")
def test_agrees_with_rlax(x64):
    """rlax's estimators, told of our boundaries by zero discounts and zero lambdas, lane by lane."""
    rollout = make_rollout()
    x = on_device(rollout._replace(next_value=np.nan_to_num(rollout.next_value)))
    discount = GAMMA * (1.0 - x.terminated)
    lambda_ = jnp.where(x.terminated | x.truncated, 0.0, LAMBDA)
    ones = jnp.where(x.terminated | x.truncated, 0.0, 1.0)
    ends = (x.terminated, x.truncated, GAMMA)
    # rlax takes one list of T + 1 values, so it has no room for the value of a state before a reset.
    plain = np.flatnonzero(~np.any(rollout.truncated[:-1], axis=0))

    def lanes(function, *arrays):
        return jax.vmap(function, in_axes=1, out_axes=1)(*arrays)

    def close(actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-12)

    close(
        returns.lambda_returns(x.reward, x.next_value, *ends, LAMBDA),
        lanes(rlax.lambda_returns, x.reward, discount, x.next_value, lambda_),
    )
    close(
        returns.n_step_returns(x.reward, x.next_value, *ends, 3),
        lanes(
            lambda r, d, v, lam: rlax.n_step_bootstrapped_returns(r, d, v, 3, lam),
            x.reward,
            discount,
            x.next_value,
            ones,
        ),
    )
    close(
        returns.gae(*x[:3], *ends, LAMBDA)[:, plain],
        lanes(
            lambda r, d, v: rlax.truncated_generalized_advantage_estimation(r, d, LAMBDA, v),
            x.reward,
            discount,
            jnp.concatenate([x.value, x.next_value[-1:]]),
        )[:, plain],
    )
    target, advantage = returns.vtrace(*x[:4], *ends, LAMBDA, clip_rho=1.1, clip_pg_rho=1.3)
    theirs = lanes(
        lambda *a: rlax.vtrace_td_error_and_advantage(*a, clip_rho_threshold=1.1, clip_pg_rho_threshold=1.3),
        x.value,
        x.next_value,
        x.reward,
        discount,
        x.ratio,
        lambda_,
    )
    close(target - x.value, theirs.errors)
    close(advantage[:, plain], theirs.pg_advantage[:, plain])
    close(
        returns.retrace(*x[:4], *ends, LAMBDA),
        lanes(
            rlax.general_off_policy_returns_from_q_and_v,
            x.value[1:],
            x.next_value,
            x.reward,
            discount,
            ones[:-1] * LAMBDA * jnp.minimum(x.ratio[1:], 1.0),
        ),
    )


@pytest.mark.parametrize("name", NAMES)
def test_traced_scalars_dtypes_and_gradients(name, x64):
    """float32 stays float32 with float64 scalars; vmap over gamma works; gradients are finite past NaNs."""
    x = jax.tree.map(lambda a: jnp.asarray(a, bool if a.dtype == bool else jnp.float32), make_rollout())
    kernel = {
        "n_step": lambda x, g: returns.n_step_returns(x.reward, x.next_value, *x[4:], g, 3),
        "lambda": lambda x, g: returns.lambda_returns(x.reward, x.next_value, *x[4:], g, g),
        "td": lambda x, g: returns.td_errors(*x[:3], x.terminated, g),
        "gae": lambda x, g: returns.gae(*x[:3], *x[4:], g, g),
        "vtrace_target": lambda x, g: returns.vtrace(*x, g, g, g, g, g)[0],
        "vtrace_advantage": lambda x, g: returns.vtrace(*x, g, g, g, g, g)[1],
        "retrace": lambda x, g: returns.retrace(*x, g, g),
    }[name]
    gammas = jnp.array([0.5, 0.9], jnp.float64)
    swept = jax.vmap(kernel, in_axes=(None, 0))(x, gammas)
    assert swept.dtype == jnp.float32
    np.testing.assert_allclose(swept[1], kernel(x, 0.9), rtol=1e-5)

    def total(numbers):
        return jnp.sum(kernel(x._replace(**numbers), 0.9))

    gradients = jax.grad(total)({"reward": x.reward, "next_value": x.next_value, "value": x.value})
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradients))
    assert np.any(gradients["reward"] != 0)


def test_nothing_that_is_not_finite_comes_back_over_an_end():
    """What lies behind an end, and in another environment, changes no bit, be it NaN or infinite."""
    flag = jnp.zeros((6, 2), bool).at[2].set(True)
    never = jnp.zeros_like(flag)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6, 2)), jnp.float32).at[3].set(1)
    ones = (0.9, 1, 1, 1, 1)
    kernels = (
        lambda reward, value, after, ratio, *ends: returns.gae(reward, value, after, *ends, 0.9, 0.8),
        lambda reward, value, after, ratio, *ends: returns.lambda_returns(reward, after, *ends, 0.9, 0.8),
        lambda reward, value, after, ratio, *ends: returns.n_step_returns(reward, after, *ends, 0.9, 3),
        lambda reward, value, after, ratio, *ends: returns.vtrace(reward, value, after, ratio, *ends, *ones)[1],
        lambda reward, value, after, ratio, *ends: returns.retrace(reward, value, after, ratio, *ends, 0.9, 0.8),
    )
    for ends in ((flag, never), (never, flag)):
        for kernel in kernels:
            clean = kernel(*x, *ends)
            for bad in (jnp.nan, jnp.inf):
                dirty = kernel(*x.at[:, 3:, 1].set(bad), *ends)
                np.testing.assert_array_equal(dirty[:3], clean[:3])
                np.testing.assert_array_equal(dirty[:, 0], clean[:, 0])


def test_rejects_bad_arguments():
    """Integer rewards, flags that are not bool, unequal shapes, scalars and n = 0 are errors."""
    reward, flag = jnp.ones((3, 2)), jnp.zeros((3, 2), bool)
    with pytest.raises(AssertionError):
        returns.discounted_returns(reward.astype(jnp.int32), reward, flag, flag, 0.9)
    with pytest.raises(AssertionError):
        returns.discounted_returns(reward, reward, flag.astype(jnp.float32), flag, 0.9)
    with pytest.raises(AssertionError):
        returns.discounted_returns(reward, reward[..., None], flag, flag, 0.9)
    with pytest.raises(AssertionError, match="time axis"):
        returns.discounted_returns(reward[0, 0], reward[0, 0], flag[0, 0], flag[0, 0], 0.9)
    with pytest.raises(ValueError, match="n=0"):
        returns.n_step_returns(reward, reward, flag, flag, 0.9, 0)
