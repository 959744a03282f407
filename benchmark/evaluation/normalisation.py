"""A hint for the commonest mistake: a network that expects images of another range, given images in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.data.catalog import DATASETS
from benchmark.data.load import Images
from benchmark.evaluation.accuracy import as_float_images, frozen_eval
from benchmark.results.statistics import wilson

TRIED = 256  # images, at most
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5,), (0.5,))  # [-1, 1]
BYTES = ((0.0,), (1 / 255,))  # 0..255
INVERTED = ((1.0,), (-1.0,))  # 1 - x
GAIN = 0.15  # of the images: a network that was trained on other images gains more, a robust one less


def normalisation_hint(network: nn.Module, data: Images, clean: Tensor, *, classes: int, batch_size: int) -> str | None:
    """Return a sentence if a network is far better on images that are usually scaled otherwise than in [0, 1].

    Args:
        network: maps any batch of images to logits.
        data: N images.
        clean: (N,) bool, which of them it classifies right as they are.
        classes: 1 / classes is chance.
        batch_size: images per pass, at most.
    """
    n, right = len(clean), int(clean.sum())
    some = data.first(TRIED)
    counts = {name: _right(network, some, mean, std, batch_size) for name, (mean, std) in _usual(some).items()}
    best = max(counts, key=lambda name: counts[name])
    as_given = int(clean[:TRIED].sum())
    gained = (counts[best] - as_given) / len(some)
    if gained < GAIN or wilson(counts[best], len(some))[0] <= max(wilson(as_given, len(some))[1], 1 / classes):
        return None
    chance = ", no better than chance," if wilson(right, n)[0] <= 1 / classes else ""
    return (
        f"clean accuracy is {100 * right / n:.1f}% on images in [0, 1]{chance} and "
        f"{100 * counts[best] / len(some):.1f}% on images {best}: the network seems to expect these; wrap it in a "
        "module that does this first, and evaluate again"
    )


def _usual(data: Images) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    """Return the usual mean and standard deviation by what they make of images in [0, 1]."""
    channels = data.images.shape[1]
    known = {
        f"normalised by the mean and standard deviation of {name}": (dataset.mean, dataset.std)
        for name, dataset in DATASETS.items()
        if dataset.channels == channels
    }
    scaled = {"scaled to [-1, 1]": HALVES, "in 0 to 255": BYTES, "with black and white exchanged": INVERTED}
    imagenet = {"normalised by the mean and standard deviation of ImageNet": IMAGENET} if channels == 3 else {}
    return known | imagenet | scaled


@torch.no_grad()
def _right(network: nn.Module, data: Images, mean: tuple[float, ...], std: tuple[float, ...], batch_size: int) -> int:
    """Count the images classified right once `mean` is subtracted and `std` divided by."""
    shift, scale = (torch.tensor(values, device=data.images.device).view(1, -1, 1, 1) for values in (mean, std))
    with frozen_eval(network):
        return sum(
            int((network((as_float_images(images) - shift) / scale).argmax(1) == labels).sum())
            for images, labels in zip(data.images.split(batch_size), data.labels.split(batch_size), strict=True)
        )
