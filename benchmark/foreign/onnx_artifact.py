"""The network of a row that was trained elsewhere: an ONNX file that keeps the rules, read and counted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from benchmark.errors import UserError
from benchmark.files.plain import read_plain
from benchmark.foreign.file_network import FileNetwork
from benchmark.foreign.onnx_bounds import MAX_BYTES, checked_graph
from benchmark.foreign.onnx_counts import count_graph
from benchmark.foreign.onnx_network import network_from_onnx
from benchmark.foreign.onnx_runtime import check_against_runtime
from benchmark.results.external import GraphPart

RUNTIME_IMAGES = 64  # images at most on which ONNX Runtime is compared


@dataclass(frozen=True)
class OnnxArtifact:
    """A network from an ONNX file, with its counts."""

    network: FileNetwork  # in eval mode; maps (B, C, H, W) float32 images to (B, classes) logits
    content: bytes
    graph: GraphPart
    weights_sha256: str
    layers: tuple[Tensor, ...]  # weights, in the order of the graph
    image_shape: tuple[int, int, int]  # channels, height, width
    sha256: str

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return len(self.content)


def onnx_artifact(content: bytes) -> OnnxArtifact:
    """Check, count and read an ONNX file; nothing but its operators is executed.

    Raises:
        UserError: if it breaks a rule of `onnx_bounds`, or cannot be read.
    """
    counted = count_graph(checked_graph(content))
    network = network_from_onnx(content)
    sides = tuple(side or 0 for side in network.input_shape[1:])
    if len(sides) != 3:
        raise UserError(f"the ONNX file takes images of {len(sides)} axes; channels, height and width are needed")
    return OnnxArtifact(
        network=network,
        content=content,
        graph=counted.part,
        weights_sha256=counted.weights_sha256,
        layers=counted.weights,
        image_shape=sides,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def read_onnx_artifact(path: Path) -> OnnxArtifact:
    """Read the ONNX file of a row.

    Raises:
        UserError: if it is no plain file of at most 500 MB, breaks a rule, or cannot be read.
    """
    content = read_plain(path, MAX_BYTES)
    if content is None and not path.exists():
        raise UserError(f"there is no file {path}; give an id, a run, or the path of a file")
    if content is None:
        raise UserError(f"{path} is not a plain file of at most {MAX_BYTES:,} bytes; fetch the ONNX file of the row")
    try:
        return onnx_artifact(content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def runtime_problem(artifact: OnnxArtifact, images: Tensor) -> str:
    """Return why ONNX Runtime does not compute the network that is attacked; empty if it does.

    Args:
        artifact: the file.
        images: (B, C, H, W) float32.
    """
    try:
        return check_against_runtime(artifact.network, artifact.content, images[:RUNTIME_IMAGES]) or ""
    except UserError as error:
        return str(error)
