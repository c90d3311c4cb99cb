"""R2D2's settings: what fixes a shape or a branch, and the numbers that may be swept."""

import dataclasses

from flax import struct

from purerl.config_checks import check_config, check_multiples
from purerl.nets.recurrent import Memory, make_memory
from purerl.nets.torsos import Activation, Torso
from purerl.nets.value import Dueling
from purerl.ranges import hyper, setting
from purerl.target_network import TargetUpdate


@dataclasses.dataclass(frozen=True, kw_only=True)
class R2D2Config:
    """What fixes a shape, a loop length or a branch of R2D2. Never traced.

    Raises:
        ValueError: at construction, for sizes that do not fit each other.
    """

    num_envs: int = 8
    """Environments stepped side by side, B."""
    num_steps: int = 8
    """Steps of each environment per update."""
    num_gradient_steps: int = 4
    """Gradient steps per update."""
    batch_size: int = 32
    """Sequences per gradient step, M."""
    sequence_length: int = 16
    """Steps of a sequence that are learnt from, T; 80 in the paper."""
    burn_in: int = setting(8, low=0)
    """Steps before them that are only read; 40 in the paper."""
    overlap: int = setting(8, low=0)
    """Steps learnt from in one sequence and in the next as well, less than sequence_length; 40 in the paper."""
    replay_capacity: int = 32_768
    """Steps in the replay, of all environments together; a multiple of num_envs * (sequence_length - overlap)."""
    num_warmup_steps: int = 1_024
    """Steps with uniform actions, of all together, before the first update: a multiple of num_envs, and a sequence."""
    n_step: int = 3
    """Rewards of a target before the value of a later state; 5 in the paper."""
    rescale: bool = True
    """Learn values on the scale of h, which is near a square root far from 0, and not as they are."""
    dueling: Dueling = "mean"
    """A value and advantages in the place of action values, and what of the advantages is 0."""
    prioritized: bool = True
    """Sample sequences in proportion to their last errors, to the power priority_alpha."""
    target_update: TargetUpdate = "hard"
    """Copy the parameters to the target network now and then, or move it a little with every update."""
    torso: Torso = "mlp"
    """Multilayer perceptron, or a 3x3 convolution in front of one (for images such as MinAtar's)."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Sizes of the hidden dense layers, of which the last one comes after the memory."""
    memory: Memory = "lstm"
    """LSTM, GRU, linear recurrent unit, or causal attention."""
    memory_size: int = 64
    """Size of the memory's output; of attention a multiple of 4."""
    memory_window: int = 32
    """Steps that attention looks back."""
    stored_memory: bool = True
    """Keep the memory before each step in the replay, for sequences to begin with. Else they begin with that of a fresh
    episode, as those of attention should: it keeps a window at every step, and a burn-in of as many steps restores it.
    """
    activation: Activation = "relu"
    """Nonlinearity between layers."""

    def __post_init__(self) -> None:
        check_config(self)
        make_memory(self.memory, self.memory_size, self.memory_window)  # or refuse
        if self.overlap >= self.sequence_length:
            raise ValueError(
                f"R2D2Config.overlap = {self.overlap} must be less than sequence_length = {self.sequence_length}."
            )
        check_multiples(self, "num_envs", self.num_envs, "num_warmup_steps")
        if self.num_warmup_steps < self.num_envs * self.length:
            raise ValueError(
                f"R2D2Config.num_warmup_steps = {self.num_warmup_steps} must hold a sequence of burn_in + "
                f"sequence_length = {self.length} steps of each environment: at least {self.num_envs * self.length} "
                "are needed."
            )
        period = self.sequence_length - self.overlap
        unit = self.num_envs * period
        check_multiples(self, "num_envs * (sequence_length - overlap)", unit, "replay_capacity")
        drawable = -(-self.batch_size // self.num_envs) * period
        rows = self.length - 1 + max(self.num_steps, self.num_warmup_steps // self.num_envs, drawable)
        needed = -(-rows // period) * unit
        if self.replay_capacity < needed:
            raise ValueError(
                f"R2D2Config.replay_capacity = {self.replay_capacity} must hold the warm-up, an update's steps and a "
                f"batch of sequences: at least {needed} are needed."
            )

    @property
    def length(self) -> int:
        """Steps of a sequence altogether, L."""
        return self.burn_in + self.sequence_length


class R2D2Hypers(struct.PyTreeNode):
    """Every other number of R2D2: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = hyper(5e-4, low=0)
    """Adam's step size."""
    gamma: float = hyper(0.99, low=0, high=1)
    """Discount; 0.997 in the paper."""
    epsilon_start: float = hyper(1.0, low=0, high=1)
    """Share of uniform actions of the environment that explores most, at the start."""
    epsilon_end: float = hyper(0.4, low=0, high=1)
    """The same from exploration_steps on."""
    exploration_steps: float = hyper(20_000.0, above=0, infinite=True)
    """Environment steps over which the share falls in a straight line."""
    epsilon_spread: float = hyper(7.0, low=0)
    """Environment i explores with that share to the power 1 + i / (num_envs - 1) of this; 0 for all alike."""
    target_update_every: float = hyper(1_000.0, above=0, infinite=True)
    """Environment steps between two copies of the parameters to the target network; hard updates only."""
    tau: float = hyper(0.005, low=0, high=1)
    """By how much an update moves the target network's parameters; Polyak updates only."""
    rescale_epsilon: float = hyper(1e-3, low=0)
    """Slope that is left of h far from 0; where values are rescaled."""
    priority_eta: float = hyper(0.9, low=0, high=1)
    """Share of the largest error of a sequence in its priority; the mean has the rest."""
    priority_alpha: float = hyper(0.9, low=0)
    """Power of the priority that a sequence is sampled in proportion to, at the time when that is computed; 0 samples
    uniformly."""
    priority_epsilon: float = hyper(1e-6, above=0)
    """Added to every priority, so that none is 0."""
    priority_beta: float = hyper(0.6, low=0, high=1)
    """Share of the correction for it."""
    max_grad_norm: float = hyper(40.0, above=0, infinite=True)
    """Gradients longer than this (global norm) are scaled down to it."""
    adam_epsilon: float = hyper(1e-3, above=0)
    """Adam's denominator constant."""
