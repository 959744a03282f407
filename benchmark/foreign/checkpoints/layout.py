"""What a layout is, and the steps that several layouts share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from benchmark.errors import UserError
from benchmark.foreign.checkpoints.masks import Kept
from benchmark.foreign.checkpoints.opening import Checkpoint
from benchmark.foreign.checkpoints.settings import Settings

Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation of each channel
NONE: Statistics = ((0.0,), (1.0,))  # images in [0, 1] as they are


@dataclass(frozen=True)
class Folded:
    """A checkpoint without masks and scores.

    Attributes:
        state: weights, biases and batch-norm tensors under the repository's key names.
        kept: kept and all weights of every masked layer, by name.
        normalisation: what the repository did to images in [0, 1] before the first convolution; None if neither the
            checkpoint nor its config says it. A single number is for all channels.
        notes: sentences about what could not be known.
    """

    state: dict[str, Tensor]
    kept: dict[str, tuple[int, int]]
    normalisation: Statistics | None = None
    notes: tuple[str, ...] = ()

    @property
    def density(self) -> float | None:
        """Share of kept weights in all masked layers; None if there are none."""
        total = sum(size for _, size in self.kept.values())
        return sum(kept for kept, _ in self.kept.values()) / total if total else None


@dataclass(frozen=True)
class Layout:
    """How a repository stores its networks.

    Attributes:
        name: for `--from`.
        about: one line for the help.
        settings: settings of the repository's config that decide the network.
        density: the setting that `--k` gives; None if the layout has none.
        fold: applies the masks.
        architectures: names in the repository to names here.
        wrappers: prefixes of every key, besides those of torch's own wrappers.
        renamed: prefixes of keys in the repository to those here, for the suite's networks.
        dataset: the setting that holds the data set.
    """

    name: str
    about: str
    settings: tuple[str, ...]
    density: str | None
    fold: Callable[[Checkpoint, Settings], Folded]
    architectures: Mapping[str, str]
    wrappers: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    dataset: str = "dataset"


def fold_scores(
    checkpoint: Checkpoint, *, scores: str, dropped: tuple[str, ...] = (), keep: Callable[[str, Tensor], Kept]
) -> Folded:
    """Multiply every weight with the mask of its scores.

    Args:
        checkpoint: what was opened.
        scores: last part of the keys of scores, such as "popup_scores".
        dropped: last parts of keys that the mask has used up.
        keep: the mask from a layer's name and scores; a mask may be broadcast over the weight.

    Raises:
        UserError: if there are no scores, or scores without a weight of a fitting shape.
    """
    state, kept, notes = {}, {}, []
    layers = [key.removesuffix(f".{scores}") for key in checkpoint.state if key.endswith(f".{scores}")]
    if not layers:
        raise UserError(
            f"{checkpoint.path}: no key ends with .{scores}, so there is no mask in it; give the checkpoint with the "
            "masked layers, and not the dense one beside it"
        )
    consumed = {f"{layer}.{part}" for layer in layers for part in (scores, *dropped)}
    for key, value in checkpoint.state.items():
        if key not in consumed:
            state[key] = value
    for layer in layers:
        weight, values = state.get(f"{layer}.weight"), checkpoint.state[f"{layer}.{scores}"]
        if weight is None:
            raise UserError(
                f"{checkpoint.path}: the key {layer}.weight is missing, but {layer}.{scores} is there; fetch the "
                "checkpoint again"
            )
        if not bool(values.isfinite().all()):
            raise UserError(
                f"{checkpoint.path}: {layer}.{scores} holds values that are not finite; fetch the checkpoint again"
            )
        layer_kept = keep(layer, values)
        try:
            mask = layer_kept.mask.expand(weight.shape)
        except RuntimeError:
            raise UserError(
                f"{checkpoint.path}: {layer}.{scores} has shape {tuple(values.shape)}, which does not fit "
                f"{layer}.weight with {tuple(weight.shape)}; fetch the checkpoint again"
            ) from None
        state[f"{layer}.weight"] = weight * mask
        kept[layer] = (int(mask.sum()), mask.numel())
        if layer_kept.tied:
            notes.append(
                f"{layer}: {layer_kept.tied} weights tie at the mask's threshold; which of them the original kept "
                "depends on the sort of its device, and the CPU's was taken"
            )
    return Folded(state, kept, notes=tuple(notes))


def with_normalisation(folded: Folded, normalisation: Statistics | None) -> Folded:
    """Return a folded checkpoint with its normalisation."""
    return replace(folded, normalisation=normalisation)


def normalisation_by_flag(settings: Settings, statistics: Mapping[str, Statistics]) -> Statistics | None:
    """Return what a flag `normalize` does to the images of the config's data set; None if the flag is not known."""
    normalize = settings.flag("normalize")
    if normalize is None:
        return None
    return statistics.get(dataset_name(settings, "dataset") or "") if normalize else NONE


def dataset_name(settings: Settings, key: str) -> str | None:
    """Return the data set that a config names, in this project's spelling; None if it names none."""
    text = settings.text(key)
    return None if text is None else text.lower()
