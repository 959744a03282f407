"""What `bench` measured on one machine, kept as `bench.json` in the output folder. `plan` predicts from it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from benchmark.errors import UserError
from benchmark.files.mistakes import first_mistake
from benchmark.files.plain import read_below, refuse_links
from benchmark.results.store import RECORD_BYTES, write_model
from benchmark.suite.experiment import Precision
from benchmark.suite.objectives import Objective
from benchmark.suite.settings import Strict

FILE = "bench.json"


class Machine(Strict):
    """Where it was measured; another machine, thread count, torch or commit starts a new measurement."""

    device: Literal["cpu", "cuda"]
    name: str  # of the processor or the GPU
    threads: int = Field(ge=1)  # of torch, as many as `run` gives one experiment
    jobs: int = Field(ge=1)  # experiments that `run` keeps going side by side
    torch: str
    commit: str | None  # of this checkout; None outside git


class ConvolutionRate(Strict):
    """GFLOP/s of a 3x3 convolution with as many channels in as out."""

    precision: Literal["fp32", "bf16"]
    channels: int = Field(ge=1)
    side: int = Field(ge=1)  # of its images, in pixels
    forward: float = Field(gt=0)
    backward: float = Field(gt=0)  # gradients by input and weights


class Network(Strict):
    """What determines the cost of a network. A last batch norm does not: it handles ten numbers per image."""

    name: str
    width: float = Field(gt=0)
    channels: int = Field(ge=1)  # of the images
    size: int = Field(ge=1)  # of the images, in pixels
    classes: int = Field(ge=2)

    def __str__(self) -> str:
        return f"{self.name}{'' if self.width == 1 else f'-w{self.width:.3g}'} {self.size}x{self.size}"


class TrainingKey(Strict):
    """What determines the time of a training step."""

    method: str
    objective: Objective
    weights: Literal["fp", "binary"]
    precision: Precision
    attack_steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    network: Network


class TrainingEntry(Strict):
    """Time of a training step."""

    key: TrainingKey
    forward_flops: int = Field(ge=1)  # of one image
    seconds: float = Field(gt=0)  # median of a step
    plain_seconds: float | None = Field(default=None, gt=0)  # of the plain implementation, timed in turn

    @property
    def images_per_second(self) -> float:
        """Training images in a second."""
        return self.key.batch_size / self.seconds


class EvaluationEntry(Strict):
    """Times of a plain network under evaluation, float32, per image."""

    network: Network
    images: int = Field(ge=1)  # in a batch
    forward_flops: int = Field(ge=1)  # of one image
    clean_seconds: float = Field(gt=0)
    pgd_seconds: float = Field(gt=0)  # of one step
    plain_pgd_seconds: float | None = Field(default=None, gt=0)  # of the plain implementation, timed in turn
    autoattack: dict[str, float] = {}  # attack -> seconds of an image that survives it


class InferenceEntry(Strict):
    """Times of a forward pass of a network with few weights on a CPU, float32, the runtimes timed in turn."""

    network: Network
    kept: float = Field(gt=0, le=1)  # share of each convolution's weights
    images: int = Field(ge=1)  # in a batch
    seconds: float = Field(gt=0)  # of torch, batch norms folded
    sparse_seconds: float | None = Field(default=None, gt=0)  # None: the extra `fast` is not installed


class CoderRate(Strict):
    """Weights per second whose masks are written to an artifact and read from it."""

    encoded: float = Field(gt=0)
    decoded: float = Field(gt=0)


class Measurement(Strict):
    """Everything measured on one machine at one commit."""

    machine: Machine
    date: str  # of the last number, as 2026-01-31
    convolutions: list[ConvolutionRate] = []
    memory: float | None = Field(default=None, gt=0)  # GB/s
    training: list[TrainingEntry] = []
    evaluation: list[EvaluationEntry] = []
    inference: list[InferenceEntry] = []
    coder: CoderRate | None = None

    def peak(self, precision: Literal["fp32", "bf16"]) -> float | None:
        """Return the GFLOP/s of the fastest convolution measured, forward or backward; None if none was."""
        rates = [rate for rate in self.convolutions if rate.precision == precision]
        return max((max(rate.forward, rate.backward) for rate in rates), default=None)

    def with_rates(self, rates: list[ConvolutionRate]) -> Measurement:
        """Return the measurement with more convolutions; new numbers replace those of the same kind."""
        new = {(rate.precision, rate.channels, rate.side) for rate in rates}
        kept = [rate for rate in self.convolutions if (rate.precision, rate.channels, rate.side) not in new]
        return self.model_copy(update={"convolutions": [*kept, *rates]})

    def with_training(self, entry: TrainingEntry) -> Measurement:
        """Return the measurement with one more step time, which replaces one of the same key."""
        kept = [other for other in self.training if other.key != entry.key]
        return self.model_copy(update={"training": [*kept, entry]})

    def with_evaluation(self, entry: EvaluationEntry) -> Measurement:
        """Return the measurement with one more evaluation, which replaces one of the same network and batch."""
        kept = [other for other in self.evaluation if (other.network, other.images) != (entry.network, entry.images)]
        return self.model_copy(update={"evaluation": [*kept, entry]})


def load_measurement(out: Path) -> Measurement | None:
    """Read the measurement of an output folder; None if there is none.

    Raises:
        UserError: if the file is damaged or of another version, or no plain file.
    """
    path = out / FILE
    content = read_below(path, out, RECORD_BYTES)
    if content is None:
        return None
    try:
        return Measurement.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{path}: {first_mistake(error)}; delete the file and run `bench` again") from None


def save_measurement(measurement: Measurement, out: Path) -> Path:
    """Write the measurement into an output folder, whole or not at all, and return its path."""
    path = refuse_links(out / FILE, out)
    write_model(path, measurement)
    return path
