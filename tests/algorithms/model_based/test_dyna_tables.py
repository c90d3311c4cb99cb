"""Tables of Dyna: known pairs, and the learnt model as a process."""

import jax.numpy as jnp
import numpy as np

from purerl.algorithms.model_based.dyna import learn
from purerl.algorithms.model_based.dyna_config import DynaConfig, DynaHypers
from purerl.algorithms.model_based.dyna_planning import model_errors
from purerl.algorithms.model_based.dyna_tables import init_tables, learnt_mdp
from purerl.algorithms.model_based.tabular_models import DynaTransition


def test_pairs_never_tried_stay_where_they_are():
    """A model of nothing: every pair stays and earns 0, with a bonus that grows with the root of time."""
    config, hypers = DynaConfig(plan_untried=True), DynaHypers(kappa=0.1, gamma=0.5, initial_value=2.0)
    tables = init_tables(config, hypers, 3, 2)
    model = learnt_mdp(config, tables, 0.5)
    np.testing.assert_array_equal(model.transition, np.broadcast_to(np.eye(4)[:, None], (4, 2, 4)))
    assert not np.any(model.reward)
    tables, _ = learn(config, hypers, tables, DynaTransition(*map(jnp.asarray, (1, 0, 1.0, 3))), jnp.zeros(0))
    np.testing.assert_array_equal(tables.known, [[0, 0], [1, 1], [0, 0]])
    np.testing.assert_array_equal(tables.pairs[: tables.num_pairs], [2, 3])
    errors = model_errors(config, hypers, tables.replace(time=jnp.int32(16)), tables.q)
    # Stay, worth 2 for ever: 0.5 * 2 - 2, and 0.1 sqrt(16); the pair that was tried at time 1 ended with 1.
    np.testing.assert_allclose(errors[0], [-0.6, -0.6], atol=1e-6)
    np.testing.assert_allclose(errors[1, 0], 1 + 0.1 * np.sqrt(15) - tables.q[1, 0], atol=1e-6)
