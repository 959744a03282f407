"""The result of training, its state between epochs, and its failure."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from benchmark.suite.experiment import FirstPhaseSpec
from benchmark.training.history import EpochLine
from methods.base import Phase


class TrainingFailed(RuntimeError):
    """Training cannot continue: the loss is not finite, or the method broke its own rules."""


@dataclass(frozen=True)
class FirstPhase:
    """A finished dense training that replaces a method's first phase."""

    spec: FirstPhaseSpec
    tensors: dict[str, Tensor]  # latent weights, normalisation and its statistics, after the last epoch
    passes: int  # images sent forward and backward in that training
    weights_sha256: str  # of `tensors`


@dataclass(frozen=True)
class Trained:
    """The selected network and how it was trained."""

    network: nn.Module  # plain, on the training device
    selected_epoch: int  # counted over all phases, from 1
    validation_robust_accuracy: float
    phases: tuple[Phase, ...]
    passes: int  # images sent forward and backward, a reused first phase included
    seconds: float
    history: tuple[EpochLine, ...]
    first_phase: FirstPhase | None
    frozen_parts_unchanged: bool | None  # None if every parameter was trained in every phase


@dataclass
class State:
    """The contents of a checkpoint besides the network and the optimiser."""

    phase: int = 0  # index of the current phase
    epoch: int = 0  # finished epochs of the current phase
    step: int = 0  # finished updates of the current phase
    seconds: float = 0.0
    validation_seconds: float = 0.0  # of `seconds`
    best_accuracy: float = -1.0
    best_epoch: int = 0
    first_phase_sha256: str | None = None  # of the weights of the reused first phase; None without one
    frozen_digest: str | None = None  # of the current phase's frozen parameters, None if there are none
