"""The contract between a compression method and the benchmark. Read this file first.

A method says what is trained and what is exported; the benchmark owns the loop, the attack, the data, the schedule,
seeds, model selection, logging and resume. Hence a method file holds the method and nothing else.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol, TypeAlias

from torch import Tensor, nn

Trainable: TypeAlias = Literal["weights", "scores", "norm"]
WeightForm: TypeAlias = Literal["fp", "binary"]
Allocation: TypeAlias = float | Literal["global"]


class Batch(NamedTuple):
    """One mini-batch as it lies in the training set."""

    images: Tensor  # (B, C, H, W) float32 in [0, 1], before augmentation
    labels: Tensor  # (B,) int64
    rows: Tensor  # (B,) int64, place in the training set: lets an objective keep state per image


class Objective(Protocol):
    """A training loss, adversarial or not; implementations live in `benchmark.training.objectives`."""

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the scalar loss whose gradient the optimiser follows."""
        ...


class ConvFactory(Protocol):
    """Makes a bias-free convolution; a method passes its own layer class through it."""

    def __call__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0
    ) -> nn.Module:
        """Return a module with a `weight` of shape (out_channels, in_channels, kernel_size, kernel_size)."""
        ...


class Architecture(Protocol):
    """Builds the network: depth, width, input, class count and last batch norm are closed over."""

    def __call__(self, *, conv: ConvFactory, norm: Callable[[int], nn.Module]) -> nn.Module:
        """Return a network on [0, 1] images made of the method's convolutions and normalisations."""
        ...

    def narrowed(self, keep_ratio: float) -> Architecture:
        """Return the widest network of the same depth whose prunable weights fit keep_ratio of this one's."""
        ...


@dataclass(frozen=True)
class Target:
    """What to compress to: one point of the experiment grid.

    Raises:
        ValueError: if `keep_ratio` is not in (0, 1] or `allocation` is neither "global" nor in [0, 1].
    """

    keep_ratio: float = 1.0  # kept / prunable weights, in (0, 1]
    weights: WeightForm = "fp"
    allocation: Allocation = 1.0  # exponent p of `allocate`, or one budget for the whole network

    def __post_init__(self) -> None:
        if not 0.0 < self.keep_ratio <= 1.0:
            raise ValueError(f"keep_ratio is the fraction of weights kept, in (0, 1]; got {self.keep_ratio:g}")
        if self.allocation != "global" and not 0.0 <= self.allocation <= 1.0:
            raise ValueError(f"allocation is an exponent p in [0, 1] or 'global'; got {self.allocation:g}")

    @property
    def dense(self) -> bool:
        """Whether every weight is kept."""
        return self.keep_ratio == 1.0


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own optimiser. Schedules are fractions of the phase, so that presets scale.

    Raises:
        ValueError: for less than one epoch, a learning rate that is not positive, or a negative weight decay.
    """

    name: str
    epochs: int
    trains: frozenset[Trainable]  # everything else is frozen
    lr: float
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.9  # sgd only
    weight_decay: float = 5e-4  # L2, added to the gradient by both optimisers
    schedule: Literal["cosine", "step"] = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75)  # step only: parts of the phase after which lr is divided by 10

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"phase {self.name} has {self.epochs} epochs, at least 1 is needed")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"phase {self.name}: the learning rate must be positive, got {self.lr:g}")
        if not self.weight_decay >= 0:
            raise ValueError(f"phase {self.name}: weight_decay must not be negative, got {self.weight_decay:g}")


class DenseTraining(NamedTuple):
    """What another method's run must be to stand in for a first phase."""

    method: str  # its name
    weights: WeightForm


class Method(ABC):
    """A recipe. Subclasses are frozen dataclasses; their fields are the hyper-parameters.

    Everything that changes during training lives in the network's parameters and buffers, so a checkpoint of the
    network is a checkpoint of the method. Only `build`, `phases` and `export` must be written.
    """

    name: ClassVar[str]
    objective: ClassVar[str] = "pgd"  # the paper's own training loss, by its name in the benchmark
    # Values of the grid axes keep_ratio, allocation and last_norm that belong to the method: they come before a
    # suite's grid, but not before the method's entry in the suite.
    own_axes: ClassVar[Mapping[str, float | bool]] = {}
    # Whether the batch-norm statistics of every exported network are recomputed on clean training images before it is
    # validated, so that the network selected, stored and evaluated has them. Needed where the statistics gathered in
    # training belong to other weights than those exported. No ClassVar: a method may make it a field, hence an option.
    bn_recalibrate: bool = False

    def refusal(self, target: Target) -> str | None:
        """Say in one sentence why `target` makes no sense for this method; None if it does."""
        return None

    def resize(self, architecture: Architecture, target: Target) -> Architecture:
        """Return the architecture to build; a method that compresses by being small returns a narrower one."""
        return architecture

    def first_phase(self, target: Target) -> DenseTraining | None:
        """Name the dense training, on the same layers, whose finished run may stand in for the first phase."""
        return None

    @abstractmethod
    def build(self, architecture: Architecture, target: Target) -> nn.Module:
        """Instantiate the network with this method's layers, and give every layer its budget.

        Random numbers come from torch's global generator, which the benchmark has seeded.
        """

    @abstractmethod
    def phases(self, epochs: int, target: Target) -> Sequence[Phase]:
        """Split the epoch budget; the epochs of all phases add up to `epochs`."""

    def begin_phase(self, model: nn.Module, phase: Phase) -> None:  # noqa: B027 - an optional hook
        """Prepare the network for a phase, for instance by deriving scores from the weights just trained."""

    def loss(self, model: nn.Module, phase: Phase, batch: Batch, objective: Objective) -> Tensor:
        """Return the training loss; override to add a term of the method's own."""
        return objective(model, batch)

    def after_step(self, model: nn.Module, phase: Phase, step: int) -> None:  # noqa: B027 - an optional hook
        """Restore the method's constraints after the optimiser's `step`-th update of the phase (from 0)."""

    @abstractmethod
    def export(self, model: nn.Module) -> nn.Module:
        """Return a new plain network that holds the compressed weights; `model` is left untouched."""
