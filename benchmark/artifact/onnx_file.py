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

PACKAGES = ("onnx", "onnxscript", "onnxruntime")  # of the extra `onnx`; imported late, as they are slow
INPUT, OUTPUT = "images", "logits"
OPSET = 18  # the exporter's native operator set, which needs no conversion and which onnx2torch reads
TOLERANCE = 1e-4  # for logits up to 1 in magnitude
CHECKED_BATCHES = (1, 7)  # sizes other than that of the traced batch


def check_target(path: Path) -> None:
    """Raise UserError if the export would overwrite a file of another kind, such as the artifact itself."""
    if not path.is_file() or not path.stat().st_size:
        return
    kind = kind_of_content(path)
    if kind is None or kind.name != ONNX_NETWORK:
        name = "a file of another kind" if kind is None else kind.name
        raise UserError(f"--onnx {path} is {name}, which would be overwritten; name another file, or move that one")


def export_onnx(network: nn.Module, path: Path, *, channels: int, size: tuple[int, int]) -> None:
    """Write a network as an ONNX file with its weights; `path` is replaced only by a complete, checked file.

    The input `images` is float32 (batch, channels, height, width) in [0, 1], the output `logits` (batch, classes);
    the batch may have any size. Convolutions and batch norms are not fused: every weight in the file keeps its name
    and exact value, so sparse and binary layers remain sparse and binary. Zeros are stored like other values.

    ONNX Runtime runs the file on random images before anything is written. Its logits may differ from torch's by 1e-4
    times torch's largest absolute logit, or by 1e-4 if that is below 1.

    Args:
        network: a plain network, which is not changed.
        path: path of the file, in an existing folder.
        channels: channels of the images.
        size: height and width of the images in pixels.

    Raises:
        UserError: if the packages are not installed, or the folder does not exist.
        RuntimeError: if ONNX Runtime computes other logits than torch.
    """
    if not path.parent.is_dir() or path.is_dir():
        raise UserError(f"{path} cannot be written: it must be a file in an existing folder")
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
    """Return a copy whose shortcuts are strided convolutions, a single operator that every ONNX reader supports.

    The benchmark's own shortcut avoids a bug in torch's backward pass, which an exported network does not have.
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
            optimize=False,  # it would fold batch norm into the weights, which would then no longer be binary
        )
    assert program is not None
    optimizer.fold_constants(program.model)
    optimizer.remove_unused_nodes(program.model)
    # Stack traces reveal paths of this machine and make the files of equal networks differ.
    ir.passes.common.ClearMetadataAndDocStringPass()(program.model)
    content: bytes = program.model_proto.SerializeToString(deterministic=True)
    return content


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return translations of two torch operators that the exporter would decompose into ones onnx2torch lacks."""
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
    """Silence the exporter's warnings about torch's own code and about torchvision, which is not needed."""
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
    if not difference <= allowed:  # also true for NaN
        raise RuntimeError(f"ONNX Runtime's logits differ from torch's by {difference:.2g}, more than {allowed:.2g}")
