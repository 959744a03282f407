"""The result of a finished run: a frozen, self-explanatory record.

Accuracies, densities and ratios are fractions in [0, 1], durations are seconds, sizes are bytes.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from benchmark.results.bounds import check_characters
from benchmark.results.evaluation import TOLERANCE, EvaluationPart
from benchmark.results.fields import Integer, Name, Sha256
from benchmark.results.parts import (
    ArchitecturePart,
    ArtifactPart,
    CompressionPart,
    CostPart,
    DatasetPart,
    MethodPart,
    Part,
    ProvenancePart,
    TrainingPart,
)


class Record(Part):
    """One trained, compressed, attacked and measured network.

    Raises:
        pydantic.ValidationError: if a field is missing, unknown or out of range, or if the fields contradict
            each other (budget, density, counts, verdicts, protocol id).
    """

    ending: ClassVar[str] = ".safetensors"  # of its artifact's name

    schema_version: Literal[3]
    protocol_version: Literal[1]
    run: Name  # readable name, its parts separated by "/"
    run_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    protocol: Name
    suite: Name
    preset: Literal["paper", "short", "smoke", "own"]
    seed: Integer
    dataset: DatasetPart
    architecture: ArchitecturePart
    method: MethodPart
    compression: CompressionPart
    artifact: ArtifactPart
    cost: CostPart
    training: TrainingPart
    evaluation: EvaluationPart
    weights_sha256: Sha256
    provenance: ProvenancePart

    @property
    def started(self) -> str:
        """When it was measured, ISO 8601 in UTC."""
        return self.provenance.started

    @property
    def density(self) -> float:
        """Weights kept over prunable weights."""
        return self.compression.density

    @property
    def threads(self) -> int:
        """Threads of the measurement, on which float sums depend."""
        return self.provenance.threads

    @property
    def kernels(self) -> str | None:
        """Sparse kernels of the measurement, see `OriginPart`."""
        return self.provenance.kernels

    @model_validator(mode="after")
    def _text_fits(self) -> Self:
        check_characters(self)
        return self

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        ending = f"/seed{self.seed}-{self.run_hash[:6]}"
        if not self.run.endswith(ending):
            raise ValueError(f"run {self.run!r} does not end in {ending!r}, its seed and hash")
        prunable, kept = self.architecture.prunable_weights, self.compression.kept_weights
        if not kept <= prunable <= self.architecture.all_parameters:
            raise ValueError(
                f"counts must obey kept <= prunable <= all, got {kept}, {prunable}, {self.architecture.all_parameters}"
            )
        if (weights := sum(layer.weights for layer in self.compression.layers)) != prunable:
            raise ValueError(f"prunable_weights is {prunable}, but the layers have {weights}")
        if abs(self.compression.density - kept / prunable) > TOLERANCE:
            raise ValueError(f"density is {self.compression.density}, but {kept} / {prunable} weights are kept")
        if self.evaluation.n_images > self.dataset.test_images:
            raise ValueError(f"n_images {self.evaluation.n_images} exceeds the {self.dataset.test_images} test images")
        expected = self.evaluation.protocol(self.dataset)
        if self.protocol != expected:
            raise ValueError(f"protocol is {self.protocol!r}, but the settings are those of {expected!r}")
        return self
