"""MuZero's settings: what fixes a shape or a branch, and the numbers that may be swept."""

import dataclasses
from typing import Literal

from flax import struct

from purerl.config_checks import check_config, check_multiples
from purerl.games import planners
from purerl.ranges import hyper, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class MuZeroConfig:
    """What fixes a shape, a loop length or a branch of MuZero. Never traced.

    Raises:
        ValueError: at construction, for choices that do not fit each other.
    """

    num_envs: int = 32
    """Environments stepped side by side, B."""
    num_steps: int = 16
    """Steps of each environment per update."""
    num_simulations: int = 16
    """Of each search."""
    search: Literal["gumbel", "puct"] = "gumbel"
    """Gumbel's improvement of the policy, which a few simulations are enough for, or MuZero's visits."""
    max_considered: int = 16
    """Actions that Gumbel's search draws at the root, at most."""
    num_gradient_steps: int = 16
    """Per update."""
    batch_size: int = 128
    """Sequences per gradient step, M."""
    num_unrolled: int = 5
    """Steps that the model is unrolled to learn, K."""
    n_step: int = 10
    """Rewards before the value of what comes next, n."""
    num_reanalyzed: int = setting(0, low=0)
    """Sequences of each batch whose policies and values are searched for anew, with a target network (Reanalyze); at
    most batch_size."""
    replay_capacity: int = 65_536
    """Steps that the replay keeps, of all environments together; a multiple of num_envs."""
    support_size: int = 20
    """Largest reward or value, on the scale of h, that the model can express: 20 is a return of about 420."""
    torso: Literal["mlp", "cnn"] = "mlp"
    """Multilayer perceptron, or a 3x3 convolution in front of one (for images such as MinAtar's)."""
    hidden_sizes: tuple[int, ...] = (64,)
    """Sizes of the hidden dense layers of each of the model's three functions."""
    latent_size: int = setting(32, low=2)
    """Numbers of a latent state, D; one number scaled to [0, 1] says nothing."""
    activation: Literal["tanh", "relu", "silu", "gelu"] = "relu"
    """Nonlinearity between layers."""
    layer_norm: bool = False
    """Normalise what enters each nonlinearity."""
    opponent: planners.Opponent = "one_ply"
    """Whom to evaluate against in a game: uniform moves; moves that win or do not lose at once; a search with
    playouts."""
    opponent_simulations: int = 100
    """Of the opponent's search, if it does."""
    max_moves: int = 1_000
    """After which a game of an evaluation, or a playout, is truncated."""

    def __post_init__(self) -> None:
        check_config(self)
        if self.num_reanalyzed > self.batch_size:
            raise ValueError(
                f"MuZeroConfig.num_reanalyzed = {self.num_reanalyzed} must be at most batch_size = {self.batch_size}."
            )
        check_multiples(self, "num_envs", self.num_envs, "replay_capacity")
        drawable = self.sequence_length - 1 + -(-self.batch_size // self.num_envs)
        needed = self.num_envs * max(self.num_steps, drawable)
        if self.replay_capacity < needed:
            raise ValueError(
                f"MuZeroConfig.replay_capacity = {self.replay_capacity} must hold an update's steps and a batch of "
                f"sequences of {self.sequence_length} steps: at least {needed} are needed."
            )

    @property
    def sequence_length(self) -> int:
        """Steps that are read to unroll K and look n ahead from each, L."""
        return self.num_unrolled + self.n_step + 1


class MuZeroHypers(struct.PyTreeNode):
    """Every other number of MuZero: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = hyper(1e-3, low=0)
    """Adam's step size."""
    gamma: float = hyper(0.997, low=0, high=1)
    """Discount."""
    value_weight: float = hyper(0.25, low=0)
    """c_v, of the value in the loss."""
    l2: float = hyper(1e-4, low=0)
    """c, weight of the parameters' squares in the loss."""
    rescale_epsilon: float = hyper(1e-3, low=0)
    """Slope that is left of h far from 0."""
    gumbel_scale: float = hyper(1.0, low=0)
    """Of the noise by which Gumbel's search draws actions at the root."""
    dirichlet_fraction: float = hyper(0.25, low=0, high=1)
    """Share of noise in the root's prior; visits only."""
    dirichlet_alpha: float = hyper(0.3, above=0)
    """Of its Dirichlet distribution; visits only."""
    temperature: float = hyper(1.0, low=0)
    """Actions are drawn in proportion to visits to the power 1 / temperature; visits only."""
    c_init: float = hyper(1.25, low=0)
    """Weight of the prior against values; visits only."""
    target_update_every: float = hyper(5_000.0, above=0, infinite=True)
    """Environment steps between two copies of the parameters to the target network; with Reanalyze only."""
    max_grad_norm: float = hyper(10.0, above=0, infinite=True)
    """Gradients longer than this (global norm) are scaled down to it."""
    adam_epsilon: float = hyper(1e-8, above=0)
    """Adam's denominator constant."""
