"""Settings of SAC: what fixes a shape or a branch, and every other number."""

import dataclasses

from flax import struct

from purerl.algorithms.continuous.critics import ActorReduce, Law, Reduce, check_critics
from purerl.config_checks import check_config
from purerl.nets.torsos import Activation, Torso
from purerl.off_policy import check_replay_sizes
from purerl.ranges import hyper, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class SACConfig:
    """What fixes a shape, a loop length or a branch of SAC. Never traced.

    Raises:
        ValueError: at construction, for choices that do not fit each other.
    """

    num_envs: int = 1
    """Environments stepped side by side, B."""
    num_steps: int = 1
    """Steps of each environment per update, T."""
    num_gradient_steps: int = 1
    """Steps of the critics per update; 20 times the environment steps in REDQ."""
    policy_delay: int = 1
    """Steps of the critics for each of the actor; divides num_gradient_steps."""
    batch_size: int = 256
    """Transitions per gradient step, M."""
    replay_capacity: int = 100_000
    """Steps in the replay, of all environments together; a multiple of num_envs."""
    num_warmup_steps: int = 1_000
    """Steps with uniform actions, of all environments together, before the first update; a multiple of num_envs."""
    n_step: int = 1
    """Rewards of a transition before the value of the next state. The entropies in between are left out."""
    learn_temperature: bool = True
    """Learn the temperature, so that the policy has the entropy it should; or take it as given."""
    num_critics: int = 2
    """Critics in the ensemble, E."""
    law: Law = "mean"
    """What a critic says of the return: its mean, or quantiles of its distribution (TQC)."""
    num_quantiles: int = 25
    """Quantiles of a critic, N."""
    num_dropped: int = setting(2, low=0)
    """Highest quantiles, for each critic, that a target is made without (TQC); 0 drops none."""
    reduce: Reduce = "min"
    """Target of the ensemble: the least value, the mean, or the mean over all subsets of their least (REDQ)."""
    subset: int = 2
    """Critics of a subset, of expected_min."""
    actor_reduce: ActorReduce = "min"
    """What the actor climbs: the first critic, the least, or the mean."""
    torso: Torso = "mlp"
    """Multilayer perceptron, or a 3x3 convolution in front of one (for images)."""
    hidden_sizes: tuple[int, ...] = (256, 256)
    """Sizes of the hidden dense layers of actor and critics."""
    activation: Activation = "relu"
    """Nonlinearity between layers."""
    layer_norm: bool = False
    """Normalise what enters each activation of the critics (DroQ)."""
    dropout: float = setting(0.0, low=0, high=0.99)
    """Share of the critics' hidden units that is dropped in learning (DroQ); continuous actions only."""

    def __post_init__(self) -> None:
        check_config(self)
        check_replay_sizes(self)
        check_critics(self)


class SACHypers(struct.PyTreeNode):
    """Every other number of SAC: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = hyper(3e-4, low=0)
    """Adam's step size, of the critics."""
    actor_learning_rate: float = hyper(3e-4, low=0)
    """Adam's step size, of the actor."""
    temperature_learning_rate: float = hyper(3e-4, low=0)
    """Adam's step size, of the logarithm of the temperature, where it is learnt."""
    gamma: float = hyper(0.99, low=0, high=1)
    """Discount."""
    tau: float = hyper(0.005, low=0, high=1)
    """By how much a step of the critics moves their targets."""
    initial_temperature: float = hyper(1.0, initial=True, above=0)
    """Temperature at first, where it is learnt, in units of the reward a nat."""
    temperature: float = hyper(0.2, low=0)
    """Temperature, where it is fixed."""
    target_entropy: float = hyper(-1.0)
    """Entropy of the policy that the temperature aims at, in nats for each axis of actions, whose range is [-1, 1]:
    that of uniform actions is .69. Continuous actions only."""
    entropy_share: float = hyper(0.5, low=0, high=1)
    """Entropy that the temperature aims at as a share of that of uniform actions. Discrete actions only."""
    noise_std: float = hyper(0.0, low=0)
    """Deviation of noise on top of what the policy draws, in units of actions in [-1, 1]. Continuous actions only."""
    noise_theta: float = hyper(0.15, above=0, high=1)
    """Share of that noise that a step forgets: 1 is white noise, less is Ornstein-Uhlenbeck's."""
    huber_kappa: float = hyper(1.0, low=0)
    """Half-width of the rounding of the quantile loss, in units of the return."""
    max_grad_norm: float = hyper(float("inf"), above=0, infinite=True)
    """Gradients longer than this (global norm) are scaled down to it."""
    adam_epsilon: float = hyper(1e-8, above=0)
    """Adam's denominator constant."""
