"""A hint for the most common mistake: a network that expects another pixel range gets images in [0, 1]."""

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
GAIN = 0.15  # in accuracy: a network trained on normalised images gains more, a robust one less


def normalisation_hint(network: nn.Module, data: Images, clean: Tensor, *, classes: int, batch_size: int) -> str | None:
    """Return a sentence if a network is far more accurate on images in another usual range than on [0, 1].

    Args:
        network: maps any batch of images to logits.
        data: N images.
        clean: (N,) bool, which of them it classifies correctly in [0, 1].
        classes: 1 / classes is chance.
        batch_size: images per pass, at most.
    """
    n, correct = len(clean), int(clean.sum())
    tried = data.first(TRIED)
    counts = {name: _correct(network, tried, mean, std, batch_size) for name, (mean, std) in _usual(tried).items()}
    best = max(counts, key=lambda name: counts[name])
    unscaled = int(clean[:TRIED].sum())
    gain = (counts[best] - unscaled) / len(tried)
    if gain < GAIN or wilson(counts[best], len(tried))[0] <= max(wilson(unscaled, len(tried))[1], 1 / classes):
        return None
    chance = ", no better than chance," if wilson(correct, n)[0] <= 1 / classes else ""
    return (
        f"clean accuracy is {100 * correct / n:.1f}% on images in [0, 1]{chance} and "
        f"{100 * counts[best] / len(tried):.1f}% on images {best}: the network seems to expect these; wrap it in a "
        "module that transforms its images, and evaluate again"
    )


def _usual(data: Images) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    """Return the usual means and standard deviations by a description of the images that they produce."""
    channels = data.images.shape[1]
    datasets = {
        f"normalised by the mean and standard deviation of {name}": (dataset.mean, dataset.std)
        for name, dataset in DATASETS.items()
        if dataset.channels == channels
    }
    scaled = {"scaled to [-1, 1]": HALVES, "in 0 to 255": BYTES, "with black and white exchanged": INVERTED}
    imagenet = {"normalised by the mean and standard deviation of ImageNet": IMAGENET} if channels == 3 else {}
    return datasets | imagenet | scaled


@torch.no_grad()
def _correct(network: nn.Module, data: Images, mean: tuple[float, ...], std: tuple[float, ...], batch_size: int) -> int:
    """Count the images classified correctly after normalisation with a mean and standard deviation."""
    shift, scale = (torch.tensor(values, device=data.images.device).view(1, -1, 1, 1) for values in (mean, std))
    with frozen_eval(network):
        return sum(
            int((network((as_float_images(images) - shift) / scale).argmax(1) == labels).sum())
            for images, labels in zip(data.images.split(batch_size), data.labels.split(batch_size), strict=True)
        )
