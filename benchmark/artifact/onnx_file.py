"""Writes an exported network as one ONNX file, for runtimes other than torch. Needs the extra `onnx`."""

from __future__ import annotations

import copy
import importlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.errors import UserError
from benchmark.files.kinds import ONNX_NETWORK, kind_of_content
from benchmark.networks.resnet import Shortcut
from benchmark.results.store import write_atomic
from benchmark.runtime.seeding import generator_for

PACKAGES = ("onnx", "onnxscript", "onnxruntime")  # of the extra `onnx`; imported late, they are slow
INPUT, OUTPUT = "images", "logits"
OPSET = 18  # of ONNX operators: the exporter's own, which needs no conversion, and one that onnx2torch reads too
TOLERANCE = 1e-4  # on logits up to 1 in magnitude
CHECKED_BATCHES = (1, 7)  # others than the batch that is traced


def check_target(path: Path) -> None:
    """Raise UserError if a file of another kind, such as the artifact itself, would be written over."""
    if not path.is_file() or not path.stat().st_size:
        return
    kind = kind_of_content(path)
    if kind is None or kind.name != ONNX_NETWORK:
        what = "a file of another kind" if kind is None else kind.name
        raise UserError(f"--onnx {path} is {what}, which would be lost; name another file, or move that one")


def export_onnx(network: nn.Module, path: Path, *, channels: int, size: tuple[int, int]) -> None:
    """Write a network as an ONNX file that holds its weights, replacing `path` only by a whole, checked file.

    The input `images` is float32 (batch, channels, height, width) in [0, 1], the output `logits` (batch, classes);
    the batch may have any size. Convolutions and batch norms stay apart: every weight in the file has its name and
    its exact value, so a sparse or binary layer is one in the file too. Zeros are stored like other values.

    ONNX Runtime runs the file on random images before anything is written. Its logits may differ
    from torch's by 1e-4, or where torch's largest logit exceeds 1 in magnitude, by 1e-4 times that.

    Args:
        network: a plain network; it is left as it is.
        path: of the file, in a folder that exists.
        channels: of the images.
        size: height and width of the images, in pixels.

    Raises:
        UserError: if the packages are not installed, or there is no such folder.
        RuntimeError: if ONNX Runtime computes other logits than torch.
    """
    if not path.parent.is_dir() or path.is_dir():
        raise UserError(f"{path} is no place for a file: it must be a name in a folder that exists")
    for package in PACKAGES:
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            raise UserError(
                f"an ONNX file needs the package {error.name}, which is not installed; run: pip install -e '.[onnx]'"
            ) from None
    plain = copy.deepcopy(network).cpu().eval()
    content = _onnx_bytes(_with_strided_shortcuts(plain), torch.zeros(2, channels, *size))
    generator = generator_for(torch.device("cpu"), "onnx")
    for count in CHECKED_BATCHES:
        _check(content, plain, torch.rand(count, channels, *size, generator=generator))
    write_atomic(path, content)


def _with_strided_shortcuts(network: nn.Module) -> nn.Module:
    """Return a copy whose shortcuts are strided convolutions: one operator that every reader of ONNX has.

    The benchmark's own shortcut avoids a fault of torch in the backward pass, which an exported network does not have.
    """
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, Shortcut):
                convolution, norm = child
                assert isinstance(convolution, nn.Conv2d), "an exported network has plain layers"
                convolution.stride = (child.stride, child.stride)
                setattr(module, name, nn.Sequential(convolution, norm))
    return network


def _onnx_bytes(network: nn.Module, example: Tensor) -> bytes:
    from onnxscript import ir, optimizer

    with _quiet():
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            opset_version=OPSET,
            custom_translation_table=_translations(),
            verbose=False,
            optimize=False,  # would multiply batch norm into the weights, which then are binary no more
        )
    assert program is not None
    optimizer.fold_constants(program.model)
    optimizer.remove_unused_nodes(program.model)
    # Stack traces with paths of this machine are nobody's business, and would make equal networks unequal files.
    ir.passes.common.ClearMetadataAndDocStringPass()(program.model)
    content: bytes = program.model_proto.SerializeToString(deterministic=True)
    return content


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return how the two torch operators are written that the exporter would take apart into ones onnx2torch lacks."""
    from onnxscript import opset18

    def global_average_pool(images: Any, output_size: Any) -> Any:
        assert tuple(output_size) == (1, 1), "networks here pool whole images"
        return opset18.GlobalAveragePool(images)

    def flatten(values: Any, size: Sequence[Any]) -> Any:
        assert len(size) == 2, "networks here keep the batch and flatten the rest"
        return opset18.Flatten(values, axis=1)

    aten = torch.ops.aten
    return {aten.adaptive_avg_pool2d.default: global_average_pool, aten.view.default: flatten}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter says about torch's own code and about torchvision, which is not needed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.disable(before)


@torch.no_grad()
def _check(content: bytes, network: nn.Module, images: Tensor) -> None:
    from onnxruntime import InferenceSession

    session = InferenceSession(content, providers=["CPUExecutionProvider"])
    (logits,) = session.run([OUTPUT], {INPUT: images.numpy()})
    expected = network(images)
    allowed = TOLERANCE * max(1.0, float(expected.abs().max()))
    difference = float((torch.from_numpy(logits) - expected).abs().max())
    if not difference <= allowed:  # NaN is a difference too
        raise RuntimeError(f"ONNX Runtime's logits differ from torch's by {difference:.2g}, allowed are {allowed:.2g}")
