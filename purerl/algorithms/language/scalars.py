"""Language models that say a number of a text: critics, reward models, process reward models."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from purerl.algorithms.language.answers import Answers
from purerl.kernels.language import sequences
from purerl.language.score import features
from purerl.nets.heads import Head
from purerl.nets.language_model import LanguageModel
from purerl.types import PyTree


class ScalarModel(NamedTuple):
    """A language model whose logits are replaced by one number a token; its parameters are ``{"trunk", "head"}``."""

    trunk: LanguageModel
    head: Head

    def init(self, key: jax.Array, trunk: PyTree) -> PyTree:
        """Parameters with a copy of those of a language model, such as a policy's, and a fresh head."""
        policy, token = self.trunk.policy, jnp.zeros((1, 1), jnp.int32)
        like = jax.eval_shape(
            lambda params: policy(params).extend(policy(params).start(1, 1), token, token == 0), trunk
        )
        return {"trunk": jax.tree.map(jnp.copy, trunk), "head": self.head.init(key, like[1])}

    def before(self, params: PyTree, answers: Answers) -> jax.Array:
        """Of the text before each token: ``V(x, y_<t)``, ``[T, B]``; 0 outside the answers."""
        return self._of_each(params, answers, after=False)

    def after(self, params: PyTree, answers: Answers) -> jax.Array:
        """Of the text up to each token and with it: ``R(x, y_<=t)``, ``[T, B]``; 0 outside the answers."""
        return self._of_each(params, answers, after=True)

    def whole(self, params: PyTree, answers: Answers) -> jax.Array:
        """Of the text at its last token: ``R(x, y)``, ``[B]``; 0 of an empty answer."""
        return sequences.last(self.after(params, answers), answers.mask.T)

    def _of_each(self, params: PyTree, answers: Answers, after: bool) -> jax.Array:
        policy, mask = self.trunk.policy(params["trunk"]), answers.mask.T
        read = features(policy, answers.prompts, answers.tokens.T, mask, after)
        return jnp.where(mask, self.head.apply(params["head"], read), 0)
