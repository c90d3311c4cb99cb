"""Jobs: what of their options, keys, schedules and populations is refused before anything is compiled."""

import jax
import jax.numpy as jnp
import pytest

import purerl
from purerl.driver import PBT, RunOptions, grid, linear
from purerl.driver.running import job, program
from purerl.driver.running.job import Job
from tests.support.toy import KEY, ToyHypers, toy


def job_of(algorithm=None, hypers=None, **options) -> Job:
    """A job of the toy."""
    return Job.of(algorithm or toy(), ToyHypers() if hypers is None else hypers, KEY, RunOptions(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": toy(evaluates=False), "eval_every": 10}, "toy has nothing to evaluate. Use eval_every = 0"),
        ({"schedules": {"rat": linear(0.0)}}, "ToyHypers has no field 'rat'. Near: 'rate'"),
        ({"population": PBT(every=10, names=("rate",))}, "needs a sweep of at least 2 points to start from"),
        (
            {"population": PBT(every=10, names=("rat",)), "hypers": grid(ToyHypers(), rate=[1, 2])},
            "ToyHypers has no field 'rat'",
        ),
        (
            {"population": PBT(every=10, names=("rate",)), "hypers": grid(ToyHypers(), rate=[1])},
            "A population of 1 cannot evolve",
        ),
    ],
)
def test_what_cannot_be_run_is_refused(options, message):
    """The message names the argument, its value and the way out."""
    with pytest.raises(ValueError, match=message):
        job_of(num_env_steps=80, **options)


@pytest.mark.parametrize(
    ("hypers", "message"),
    [
        (ToyHypers(rate=float("nan")), "ToyHypers.rate = nan: it must be finite"),
        (grid(ToyHypers(), calm=[3, -1]), "ToyHypers.calm = -1: it must be at least 0"),
        (toy, "hypers must be ToyHypers, or a sweep of them, for toy, but they are function"),
        ({"rate": 1.0}, "hypers must be ToyHypers, or a sweep of them, for toy, but they are dict"),
    ],
)
def test_hypers_of_another_class_or_out_of_range_are_refused(hypers, message):
    """Alone, and as any point of a sweep."""
    with pytest.raises(ValueError, match=message):
        job_of(hypers=hypers, num_env_steps=80)


def test_a_factory_is_no_algorithm():
    """What it returns is."""
    with pytest.raises(ValueError, match=r"toy at .* is no algorithm: give what a factory returns"):
        job_of(algorithm=toy, num_env_steps=80)


@pytest.mark.parametrize("key", [jax.random.PRNGKey(0), program.seed_keys(KEY, 2), 0, jnp.zeros(())])
def test_only_one_typed_key_will_do(key):
    """A legacy key, several keys, a number and an array are refused with the remedy."""
    with pytest.raises(ValueError, match=r"key must be one typed key, such as jax.random.key\(0\)"):
        purerl.train(toy(), ToyHypers(), key, num_env_steps=10)


def test_schedules_move_hyperparameters_by_the_share_of_updates_done():
    """After 2 of 8 updates a quarter of the way; without schedules the hyperparameters are the same object."""
    hypers = ToyHypers(rate=4.0)
    moved = job_of(hypers=hypers, num_env_steps=80, schedules={"rate": linear(0.0)}).adjust(hypers, 2)
    assert moved == hypers.replace(rate=3.0)
    assert job_of(num_env_steps=80).adjust(hypers, 2) is hypers


def test_settings_hold_all_that_it_takes_to_run_it_again():
    """Algorithm, settings, first hyperparameters, sweep, key, and the recorded options."""
    options = RunOptions(num_env_steps=80, num_seeds=3, extra_settings={"seed": 0})
    made = Job.of(toy(), grid(ToyHypers(), rate=[0.5, 2.0]), KEY, options)
    assert made.sweep is not None and made.trials.num_trials == 6
    found = job.settings(made, KEY, options)
    assert found == {
        "algorithm": "toy",
        "settings": {"env": "nowhere", "sizes": (1, 2)},
        "hypers": {"rate": 0.5, "limit": float("inf"), "calm": 0},
        "sweep": {"rate": [0.5, 2.0]},
        "made_by": None,
        "hypers_class": "tests.support.toy:ToyHypers",
        "key": jax.random.key_data(KEY).tolist(),
        "key_impl": "threefry2x32",
        **options.record(),
    }
