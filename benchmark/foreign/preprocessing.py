"""What stands between images in [0, 1] and a network from a file: its normalisation and the order of its axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.errors import UserError


@dataclass(frozen=True)
class Reading:
    """How a file is to be read: what it does not say itself.

    Attributes:
        arch: architecture of a state dict: a name, "package.module:factory" or "path/to/file.py:factory".
        mean: subtracted from pixels in [0, 1], one number per channel.
        std: what they are then divided by.
        nhwc: whether the network takes (B, H, W, C) images.
    """

    arch: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    nhwc: bool = False

    @property
    def is_default(self) -> bool:
        """Whether the file is taken as it is."""
        return self == Reading()


class Preprocessed(nn.Module):
    """A network behind its normalisation, and behind a change of the order of axes."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, reading: Reading) -> None:
        super().__init__()
        self.network, self.nhwc = network, reading.nhwc
        self.register_buffer("mean", torch.tensor(reading.mean or (0.0,)).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(reading.std or (1.0,)).view(-1, 1, 1))
        self.normalised = reading.mean is not None

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images in [0, 1] to (B, classes) logits."""
        if self.normalised:
            images = (images - self.mean) / self.std
        if self.nhwc:
            images = images.permute(0, 2, 3, 1).contiguous()
        return self.network(images)  # type: ignore[no-any-return]


def preprocessed(network: nn.Module, reading: Reading) -> nn.Module:
    """Return a network on (B, C, H, W) images in [0, 1]: the same one if its file needs nothing else."""
    return Preprocessed(network, reading) if reading.nhwc or reading.mean is not None else network


def typed_reading(arch: str | None, mean: str | None, std: str | None, *, nhwc: bool) -> Reading:
    """Return the options of the command line, where numbers are separated by commas.

    Raises:
        UserError: as for `checked_normalisation`, or if they are no numbers.
    """
    return Reading(arch, *checked_normalisation(_numbers("mean", mean), _numbers("std", std)), nhwc)


def _numbers(name: str, text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--{name} must be numbers separated by commas, such as 0.5,0.5,0.5; got {text!r}") from None


def checked_normalisation(
    mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return a mean and a standard deviation of pixels in [0, 1] as tuples.

    Raises:
        UserError: if only one of them is given, or if they cannot belong to such pixels.
    """
    if mean is None and std is None:
        return None, None
    if mean is None or std is None:
        given, other = ("--std", "--mean") if mean is None else ("--mean", "--std")
        raise UserError(
            f"{given} is given without {other}; give both, such as --mean 0.5,0.5,0.5 and --std 0.5,0.5,0.5"
        )
    for name, values in (("mean", mean), ("std", std)):
        if isinstance(values, str) or not all(isinstance(value, int | float) for value in values):
            raise UserError(f"{name} must be numbers, one per channel; got {values!r}")
        if not all(math.isfinite(value) for value in values):
            raise UserError(f"{name} must be finite numbers; got {shown(values)}")
        if any(value > 1 for value in values):
            raise UserError(
                f"{name} is for pixels in [0, 1], where it is at most 1; got {shown(values)}; divide the numbers for "
                "pixels from 0 to 255 by 255"
            )
    if any(value < 0 for value in mean):
        raise UserError(f"mean is for pixels in [0, 1], so it is at least 0; got {shown(mean)}")
    if any(value <= 0 for value in std):
        raise UserError(f"std divides the pixels, so it must be above 0; got {shown(std)}")
    return tuple(map(float, mean)), tuple(map(float, std))


def check_channels(reading: Reading, channels: int, dataset: str) -> None:
    """Raise UserError unless the normalisation has one number per channel of a data set."""
    for name, values in (("mean", reading.mean), ("std", reading.std)):
        if values is not None and len(values) != channels:
            raise UserError(
                f"{name} has {len(values)} number{'s' if len(values) > 1 else ''}, but images of {dataset} have "
                f"{channels} channel{'s' if channels > 1 else ''}; give one number per channel"
            )


def shown(values: Sequence[float]) -> str:
    """Return numbers as they are typed."""
    return ",".join(f"{value:g}" for value in values)
