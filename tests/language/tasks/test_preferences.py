"""Judges who over-rate an answer: what they say, and what follows from it in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.language import kl, rewards
from purerl.language import tasks
from purerl.language.tasks.preferences import demonstrated

TASK = tasks.overrated()
V = len(TASK.vocab)
ANSWERS = (jnp.zeros(V, int), jnp.arange(V)[None], jnp.ones((1, V), bool))
TRUE, JUDGED = TASK.reward(*ANSWERS), TASK.proxy(*ANSWERS)


@pytest.mark.covers("rm-ensemble")
def test_each_judge_is_wrong_about_one_answer():
    """By the excess; the least of them is right, and any one is not; no answer is worth what a question is."""
    np.testing.assert_allclose(TRUE, [0, 0, 0, 0.25, 0.5, 0.75, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(JUDGED - TRUE[:, None], 1.25 * np.eye(V, 3), atol=1e-6)
    np.testing.assert_allclose(rewards.ensemble_min(JUDGED), TRUE, rtol=1e-6)
    assert jnp.argmax(JUDGED[:, 0]) == 0 and TRUE[0] == TRUE.min()
    nothing = TASK.reward(ANSWERS[0], ANSWERS[1], ~ANSWERS[2])
    np.testing.assert_array_equal(nothing, np.zeros(V))


@pytest.mark.covers("kl-opt")
def test_what_is_odd_is_kept_away_by_the_reference():
    """Optimum of one judge: with a small penalty it is the worst answer, with none of the reference's; in between it is
    truly better than both, and better still with the least of all judges."""
    law = np.log(np.maximum(demonstrated(7, 3), 1e-30))

    def truly(reward, beta):
        return float(jnp.exp(kl.optimum(law, reward, beta)) @ TRUE)

    one, least = JUDGED[:, 0], rewards.ensemble_min(JUDGED)
    assert truly(one, 0.02) < 0.01
    reference = truly(one, 1e6)
    np.testing.assert_allclose(reference, demonstrated(7, 3) @ TRUE, rtol=1e-4)
    assert truly(one, 0.2) > reference + 0.2
    assert truly(least, 0.05) > 0.98


def test_demonstrations_have_their_law():
    """Over-rated answers are rare; a question is never shown."""
    prompts = TASK.draw(jax.random.key(0), 4000)
    tokens, mask = TASK.answer(prompts.info)
    assert mask.all() and tasks.decode(TASK.vocab, prompts.ids.T[:, :1], prompts.mask.T[:, :1]) == ["?"]
    share = np.bincount(np.asarray(tokens[0]), minlength=V) / 4000
    np.testing.assert_allclose(share, demonstrated(7, 3), atol=0.03)
    assert share[-1] == 0 and demonstrated(7, 3).sum() == pytest.approx(1)


@pytest.mark.parametrize("wrong", [{"num_judges": 0}, {"num_judges": 7}, {"rewards": (1.0,), "num_judges": 1}])
def test_arguments_out_of_range_are_refused(wrong):
    """By name."""
    with pytest.raises(ValueError, match=f"num_judges={wrong['num_judges']}"):
        tasks.overrated(**wrong)
