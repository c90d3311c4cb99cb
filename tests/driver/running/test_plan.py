"""What a run does after which update, in updates, against plain counting."""

import pytest

from purerl.driver import PBT
from purerl.driver.running.plan import Plan
from tests.support.toy import toy


def plan(num_env_steps: int = 80, **options) -> Plan:
    """A plan for the toy, whose updates take 10 steps."""
    evaluates = options.pop("evaluates", True)
    return Plan.of(toy(evaluates=evaluates), num_env_steps, **options)


@pytest.mark.parametrize(
    ("every", "expected"), [(10, {1, 2, 3, 4, 5, 6, 7, 8}), (20, {2, 4, 6, 8}), (25, {3, 6, 8}), (1000, {8}), (1, None)]
)
def test_marks_stand_every_so_many_steps_and_at_the_end(every, expected):
    """Distances are rounded up to whole updates; the end is always among them; an evaluation also stands at 0."""
    expected = expected or set(range(1, 9))
    made = plan(log_every=every, eval_every=every, checkpoint_every=every)
    assert (made.logs_at, made.evals_at, made.saves_at) == (expected, expected | {0}, expected)
    assert made.may_save_at == set()


def test_defaults():
    """20 evaluations and 100 entries over a long run, one of each per update in a short one."""
    long, short = plan(20_000), plan()
    assert (len(long.logs_at), len(long.evals_at)) == (100, 21)
    assert (short.logs_at, short.evals_at) == (set(range(1, 9)), set(range(9)))
    assert (long.saves_at, long.may_save_at) == (set(), long.evals_at)
    for without in (plan(eval_every=0), plan(evaluates=False)):
        assert (without.evals_at, without.may_save_at) == (set(), without.logs_at)


@pytest.mark.parametrize(("asked", "num_updates"), [(1, 1), (10, 1), (71, 8), (80, 8), (81, 9)])
def test_steps_are_rounded_up_to_updates(asked, num_updates):
    """A run has as many whole updates as hold the steps asked for."""
    made = plan(asked)
    assert (made.num_updates, made.num_env_steps, made.step(3)) == (num_updates, 10 * num_updates, 30)


def test_steps_of_the_initialisation_count():
    """25 steps before the first update: 55 to 64 asked for make four updates, whose ends are known by their steps; a
    run that ends before its first update is refused."""
    algorithm = toy()
    algorithm = algorithm._replace(spec=algorithm.spec._replace(env_steps_of_init=25))
    made = Plan.of(algorithm, 58)
    assert (made.num_updates, made.num_env_steps, made.step(0)) == (4, 65, 25)
    assert [made.update(step) for step in (15, 25, 35, 40, 65)] == [None, 0, 1, None, 4]
    with pytest.raises(ValueError, match="toy takes 25 steps before its first update: at least 26"):
        Plan.of(algorithm, 25)


def test_more_updates_than_a_counter_holds_are_refused():
    """The compiled loop's counter would wrap after 2^31 of them; environment steps may be more."""
    assert plan(10 * (2**31 - 1), log_every=10**10).num_env_steps == 10 * (2**31 - 1)
    with pytest.raises(ValueError, match=r"are 2147483648 updates of 10 steps each, .* at most 2147483647:"):
        plan(10 * 2**31)


@pytest.mark.parametrize("evaluates", [True, False])
def test_every_selection_has_a_score_of_its_moment(evaluates):
    """Selections stand at every second update but not at the end, each with an evaluation, or else a log entry."""
    made = plan(population=PBT(every=20, names=("rate",)), eval_every=80, log_every=80, evaluates=evaluates)
    assert made.evolves_at == {2, 4, 6}
    assert made.evolves_at <= (made.evals_at if evaluates else made.logs_at)
    assert (made.logs_at, made.evals_at) == (({8}, {0, 2, 4, 6, 8}) if evaluates else ({2, 4, 6, 8}, set()))


def test_next_mark_is_the_first_of_any_kind():
    """From every update, the smallest greater number in any of the sets that must be heeded."""
    made = plan(log_every=30, eval_every=80, checkpoint_every=50)
    marks = {3, 6, 8} | {0, 8} | {5, 8}
    assert [made.next_mark(update) for update in range(8)] == [min(m for m in marks if m > t) for t in range(8)]


def test_next_mark_looks_at_a_few_marks_only():
    """Of a log entry at each of 100,000 updates, it compares with as many as halving them takes."""

    class Counted(int):
        """A number that counts its comparisons."""

        count = 0

        def __lt__(self, other):
            Counted.count += 1
            return int(self) < other

    made = plan(1_000_000, log_every=10)
    assert (len(made.marks), made.next_mark(Counted(70_000))) == (100_001, 70_001)
    assert 0 < Counted.count <= 17
