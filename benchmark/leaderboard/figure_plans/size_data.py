"""What the figure of file size and granularity shows, before it is drawn."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SizePoint:
    """Robust accuracy with its 95% interval, in [0, 1], of a file of so many bytes."""

    size_bytes: float  # mean over the seeds
    keep_ratio: float
    robust: float
    low: float
    high: float


@dataclass(frozen=True)
class SizeSeries:
    """All keep ratios tried with one granularity, ascending."""

    granularity: str
    points: tuple[SizePoint, ...]


@dataclass(frozen=True)
class SizeData:
    """Robust accuracy against the size of the file for each granularity of the mask."""

    series: tuple[SizeSeries, ...]
    measured: str  # which accuracy it is
    chance: float
