"""The record of a network that was trained elsewhere: measured here like any other, its training unknown.

Its artifact is an ONNX file; weights and operations are counted in the graph.
"""

from __future__ import annotations

import hashlib
import json
import re
from operator import not_
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from benchmark.results.bounds import MAX_ITEMS, MAX_LINES, check_characters
from benchmark.results.evaluated import MachinePart
from benchmark.results.evaluation import TOLERANCE, EvaluationPart
from benchmark.results.fields import Count, Link, Name, Positive, Sha256, Share, Text
from benchmark.results.parts import FilePart, LayerPart, Part, TestDataPart
from benchmark.results.record import Record

PRESET = "external"  # the section of a board that holds these rows
FOLDER = "external"  # below a folder of results
MAX_AUTHORS = 50
HASH_DIGITS = 12

AuthorName = Annotated[str, Field(min_length=1, max_length=100)]
# What a run's name, which is also a file name, can hold after other characters became hyphens.
MethodName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+/()-]{0,59}$")]


def _is_licence(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 .+()-]{0,79}", text):
        raise ValueError("must be a licence as SPDX writes it, such as MIT or CC-BY-4.0")
    return text


Licence = Annotated[str, AfterValidator(_is_licence)]


class OriginElsewherePart(Part):
    """Who trained a network, where it comes from, and how its ONNX file was made."""

    method: MethodName  # as its authors call it
    architecture: MethodName
    authors: Annotated[list[AuthorName], Field(min_length=1, max_length=MAX_AUTHORS)]
    licence: Licence
    link: Link  # where the network was published
    conversion: Annotated[Text, Field(min_length=1)]  # how the file that was measured was made
    source_sha256: Sha256 | None  # of the file that was converted; None if there was no other
    credit: AuthorName  # who measured and submitted it


class GraphPart(Part):
    """What was counted in an ONNX graph. Layers are its convolutions and matrix products with stored weights."""

    opset: Positive
    nodes: Positive
    operators: Annotated[list[Name], Field(min_length=1, max_length=MAX_ITEMS)]  # each once, in alphabetical order
    weights: Literal["fp", "binary"]  # binary: no layer has more than two weights other than zero that differ
    all_parameters: Positive  # floating-point numbers in the file
    prunable_weights: Positive  # those of the layers
    kept_weights: Count  # of these, the ones that are not zero
    density: Share
    density_all: Share
    entropy_bound_bytes: Positive  # what an ideal coder would need
    dense_macs: Positive  # multiply-adds of the layers for one image, and of products of two activations
    sparse_macs: Count  # without those of weights that are zero
    bit_operations: Count  # sparse multiply-adds x bits of a weight x bits of an activation
    layers: Annotated[list[LayerPart], Field(min_length=1, max_length=MAX_LINES)]

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        if any(layer.kept > layer.weights for layer in self.layers):
            raise ValueError("a layer keeps more weights than it has")
        if (kept := sum(layer.kept for layer in self.layers)) != self.kept_weights:
            raise ValueError(f"kept_weights is {self.kept_weights}, but the layers keep {kept}")
        if (weights := sum(layer.weights for layer in self.layers)) != self.prunable_weights:
            raise ValueError(f"prunable_weights is {self.prunable_weights}, but the layers have {weights}")
        if self.prunable_weights > self.all_parameters:
            raise ValueError(f"{self.prunable_weights} prunable weights exceed all {self.all_parameters} parameters")
        rest = self.all_parameters - self.prunable_weights
        for name, share in {
            "density": self.kept_weights / self.prunable_weights,
            "density_all": (rest + self.kept_weights) / self.all_parameters,
        }.items():
            if abs(getattr(self, name) - share) > TOLERANCE:
                raise ValueError(f"{name} is {getattr(self, name)}, its counts give {share}")
        if self.sparse_macs > self.dense_macs:
            raise ValueError(f"sparse_macs {self.sparse_macs} exceeds dense_macs {self.dense_macs}")
        return self


class ExternalRecord(Part):
    """One network that was trained elsewhere, attacked and measured here.

    Raises:
        pydantic.ValidationError: if a field is missing, unknown or out of range, or if the fields contradict
            each other (counts, verdicts, protocol id, run).
    """

    ending: ClassVar[str] = ".onnx"  # of its artifact's name
    preset: ClassVar[str] = PRESET
    seed: ClassVar[int | None] = None  # unknown

    schema_version: Literal[1]
    protocol_version: Literal[1]
    trained: Literal["elsewhere"]
    run: Name  # see `external_run`
    run_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    protocol: Name
    dataset: TestDataPart
    origin: OriginElsewherePart
    artifact: FilePart  # the ONNX file
    graph: GraphPart
    evaluation: EvaluationPart
    measured: MachinePart  # where and when
    weights_sha256: Sha256  # of the weights of the layers, whatever the file calls them
    # The run of the row that this one is a newer version of; not written if there is none.
    supersedes: Annotated[str, Field(max_length=300)] | None = Field(default=None, exclude_if=not_)

    @property
    def started(self) -> str:
        """When it was measured, ISO 8601 in UTC."""
        return self.measured.started

    @property
    def density(self) -> float:
        """Weights kept over prunable weights."""
        return self.graph.density

    @property
    def threads(self) -> int:
        """Threads of the measurement, on which float sums depend."""
        return self.measured.threads

    @property
    def kernels(self) -> str | None:
        """Sparse kernels of the measurement, see `OriginPart`."""
        return self.measured.kernels

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        check_characters(self)
        expected = external_run(self.dataset.name, self.origin, self.artifact.sha256)
        if (self.run, self.run_hash) != expected:
            raise ValueError(
                f"run is {self.run!r} with hash {self.run_hash}, but its origin gives {expected[0]!r} with hash "
                f"{expected[1]}"
            )
        if self.evaluation.n_images != self.dataset.test_images:
            raise ValueError(f"n_images is {self.evaluation.n_images}, but test_images {self.dataset.test_images}")
        if self.protocol != (expected_id := self.evaluation.protocol(self.dataset)):
            raise ValueError(f"protocol is {self.protocol!r}, but the settings are those of {expected_id!r}")
        if self.supersedes == self.run:
            raise ValueError("it supersedes itself")
        return self


AnyRecord = Record | ExternalRecord  # what a row of a board is made of


def external_run(dataset: str, origin: OriginElsewherePart, artifact_sha256: str) -> tuple[str, str]:
    """Return the name and the hash of the run of a network that was trained elsewhere.

    The hash covers the file and its origin: the same network with another origin is another run.

    Args:
        dataset: name of the data set.
        origin: of the network.
        artifact_sha256: of the ONNX file.
    """
    content = json.dumps([artifact_sha256, origin.model_dump(mode="json")], sort_keys=True)
    run_hash = hashlib.sha256(content.encode()).hexdigest()[:HASH_DIGITS]
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{origin.method} {origin.architecture}").strip("-.")
    return f"{dataset}/external/{name}/{run_hash[:6]}", run_hash
