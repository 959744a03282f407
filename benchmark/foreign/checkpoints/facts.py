"""What a network is, from the checkpoint, its config and the request; these must agree, and nothing is guessed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from benchmark.data.catalog import DATASETS
from benchmark.errors import UserError, suggestion
from benchmark.foreign.architectures import NAMES
from benchmark.foreign.checkpoints.layout import Layout, Statistics, dataset_name
from benchmark.foreign.checkpoints.settings import Settings
from benchmark.foreign.factories import known_architectures

_STEMS = ("conv1.weight", "features.0.weight")
_CLASSIFIERS = ("fc.weight", "linear.weight", "classifier.4.weight")


def architecture_of(given: str | None, stored: str | None, settings: Settings, layout: Layout) -> str:
    """Return the architecture's name here.

    Args:
        given: the name in the request, or a function of the user's, which only its tensors can contradict.
        stored: the repository's name in the checkpoint.
        settings: the config, which may have it as `arch` or `model_type`.
        layout: knows the repository's names.

    Raises:
        UserError: if nothing says it, or two disagree.
    """
    if given is not None and ":" in given:
        return given
    if given is not None and given not in NAMES:
        raise UserError(f"--arch {given} is no architecture.{suggestion(given, NAMES)} Known: {known_architectures()}")
    configured = settings.text("arch") or settings.text("model_type")
    if stored is not None and configured is not None and stored != configured:
        raise UserError(
            f"the checkpoint's architecture is {stored}, but {settings.named} says {configured}; give the "
            "checkpoint's own file by --config"
        )
    original = stored or configured
    derived = layout.architectures.get(original or "")
    if given is not None and derived is not None and given != derived:
        raise UserError(
            f"--arch {given} contradicts the checkpoint, whose architecture is {original}, here {derived}; leave "
            "--arch out"
        )
    if given is None and derived is None:
        what = "nothing says the architecture" if original is None else f"the architecture {original} has no name here"
        raise UserError(f"{what}; give --arch: {known_architectures()}")
    return given or derived or ""


def dataset_of(given: str | None, settings: Settings, layout: Layout) -> str:
    """Return the name of the data set that the network was trained for.

    Raises:
        UserError: if nothing says it, or the request and the config disagree.
    """
    configured = dataset_name(settings, layout.dataset)
    if given is not None and configured is not None and given != configured:
        raise UserError(
            f"--dataset {given} contradicts {settings.named}, where {layout.dataset} is {configured}: it is the "
            "data set that the network was trained for; leave --dataset out here, and give it to `evaluate`"
        )
    if given is None and configured is None:
        raise UserError(
            f"nothing says the data set that the network was trained for; give --dataset, such as one of "
            f"{', '.join(DATASETS)}"
        )
    return given or configured or ""


def size_of(dataset: str, given: int | None, arch: str) -> int:
    """Return height and width of the images in pixels.

    Raises:
        UserError: if nothing says it, the request contradicts the data set, or the architecture needs another.
    """
    facts = DATASETS.get(dataset)
    if facts is None and given is None:
        raise UserError(
            f"the data set {dataset} is not in the catalog.{suggestion(dataset, DATASETS)} Known: "
            f"{', '.join(DATASETS)}; for another one also give --image-size"
        )
    if facts is not None and given not in (None, facts.size):
        raise UserError(
            f"--image-size {given} contradicts the data set {dataset}, whose images have {facts.size} pixels a side; "
            "leave it out"
        )
    size = given if facts is None else facts.size
    assert size is not None
    if arch.startswith("vgg") and size != 32:
        raise UserError(
            f"{arch} is for images of 32x32 pixels, but those of {dataset} have {size}; give another --arch"
        )
    return size


def channels_of(state: Mapping[str, Tensor], dataset: str) -> int:
    """Return the image channels of the first convolution, or those of the data set if it has an unusual name.

    Raises:
        UserError: if it takes other images than those of the data set.
    """
    facts = DATASETS.get(dataset)
    stem = next((state[key] for key in _STEMS if key in state and state[key].ndim == 4), None)
    channels = stem.shape[1] if stem is not None else (facts.channels if facts is not None else 3)
    if facts is not None and channels != facts.channels:
        raise UserError(
            f"the first convolution takes images of {channels} channels, but those of {dataset} have {facts.channels}; "
            "give the data set that it was trained for by --dataset"
        )
    return channels


def classes_of(state: Mapping[str, Tensor], dataset: str) -> int:
    """Return the outputs of the classifier, or the classes of the data set if it has an unusual name.

    Raises:
        UserError: if these differ.
    """
    facts = DATASETS.get(dataset)
    weight = next((state[key] for key in _CLASSIFIERS if key in state and state[key].ndim >= 2), None)
    classes = len(weight) if weight is not None else (facts.num_classes if facts is not None else 10)
    if facts is not None and classes != facts.num_classes:
        raise UserError(
            f"the classifier has {classes} outputs, but {dataset} has {facts.num_classes} classes; give the data set "
            "that it was trained for by --dataset"
        )
    return classes


def statistics_of(
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    derived: Statistics | None,
    source: Path | None,
    channels: int,
) -> Statistics:
    """Return mean and standard deviation of each channel, for pixels in [0, 1].

    Args:
        mean: in the request, for each channel or for all.
        std: as `mean`.
        derived: those of the checkpoint or its config.
        source: where the derived ones come from.
        channels: of the images.

    Raises:
        UserError: if nothing says them, or the two disagree.
    """
    if (mean is None) != (std is None):
        raise UserError("--mean and --std belong together; give both, or none to take those of the config")
    derived_values = None if derived is None else _expanded(derived, channels)
    if mean is None or std is None:
        if derived_values is None:
            raise UserError(
                "the normalisation of the images is neither in the checkpoint nor in a config beside it; give --mean "
                "and --std, such as --mean 0 --std 1 for none, or the run's own file by --config"
            )
        return derived_values
    given = _expanded((mean, std), channels)
    if not all(map(math.isfinite, (*given[0], *given[1]))) or min(given[1]) <= 0:
        raise UserError("--mean must be finite and --std above 0; give those of the checkpoint's training")
    if derived_values is not None and given != derived_values:
        raise UserError(
            f"--mean and --std contradict {source or 'the checkpoint'}, which says mean {_text(derived_values[0])} "
            f"and std {_text(derived_values[1])}: another normalisation gives another network; leave them out"
        )
    return given


def _expanded(statistics: Statistics, channels: int) -> Statistics:
    mean, std = statistics
    for values in statistics:
        if len(values) not in (1, channels):
            raise UserError(
                f"the normalisation has {len(values)} numbers, but the number of channels is {channels}; give one for "
                "each channel, or one for all, by --mean and --std"
            )
    return (mean * channels)[:channels], (std * channels)[:channels]


def _text(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
