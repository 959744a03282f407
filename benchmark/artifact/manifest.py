"""The description of a network in an artifact, and the tensors it implies."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Annotated, Literal, Self

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from torch import nn

from benchmark.networks.resnet import NetworkPlan, ResNet, convolutions, plain_conv
from benchmark.networks.shapes import SHAPES
from benchmark.results.fields import Granularity, is_single
from methods.counted import Draw, Drawn

VERSIONS = "1 and 2"
MAX_WEIGHTS = 2**27  # in all convolutions; half a gigabyte in float32

Statistics = Literal["float32", "float16", "int8"]
Weights = Literal["stored"] | Draw


def _check_name(name: str) -> str:
    if name not in SHAPES:
        raise ValueError(f"is none of {', '.join(SHAPES)}")
    return name


Channel = Annotated[float, Field(ge=-100, le=100)]
Deviation = Annotated[float, Field(ge=1e-4, le=100)]
Pixels = Annotated[int, Field(ge=1, le=4096)]


class Architecture(BaseModel):
    """The fields of a `NetworkPlan`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    name: Annotated[str, AfterValidator(_check_name)]
    num_classes: int = Field(ge=1, le=100_000)
    mean: tuple[Channel, ...] = Field(min_length=1, max_length=16)  # per channel, of pixels in [0, 1]
    std: tuple[Deviation, ...] = Field(min_length=1, max_length=16)
    width: float = Field(gt=0, le=4)
    last_norm: bool

    @model_validator(mode="after")
    def _has_channels(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError("mean and std have different lengths")
        return self


class Manifest(BaseModel):
    """Everything about a network except its numbers. Its JSON is canonical: sorted keys, no spaces.

    Attributes:
        version: version of the format: 1, or 2 if the file has something that version 1 does not know.
        architecture: the network.
        dataset: name of the data set it was trained for.
        image_size: (height, width) in pixels.
        statistics: storage type of batch-norm tensors.
        affine: whether every batch norm has a scale and a shift.
        granularity: what a mask keeps or drops together; written only if it is not single weights.
        weights: whether the kept weights are stored, or how they are drawn from the seed; written only if drawn.
        seed: of the weights; None, and not written, if they are stored.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    version: Literal[1, 2]
    architecture: Architecture
    dataset: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._=+-]{0,199}$")
    image_size: tuple[Pixels, Pixels]
    statistics: Statistics
    affine: bool
    granularity: Granularity = Field(default="weight", exclude_if=is_single)
    weights: Weights = Field(default="stored", exclude_if=lambda weights: weights == "stored")
    seed: int | None = Field(default=None, ge=0, lt=2**32, exclude_if=lambda seed: seed is None)

    @model_validator(mode="after")
    def _needs_its_version(self) -> Self:
        if (self.weights == "stored") != (self.seed is None):
            raise ValueError(f"weights are {self.weights}, but the seed is {self.seed}")
        if self.version != (needed := _version(self.statistics, self.granularity, self.drawn)):
            raise ValueError(f"version is {self.version}, but what it describes is of version {needed}")
        return self

    @property
    def drawn(self) -> Drawn | None:
        """How the kept weights follow from the seed; None if they are stored."""
        return None if self.weights == "stored" or self.seed is None else Drawn(self.weights, self.seed)

    @property
    def levels_per_layer(self) -> int:
        """Numbers that are stored of a convolution with few different weights."""
        return {"stored": 2, "signs": 1, "uniform": 0}[self.weights]

    def text(self) -> str:
        """Return the JSON."""
        return json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    def plan(self) -> NetworkPlan:
        """Return the plan that builds the network."""
        return NetworkPlan(**dict(self.architecture))


def _version(statistics: Statistics, granularity: Granularity, drawn: Drawn | None) -> int:
    """Return the first version of the format that knows these settings."""
    return 1 if statistics != "int8" and granularity == "weight" and drawn is None else 2


def make_manifest(
    plan: NetworkPlan,
    *,
    dataset: str,
    image_size: tuple[int, int],
    statistics: Statistics,
    affine: bool,
    granularity: Granularity = "weight",
    drawn: Drawn | None = None,
) -> Manifest:
    """Describe a network, in the first version of the format that can.

    Raises:
        pydantic.ValidationError: for a value out of range.
    """
    return Manifest.model_validate(
        {
            "version": _version(statistics, granularity, drawn),
            "architecture": asdict(plan),
            "dataset": dataset,
            "image_size": tuple(image_size),
            "statistics": statistics,
            "affine": affine,
            "granularity": granularity,
            "weights": "stored" if drawn is None else drawn.draw,
            "seed": None if drawn is None else drawn.seed,
        }
    )


@dataclass(frozen=True)
class Layout:
    """Shapes of a network's stored tensors by name, in the order of its state dict.

    Attributes:
        convolutions: shape (out, in, k, k) of each weight.
        norms: shape (channels,) of each batch-norm parameter and running statistic.
    """

    convolutions: dict[str, tuple[int, ...]]
    norms: dict[str, tuple[int, ...]]

    @property
    def sizes(self) -> list[int]:
        """Weights per convolution."""
        return [math.prod(shape) for shape in self.convolutions.values()]


@lru_cache(maxsize=8)
def layout(plan: NetworkPlan, *, affine: bool) -> Layout:
    """Return the tensors to store of the network that `plan` builds, without allocating it."""
    model = skeleton(plan, affine=affine)
    weights = {f"{name}.weight" for name in convolutions(model)}
    shapes = {
        name: tuple(value.shape)
        for name, value in model.state_dict().items()
        if value.is_floating_point() and not name.startswith("normalize.")
    }
    return Layout(
        convolutions={name: shape for name, shape in shapes.items() if name in weights},
        norms={name: shape for name, shape in shapes.items() if name not in weights},
    )


def skeleton(plan: NetworkPlan, *, affine: bool) -> ResNet:
    """Build the plain network on the meta device, without memory and without drawing random numbers."""
    with torch.device("meta"):
        return plan(conv=plain_conv, norm=partial(nn.BatchNorm2d, affine=affine))
