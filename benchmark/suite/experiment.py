"""One fully resolved experiment: what to train and how to measure it. A suite expands to a list of experiments."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from benchmark.networks.shapes import get_shape
from benchmark.results.fields import AllocationName, Granularity, StoredWeights, is_single, is_stored
from benchmark.results.protocol import Protocol, autoattack_version, default_pgd_step, exact_epsilon
from benchmark.suite.objectives import Objective, passes_per_image
from benchmark.suite.settings import EvaluationSpec, ExactFraction, Strict

Precision = Literal["fp32", "bf16", "bf16-attack"]


class NetworkSpec(Strict):
    """Depth and width of a residual network."""

    name: Annotated[str, AfterValidator(lambda name: get_shape(name) and name)] = "resnet34"
    width: float = Field(default=1.0, gt=0, le=4)  # multiplier on all channels


class ArchitectureSpec(NetworkSpec):
    """A residual network with or without LBN."""

    last_norm: bool = True  # LBN: batch norm on the logits

    def __str__(self) -> str:
        width = "" if self.width == 1.0 else f"-w{self.width:g}"
        return f"{self.name}{width}{'-lbn' if self.last_norm else ''}"


class AttackSpec(Strict):
    """The Linf PGD attack in training; the experiment sets epsilon."""

    num_steps: int = Field(default=10, ge=1)
    step_size: ExactFraction | None = None  # for pixels in [0, 1]; None means epsilon / 4
    random_start: bool = True
    batch_norm: Literal["train", "eval"] = "train"  # the paper attacks in train mode


class SoftTargetSpec(Strict):
    """The fast objective's mix of label and running mean of predictions; off in the paper's released code."""

    enabled: bool = False
    rho: float = Field(default=0.9, ge=0, le=1)  # weight of the old mean in the new one
    beta: float = Field(default=0.1, ge=0, le=1)  # weight of the label in the target


class FastSpec(Strict):
    """The fast objective: one attack step per update from a stored perturbation."""

    step_size: ExactFraction | None = None  # None means epsilon / 2
    fill: float = Field(default=0.5, ge=0, le=1)  # padding value of the canvas
    soft_target: SoftTargetSpec = SoftTargetSpec()


class TrainingSpec(Strict):
    """Schedule, batch and precision of training. Learning rates belong to the methods."""

    epochs: int = Field(default=400, ge=1)
    batch_size: int = Field(default=256, ge=2)
    precision: Precision = "fp32"  # bf16-attack: bfloat16 autocast for the attack only
    # Statistics of batch norm where several processes train one network: of the whole batch, or of each process's own
    # images. Not dumped at its default, as early configs lack it.
    batch_norm: Literal["synchronised", "local"] = Field(default="synchronised", exclude_if="synchronised".__eq__)
    attack: AttackSpec = AttackSpec()
    fast: FastSpec = FastSpec()  # for the objective `fast`
    trades_beta: float = Field(default=6.0, ge=0)  # for the objective `trades`
    selection_steps: int = Field(default=10, ge=1)  # PGD steps of the validation attack after each epoch
    selection_images: int | None = Field(default=None, ge=1)  # maximum number of validation images; None means all


class ArtifactSpec(Strict):
    """How the compressed network is stored, which determines its size and its accuracy."""

    statistics: Literal["float32", "float16", "int8"] = "float32"  # of batch-norm statistics and parameters
    # seed: random weights come from the counter-based generator, and the file holds its seed; not dumped unless chosen.
    weights: StoredWeights = Field(default="stored", exclude_if=is_stored)


class MethodSpec(Strict):
    """A method and its hyper-parameters."""

    name: str
    target: str  # module:Class, or path/to/file.py:Class
    options: dict[str, Any] = {}  # fields that differ from the class's defaults
    source_sha256: str | None = None  # None if built in; an edited plug-in is another experiment


class FirstPhaseSpec(Strict):
    """The dense training run that replaces a method's first phase."""

    run: str
    run_hash: str


class Experiment(Strict):
    """One cell of a suite's grid for one seed."""

    suite: str
    preset: Literal["paper", "short", "smoke", "own"]
    dataset: str
    train_images: int | None = Field(default=None, ge=2)  # maximum number; None means all
    epsilon: ExactFraction
    architecture: ArchitectureSpec
    method: MethodSpec
    weights: Literal["fp", "binary"]
    keep_ratio: float
    allocation: float | AllocationName
    # Groups of weights that are kept together; not dumped unless chosen, as early configs lack it.
    granularity: Granularity = Field(default="weight", exclude_if=is_single)
    objective: Objective = "pgd"
    training: TrainingSpec
    artifact: ArtifactSpec = ArtifactSpec()
    evaluation: EvaluationSpec
    first_phase: FirstPhaseSpec | None = None  # None: the method trains its first phase itself
    seed: int = Field(ge=0, lt=2**32)

    @model_validator(mode="after")
    def _steps_fit_epsilon(self) -> Self:
        for step in (self.training.attack.step_size, self.evaluation.pgd.step_size):
            if step is not None and Fraction(step) > 2 * Fraction(self.epsilon):
                raise ValueError(f"step_size {step} leaves the epsilon ball of {self.epsilon} at every step")
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other values, which are not validated; its names are computed again."""
        copy = super().model_copy(update=update, deep=deep)
        for name in ("run_hash", "run"):
            copy.__dict__.pop(name, None)
        return copy

    @cached_property
    def run_hash(self) -> str:
        """Twelve hex digits that identify the training; evaluation settings are not included.

        Only fields that differ from their default are included, so that a new field leaves existing hashes unchanged.
        """
        identity = self.model_dump(exclude_defaults=True, exclude={"suite": True, "evaluation": True})
        del identity["method"]["target"]  # may be a path, which differs between machines
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def cell(self) -> str:
        """Readable name of the grid cell, the same for every seed."""
        strategy = "" if self.keep_ratio == 1.0 else f"-{strategy_label(self.allocation)}"
        if self.granularity != "weight":
            strategy += f"-{self.granularity.replace(':', 'of')}"  # a colon is not portable in names of files
        form = f"{self.weights}-keep{self.keep_ratio:g}{strategy}-{self.objective}"
        return f"{self.dataset}/{self.architecture}/{self.method.name}/{form}"

    @cached_property
    def run(self) -> str:
        """Readable, unique name of the training run."""
        return f"{self.cell}/seed{self.seed}-{self.run_hash[:6]}"

    @property
    def attack_step(self) -> str:
        """Step size of the training attack as an exact fraction."""
        return self.training.attack.step_size or default_pgd_step(self.epsilon)

    @property
    def fast_step(self) -> str:
        """Step size of the fast objective as an exact fraction."""
        return self.training.fast.step_size or exact_epsilon(str(Fraction(self.epsilon) / 2))

    @property
    def passes_per_image(self) -> float:
        """Forward-and-backward passes per training image and epoch; a forward pass alone counts as half."""
        return passes_per_image(self.objective, self.training.attack.num_steps)

    def protocol(self, images: int, num_classes: int) -> Protocol:
        """Return the protocol for evaluating the exported network on `images` images of `num_classes` classes."""
        pgd, autoattack = self.evaluation.pgd, self.evaluation.autoattack
        return Protocol(
            *(self.dataset, self.epsilon, images),
            *(pgd.steps, pgd.restarts, pgd.step_size or ""),
            *(autoattack_version(num_classes), autoattack.seed),
        )


def strategy_label(allocation: float | str) -> str:
    """Return the label of an allocation strategy, such as 'global', 'p0.1', 'auto' or, with a constant, 'auto0.01'."""
    return allocation.replace(":", "") if isinstance(allocation, str) else f"p{allocation:g}"
