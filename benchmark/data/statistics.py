"""Pixel statistics of a user's own data set, for which the catalog has none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def channel_statistics(
    images: NDArray[np.uint8], rows: NDArray[np.int64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel over some rows, in [0, 1], rounded to 4 decimals.

    Args:
        images: (N, C, H, W).
        rows: rows of the images to include, at least one.
    """
    channels = images.shape[1]
    counts = np.zeros((channels, 256))
    # Histograms are exact and need no copy of the images as floats.
    for start in range(0, len(rows), 1024):
        chunk = images[rows[start : start + 1024]]
        for channel in range(channels):
            counts[channel] += np.bincount(chunk[:, channel].ravel(), minlength=256)
    share = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256) / 255
    mean = share @ values
    variance = (share * (values - mean[:, np.newaxis]) ** 2).sum(axis=1)
    # The normalisation must not divide by zero for a constant channel.
    std = np.maximum(np.sqrt(variance), 1 / 255)
    return tuple(round(float(value), 4) for value in mean), tuple(round(float(value), 4) for value in std)
