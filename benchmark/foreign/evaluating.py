"""`benchmark.evaluate`: measures a network that is given as a module, a function or a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.data.load import TestData
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images
from benchmark.evaluation.arguments import checked_data, checked_folder, checked_protocol
from benchmark.evaluation.evaluate import DEFAULT_BATCH_SIZE
from benchmark.evaluation.evaluate import evaluate as evaluate_module
from benchmark.foreign.opened import open_network
from benchmark.foreign.preprocessing import Reading, checked_normalisation
from benchmark.results.evaluation import EvaluationPart
from benchmark.results.protocol import Protocol

EXAMPLES = 8  # test images on which an ONNX file is compared with ONNX Runtime


def evaluate(
    module: nn.Module | torch.export.ExportedProgram | Callable[[Tensor], Tensor] | str | PathLike[str],
    dataset: str | TestData,
    protocol: str | Protocol,
    *,
    arch: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    nhwc: bool = False,
    data_dir: str | PathLike[str] | None = None,
    device: torch.device | str = "cpu",
    batch_size: int = DEFAULT_BATCH_SIZE,
    parent: nn.Module | None = None,
    journal: str | PathLike[str] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> EvaluationPart:
    """Measure any network as the boards do, on float32 images with TF32 off.

    A module is measured in place, in eval mode, and restored exactly afterwards, also after an error: device, types,
    layout, modes, values, gradients. Its parameters keep layout and type unless all have one type other than float32
    and it does not run on float32 images: then it is measured in float32. `notes` of the result say how the network was
    treated differently from others, and what casts doubt on it.

    Args:
        module: maps (B, C, H, W) images in [0, 1] to (B, classes) logits; normalisation belongs inside. A module, also
            scripted, traced, frozen, exported or compiled, or a function; the number of images may be fixed. Or the
            path of a file: an artifact of this project, ONNX, TorchScript, a program of `torch.export`, a state dict.
        dataset: a data set's name, or its loaded test images: uint8, or float in [0, 1] from 8 bits.
        protocol: what to measure, or its id, such as "cifar10-linf-8_255-aa-standard-1000".
        arch: of a file with a state dict: a named architecture, "package.module:factory" or "path/to/file.py:factory".
        mean: of a file: subtracted from pixels in [0, 1] before the network, one number per channel.
        std: of a file: what they are then divided by.
        nhwc: of a file: whether its network takes (B, H, W, C) images.
        data_dir: folder with the data set's files; None for `data` in the current folder.
        device: where to run: "cpu", "cuda", "cuda:1", or "auto" for a GPU if there is one.
        batch_size: images per call of an attack; AutoAttack's random draws depend on it.
        parent: the dense network that `module` was made from; its adversarial images are then tried on `module`.
        journal: folder for AutoAttack's finished batches, from which a killed evaluation resumes.
        report: receives progress lines.

    Raises:
        UserError: if an argument has another type, if a file cannot be read, if data set, protocol and network do not
            match, or if the network's logits are not finite somewhere within epsilon.
    """
    network, notes, data = module, tuple[str, ...](), dataset
    reading = Reading(arch, *checked_normalisation(mean, std), nhwc)
    if isinstance(module, str | PathLike):
        data = checked_data(dataset, checked_folder(data_dir, "data_dir"), checked_protocol(protocol))
        path = Path(os.fspath(module)).expanduser()
        opened = open_network(path, reading, data.info, as_float_images(data.test.images[:EXAMPLES]))
        network, notes = opened.network, opened.notes
    elif not reading.is_default:
        raise UserError(
            "arch, mean, std and nhwc say how to read a file, but the network is given as an object; put its "
            "normalisation and the order of its axes into a module around it"
        )
    evaluation = evaluate_module(
        network,  # type: ignore[arg-type]
        data,
        protocol,
        data_dir=data_dir,
        device=device,
        batch_size=batch_size,
        parent=parent,
        journal=journal,
        report=report,
    )
    return with_notes(evaluation, notes)


def with_notes(evaluation: EvaluationPart, notes: Sequence[str]) -> EvaluationPart:
    """Return an evaluation with sentences about its network's file before its own."""
    return evaluation.model_copy(update={"notes": [*notes, *evaluation.notes]}) if notes else evaluation
