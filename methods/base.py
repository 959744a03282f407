"""The contract between a compression method and the benchmark. Read this file first.

A method defines what is trained and what is exported. The benchmark handles the loop, attack, data, schedule, seeds,
model selection, logging and resuming, so a method file contains only the method.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol, TypeAlias, get_args

from torch import Tensor, nn

from methods.allocation import check_allocation

Trainable: TypeAlias = Literal["weights", "scores", "norm"]
WeightForm: TypeAlias = Literal["fp", "binary"]
Allocation: TypeAlias = float | str  # exponent p of the layer budgets, or a name, see `methods.allocation`
Granularity: TypeAlias = Literal["weight", "kernel", "channel", "2:4"]  # see `methods.granularity`


class Batch(NamedTuple):
    """One mini-batch of the training set."""

    images: Tensor  # (B, C, H, W) float32 in [0, 1], before augmentation
    labels: Tensor  # (B,) int64
    rows: Tensor  # (B,) int64, positions in the training set: lets an objective keep state per image


class Objective(Protocol):
    """A training loss, adversarial or not; implemented in `benchmark.training.objectives`."""

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the scalar loss to minimise."""
        ...


class ConvFactory(Protocol):
    """Makes a bias-free convolution; a method passes its own layer class."""

    def __call__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0
    ) -> nn.Module:
        """Return a module with a `weight` of shape (out_channels, in_channels, kernel_size, kernel_size)."""
        ...


class Architecture(Protocol):
    """Builds the network; depth, width, input, number of classes and last batch norm are fixed."""

    def __call__(self, *, conv: ConvFactory, norm: Callable[[int], nn.Module]) -> nn.Module:
        """Return a network for images in [0, 1], made of the method's convolutions and normalisations."""
        ...

    def narrowed(self, keep_ratio: float) -> Architecture:
        """Return the widest network of the same depth with at most `keep_ratio` of this one's prunable weights."""
        ...


@dataclass(frozen=True)
class Target:
    """The target of the compression: one point of the experiment grid.

    Raises:
        ValueError: if `keep_ratio` is not in (0, 1], `allocation` is neither in [0, 1] nor a name, or `granularity`
            does not exist.
    """

    keep_ratio: float = 1.0  # kept weights divided by prunable weights, in (0, 1]
    weights: WeightForm = "fp"
    allocation: Allocation = 1.0  # exponent p of `allocate`, "global": one budget for the whole network, or "auto"
    granularity: Granularity = "weight"  # the groups of weights that are kept or dropped together

    def __post_init__(self) -> None:
        if not 0.0 < self.keep_ratio <= 1.0:
            raise ValueError(f"keep_ratio is the fraction of weights kept, in (0, 1]; got {self.keep_ratio:g}")
        check_allocation(self.allocation)
        if self.granularity not in get_args(Granularity):
            raise ValueError(f"granularity is one of {', '.join(get_args(Granularity))}; got {self.granularity}")

    @property
    def dense(self) -> bool:
        """Whether every weight is kept."""
        return self.keep_ratio == 1.0


@dataclass(frozen=True)
class Phase:
    """A part of the training with its own optimiser. Schedules are fractions of the phase, so that presets can scale.

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
    milestones: tuple[float, ...] = (0.5, 0.75)  # step only: fractions of the phase at which lr is divided by 10

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"phase {self.name} has {self.epochs} epochs, but needs at least 1")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"phase {self.name}: the learning rate must be positive, got {self.lr:g}")
        if not self.weight_decay >= 0:
            raise ValueError(f"phase {self.name}: weight_decay must not be negative, got {self.weight_decay:g}")


class DenseTraining(NamedTuple):
    """Another method's run that may replace a first phase."""

    method: str  # name of the other method
    weights: WeightForm


class Method(ABC):
    """A compression method. Subclasses are frozen dataclasses whose fields are the hyper-parameters.

    All state that changes during training is in the network's parameters and buffers, so a checkpoint of the network is
    a checkpoint of the method. Only `build`, `phases` and `export` must be implemented.
    """

    name: ClassVar[str]
    objective: ClassVar[str] = "pgd"  # the benchmark's name of the training loss in the method's paper
    # Values of the grid axes keep_ratio, allocation and last_norm that the method requires: they override the grid of a
    # suite, but not the method's entry in the suite.
    own_axes: ClassVar[Mapping[str, float | bool]] = {}
    # Whether to recompute the batch-norm statistics of every exported network on clean training images before it is
    # validated, so that the selected, stored and evaluated network has them. Needed if the statistics gathered in
    # training belong to other weights than the exported ones. Not a ClassVar, so that a method may make it an option.
    bn_recalibrate: bool = False

    def refusal(self, target: Target) -> str | None:
        """Return in one sentence why this method cannot have `target`; None if it can."""
        return None

    def resize(self, architecture: Architecture, target: Target) -> Architecture:
        """Return the architecture to build; a method may return a narrower one."""
        return architecture

    def first_phase(self, target: Target) -> DenseTraining | None:
        """Return the dense training on the same layers that may replace the first phase; None if there is none."""
        return None

    @abstractmethod
    def build(self, architecture: Architecture, target: Target) -> nn.Module:
        """Build the network with this method's layers and set the budget of every layer.

        Random numbers come from torch's global generator, which the benchmark seeds.
        """

    @abstractmethod
    def phases(self, epochs: int, target: Target) -> Sequence[Phase]:
        """Split the epochs into phases; their epochs must add up to `epochs`."""

    def begin_phase(self, model: nn.Module, phase: Phase) -> None:  # noqa: B027 - an optional hook
        """Prepare the network for a phase, for example by deriving scores from the trained weights."""

    def loss(self, model: nn.Module, phase: Phase, batch: Batch, objective: Objective) -> Tensor:
        """Return the training loss; override it to add a term."""
        return objective(model, batch)

    def after_step(self, model: nn.Module, phase: Phase, step: int) -> None:  # noqa: B027 - an optional hook
        """Restore the method's constraints after update number `step` of the phase, from 0."""

    @abstractmethod
    def export(self, model: nn.Module) -> nn.Module:
        """Return a new plain network with the compressed weights, without changing `model`."""
