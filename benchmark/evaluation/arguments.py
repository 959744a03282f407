"""Checks the arguments of `evaluate` before any work; each mistake gets one sentence."""

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
from benchmark.networks.loaded import LoadedModel
from benchmark.results.protocol import Protocol, autoattack_version

ROUNDING = 1e-3  # of a grey level: 8-bit images divided by 255 in float32 are whole levels up to 2e-5
HALF_RANGE = 128  # a set of photographs or drawings without any brighter pixel has another range
CHUNK = 256  # images checked at once
NETWORK = "pass an nn.Module in eval mode, or a function, from (B, C, H, W) images in [0, 1] to (B, classes) logits"


def checked_network(network: object, name: str = "module") -> Callable[[Tensor], Tensor]:
    """Return a callable that takes images.

    Raises:
        UserError: for other things that people pass: a state dict, a path, a class, an optimizer.
    """
    if isinstance(network, LoadedModel):
        return network.network
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
    if type(network).__module__.partition(".")[0] in ("onnxruntime", "onnx"):
        raise UserError(
            f"{name} is an ONNX {type(network).__name__}, through which no gradient flows to the images, so it cannot "
            "be attacked; pass the path of the .onnx file, which is rebuilt from torch's operators"
        )
    if not callable(network):
        raise UserError(f"{name} is of type {type(network).__name__}; {NETWORK}")
    return network


def checked_protocol(protocol: object) -> Protocol:
    """Return the protocol for an id or a `Protocol`."""
    if isinstance(protocol, Protocol):
        return protocol
    if isinstance(protocol, str):
        return Protocol.parse(protocol)
    raise UserError(
        "protocol must be an id such as 'cifar10-linf-8_255-aa-standard-1000', or a Protocol; got "
        f"{type(protocol).__name__}"
    )


def checked_folder(path: object, name: str) -> Path | None:
    """Return a folder for a string or path; None for None."""
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise UserError(f"{name} must be a folder, as text or as a Path, or None; got {path!r}")
    folder = Path(os.fsdecode(path)).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{name} {folder} is a file; pass a folder")
    return folder


def checked_batch_size(batch_size: object) -> int:
    """Return a whole number of at least 1."""
    try:
        number = 0 if isinstance(batch_size, bool) else operator.index(batch_size)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if number < 1:
        raise UserError(f"batch_size must be a whole number of at least 1; got {batch_size!r}")
    return number


def checked_report(report: object) -> Callable[[str], None]:
    """Return the function that receives progress lines."""
    if not callable(report):
        raise UserError(f"report must be a function that takes a line, such as print; got {report!r}")
    return report


def checked_data(dataset: object, data_dir: Path | None, protocol: Protocol) -> TestData:
    """Return the test images of a protocol, loaded by the data set's name or checked if they are loaded already.

    8-bit images divided by 255 are turned back into bytes.

    Raises:
        UserError: for another type, if pixels or labels do not meet the requirements of `Images`, or if the images are
            not those of the protocol.
    """
    data = load_test(dataset, data_dir, limit=protocol.images) if isinstance(dataset, str) else _checked_images(dataset)
    check_fit(data, protocol)
    return data


def check_fit(data: TestData, protocol: Protocol) -> None:
    """Raise UserError unless data set and number of images are those of the protocol."""
    if data.info.name != protocol.dataset:
        raise UserError(f"the protocol is for {protocol.dataset}, but the images are from {data.info.name}")
    if len(data.test) != protocol.images:
        raise UserError(
            f"protocol {protocol.id} asks for {protocol.images} images, but there are {len(data.test)} of "
            f"{data.info.name}; use a protocol with {len(data.test)} images"
        )
    if (version := autoattack_version(data.info.num_classes)) != protocol.autoattack:
        raise UserError(
            f"{data.info.name} has {data.info.num_classes} classes, for which AutoAttack is {version}, "
            f"not {protocol.autoattack}; correct the protocol id"
        )


def _checked_images(dataset: object) -> TestData:
    if not isinstance(dataset, TestData):
        raise UserError(
            "dataset must be a name such as 'cifar10', or test images as `benchmark.data.load.load_test` returns them; "
            f"got {type(dataset).__name__}"
        )
    pixels, labels = _tensor(dataset.test.images, "images"), _tensor(dataset.test.labels, "labels")
    _check_shape(pixels, dataset.info)
    labels = _labels(labels, len(pixels), dataset.info.num_classes)
    return replace(dataset, test=Images(_bytes(pixels), labels))


def _tensor(values: object, name: str) -> Tensor:
    if isinstance(values, np.ndarray):
        values = torch.from_numpy(values.copy())  # a copy: the array may be read-only
    if not isinstance(values, Tensor):
        raise UserError(f"{name} must be a tensor or a numpy array; got {type(values).__name__}")
    # A tensor of inference mode cannot take part in a gradient, but its copy outside can.
    return values.detach().clone() if values.is_inference() else values.detach()


def _check_shape(pixels: Tensor, info: ImageInfo) -> None:
    expected = (info.channels, info.height, info.width)
    if pixels.ndim == 4 and tuple(pixels.shape[1:]) == expected:
        return
    remedy = "pass (N, C, H, W)"
    if pixels.ndim == 4 and tuple(pixels.shape[1:]) == (*expected[1:], expected[0]):
        remedy = "the channels come last: pass images.permute(0, 3, 1, 2)"
    if info.channels == 1 and tuple(pixels.shape[1:]) == expected[1:]:
        remedy = "the channel axis is missing: pass images.unsqueeze(1)"
    raise UserError(
        f"images of {info.name} must have shape (N, {', '.join(map(str, expected))}), got {_shape(pixels)}; {remedy}"
    )


def _bytes(pixels: Tensor) -> Tensor:
    """Return (N, C, H, W) pixels as uint8, 0..255."""
    if pixels.dtype == torch.uint8:
        if pixels.numel() and 0 < (highest := int(pixels.max())) < HALF_RANGE:
            raise UserError(
                f"uint8 images must range from 0 to 255, but no pixel of these exceeds {highest}; "
                "pass uint8 from 0 to 255, or floats in [0, 1]"
            )
        return pixels
    if not pixels.is_floating_point():
        raise UserError(
            f"images must be uint8 from 0 to 255 or floats in [0, 1]; got {_type(pixels)}; pass uint8 from 0 to 255"
        )
    return torch.cat([_rounded(part) for part in pixels.split(CHUNK)])


def _rounded(pixels: Tensor) -> Tensor:
    if not (finite := pixels.flatten(1).isfinite().all(1)).all():
        raise UserError(f"image {int((~finite).nonzero()[0])} has NaN or infinite pixels; pass floats in [0, 1]")
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0:
        raise UserError(
            f"float images must lie in [0, 1], but these range from {low:.4g} to {high:.4g}; pass them without "
            "normalisation, which belongs in the network"
        )
    if high > 1:
        raise UserError(
            f"float images must lie in [0, 1], but these go up to {high:.4g}; divide them by 255, or pass uint8"
        )
    levels = pixels.double() * 255
    if float((levels - levels.round()).abs().max()) > ROUNDING:
        raise UserError(
            "float images must be 8-bit images divided by 255, but these lie between the grey levels; "
            "pass (255 * images).round().to(torch.uint8) to measure the rounded images"
        )
    return levels.round().to(torch.uint8)


def _labels(labels: Tensor, count: int, classes: int) -> Tensor:
    """Return (N,) labels as int64, 0..classes - 1."""
    if tuple(labels.shape) == (count, classes) and classes > 1:
        raise UserError(f"labels must be (N,) class numbers, got one-hot {_shape(labels)}; pass labels.argmax(1)")
    if tuple(labels.shape) != (count,):
        remedy = "pass labels.flatten()" if labels.numel() == count else "pass one label per image"
        raise UserError(f"labels must have shape ({count},) for {count} images, got {_shape(labels)}; {remedy}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise UserError(
            f"labels must be whole numbers from 0 to {classes - 1}, got {_type(labels)}; pass labels.long()"
        )
    labels = labels.long()
    wrong = ((labels < 0) | (labels >= classes)).nonzero().flatten()
    if len(wrong):
        ones = int(labels.min()) == 1 and int(labels.max()) == classes
        remedy = "they begin at 1: pass labels - 1" if ones else "pass the class numbers of the data set"
        raise UserError(
            f"labels must be from 0 to {classes - 1}, image {int(wrong[0])} has {int(labels[wrong[0]])}; {remedy}"
        )
    return labels


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
