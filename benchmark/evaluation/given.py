"""What a caller hands to `evaluate`, checked before any work: one sentence for whatever cannot be meant."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.data.load import ImageInfo, Images, TestData, load_test
from benchmark.errors import UserError
from benchmark.results.protocol import Protocol

ROUNDING = 1e-3  # of a grey level: float32 images that were divided by 255 come back as whole levels to 2e-5
HALF_RANGE = 128  # no pixel of a whole set of photographs or drawings is as bright: their range is another one
CHUNK = 256  # images looked at at once
NETWORK = "pass an nn.Module in eval mode, or a function, from (B, C, H, W) images in [0, 1] to (B, classes) logits"


def given_network(network: object, name: str = "module") -> Callable[[Tensor], Tensor]:
    """Return what can be called with images.

    Raises:
        UserError: for what people pass instead of a network: a state dict, a path, a class, an optimizer.
    """
    if isinstance(network, torch.export.ExportedProgram):
        return network.module()
    if isinstance(network, Mapping) and not isinstance(network, nn.Module):
        keys = ", ".join(repr(key) for key in list(network)[:3])
        raise UserError(
            f"{name} is a state dict or checkpoint with {keys or 'nothing'}, not a network; build the network, load "
            "the weights by its load_state_dict, and pass the network"
        )
    if isinstance(network, str | os.PathLike):
        raise UserError(
            f"{name} is a path, {os.fspath(network)!r}, not a network; load the file first (torch.jit.load, "
            "torch.export.load, or a state dict into its network) and pass what it holds"
        )
    if isinstance(network, type):
        raise UserError(
            f"{name} is the class {network.__name__}, not a network; pass an instance: {network.__name__}()"
        )
    if not callable(network):
        raise UserError(f"{name} is of type {type(network).__name__}; {NETWORK}")
    return network


def given_protocol(protocol: object) -> Protocol:
    """Return the protocol that is meant by an id or a `Protocol`."""
    if isinstance(protocol, Protocol):
        return protocol
    if isinstance(protocol, str):
        return Protocol.parse(protocol)
    raise UserError(
        f"protocol is an id such as 'cifar10-linf-8_255-aa-standard-1000', or a Protocol; got {type(protocol).__name__}"
    )


def given_folder(path: object, name: str) -> Path | None:
    """Return a folder that was given as text or as a path; None for None."""
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise UserError(f"{name} is a folder, as text or as a Path, or None; got {path!r}")
    folder = Path(os.fsdecode(path)).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{name} {folder} is a file; give a folder")
    return folder


def given_batch_size(batch_size: object) -> int:
    """Return a whole number from 1."""
    try:
        number = 0 if isinstance(batch_size, bool) else operator.index(batch_size)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if number < 1:
        raise UserError(f"batch_size is a whole number from 1; got {batch_size!r}")
    return number


def given_report(report: object) -> Callable[[str], None]:
    """Return what receives progress lines."""
    if not callable(report):
        raise UserError(f"report is a function that takes a line, such as print; got {report!r}")
    return report


def given_data(dataset: object, data_dir: Path | None, limit: int) -> TestData:
    """Return the test images that are meant by a name, or loaded ones once they are checked.

    Raises:
        UserError: for another type, or if pixels or labels are not those of `Images`. Float images of 8 bits, divided
            by 255, are turned back into bytes.
    """
    if isinstance(dataset, str):
        return load_test(dataset, data_dir, limit=limit)
    if not isinstance(dataset, TestData):
        raise UserError(
            f"dataset is a name such as 'cifar10', or test images as `benchmark.data.load.load_test` returns them; got "
            f"{type(dataset).__name__}"
        )
    pixels, labels = _tensor(dataset.test.images, "images"), _tensor(dataset.test.labels, "labels")
    _check_shape(pixels, dataset.info)
    labels = _labels(labels, len(pixels), dataset.info.num_classes)
    return replace(dataset, test=Images(_bytes(pixels), labels))


def _tensor(values: object, name: str) -> Tensor:
    if isinstance(values, np.ndarray):
        values = torch.from_numpy(values.copy())  # a copy: the array may be read-only
    if not isinstance(values, Tensor):
        raise UserError(f"{name} are a tensor or a numpy array; got {type(values).__name__}")
    # A tensor of inference mode cannot take part in a gradient, its copy outside can.
    return values.detach().clone() if values.is_inference() else values.detach()


def _check_shape(pixels: Tensor, info: ImageInfo) -> None:
    wanted = (info.channels, info.height, info.width)
    if pixels.ndim == 4 and tuple(pixels.shape[1:]) == wanted:
        return
    remedy = "give (N, C, H, W)"
    if pixels.ndim == 4 and tuple(pixels.shape[1:]) == (*wanted[1:], wanted[0]):
        remedy = "their channels come last: give images.permute(0, 3, 1, 2)"
    if info.channels == 1 and tuple(pixels.shape[1:]) == wanted[1:]:
        remedy = "they have no axis of channels: give images.unsqueeze(1)"
    raise UserError(
        f"images of {info.name} have shape (N, {', '.join(map(str, wanted))}), got {_shape(pixels)}; {remedy}"
    )


def _bytes(pixels: Tensor) -> Tensor:
    """Return (N, C, H, W) pixels as uint8, 0..255."""
    if pixels.dtype == torch.uint8:
        if pixels.numel() and 0 < (highest := int(pixels.max())) < HALF_RANGE:
            raise UserError(
                f"uint8 images range from 0 to 255, and no pixel of these exceeds {highest}: they have another range; "
                "give uint8 from 0 to 255, or floats in [0, 1]"
            )
        return pixels
    if not pixels.is_floating_point():
        raise UserError(
            f"images are uint8 from 0 to 255 or floats in [0, 1]; got {_type(pixels)}; give uint8 from 0 to 255"
        )
    return torch.cat([_rounded(part) for part in pixels.split(CHUNK)])


def _rounded(pixels: Tensor) -> Tensor:
    if not (finite := pixels.flatten(1).isfinite().all(1)).all():
        raise UserError(f"image {int((~finite).nonzero()[0])} holds NaN or infinite pixels; give floats in [0, 1]")
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0:
        raise UserError(
            f"float images range from 0 to 1, these from {low:.4g} to {high:.4g}; give them before "
            "their normalisation, which belongs into the network"
        )
    if high > 1:
        raise UserError(f"float images range from 0 to 1, these up to {high:.4g}; divide them by 255, or give uint8")
    levels = pixels.double() * 255
    if float((levels - levels.round()).abs().max()) > ROUNDING:
        raise UserError(
            "float images are taken if they are 8-bit images divided by 255, and these lie between the grey levels; "
            "give (255 * images).round().to(torch.uint8), which is what will be measured"
        )
    return levels.round().to(torch.uint8)


def _labels(labels: Tensor, count: int, classes: int) -> Tensor:
    """Return (N,) labels as int64, 0..classes - 1."""
    if tuple(labels.shape) == (count, classes) and classes > 1:
        raise UserError(f"labels are (N,) class numbers, got {_shape(labels)}: one-hot; give labels.argmax(1)")
    if tuple(labels.shape) != (count,):
        remedy = "give labels.flatten()" if labels.numel() == count else "give one label per image"
        raise UserError(f"labels have shape ({count},) for {count} images, got {_shape(labels)}; {remedy}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise UserError(f"labels are whole numbers from 0 to {classes - 1}, got {_type(labels)}; give labels.long()")
    labels = labels.long()
    wrong = ((labels < 0) | (labels >= classes)).nonzero().flatten()
    if len(wrong):
        ones = int(labels.min()) == 1 and int(labels.max()) == classes
        remedy = "they begin at 1: give labels - 1" if ones else "give the class numbers of the data set"
        raise UserError(
            f"labels range from 0 to {classes - 1}, image {int(wrong[0])} has {int(labels[wrong[0]])}; {remedy}"
        )
    return labels


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
