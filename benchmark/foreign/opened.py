"""Opens a network from a file of any supported kind, which is recognised by its content."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.artifact.unpack import Artifact, read_artifact
from benchmark.data.load import ImageInfo
from benchmark.errors import UserError
from benchmark.evaluation.measurable import cause_of
from benchmark.files import kinds
from benchmark.foreign.checkpoints.opening import open_checkpoint
from benchmark.foreign.exported_program import network_from_exported
from benchmark.foreign.factories import known_architectures, network_of_state
from benchmark.foreign.file_network import FileNetwork, Shape, shown_shape
from benchmark.foreign.onnx_content import self_contained
from benchmark.foreign.onnx_network import network_from_onnx
from benchmark.foreign.onnx_runtime import check_against_runtime
from benchmark.foreign.preprocessing import Reading, check_channels, preprocessed
from benchmark.results.foreign import ForeignKind, ForeignPart, network_name
from benchmark.results.parts import ArtifactPart

ARTIFACT = "artifact"
_KINDS: dict[str, ForeignKind] = {
    kinds.ONNX_NETWORK: "onnx",
    kinds.TORCHSCRIPT: "torchscript",
    kinds.EXPORTED: "torch.export",
    kinds.CHECKPOINT: "state dict",
    kinds.OLD_CHECKPOINT: "state dict",
}


@dataclass(frozen=True)
class OpenedNetwork:
    """A network from a file, with what identifies it.

    Attributes:
        network: maps any number of (B, C, H, W) images in [0, 1] to (B, classes) logits; in eval mode where it has one.
        kind: of the file.
        path: of the file.
        sha256: of the file, and of files beside it that hold its weights.
        size_bytes: of all that was read.
        reading: how the file was read.
        arch_sha256: of the source of a factory; None without one.
        artifact: the file as an artifact of this project; None for other kinds.
        notes: sentences about how the network is treated differently from others.
    """

    network: nn.Module
    kind: str
    path: Path
    sha256: str
    size_bytes: int
    reading: Reading
    arch_sha256: str | None = None
    artifact: Artifact | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Beginning of the names of result files about this network."""
        return network_name(self.sha256, self.foreign_part)

    @property
    def part(self) -> ArtifactPart:
        """The fields about the file in an evaluation."""
        if self.artifact is not None:
            return self.artifact.part
        return ArtifactPart(sha256=self.sha256, size_bytes=self.size_bytes, statistics="float32")

    @property
    def foreign_part(self) -> ForeignPart | None:
        """What an evaluation says about a network that is no artifact; None for an artifact."""
        if self.artifact is not None:
            return None
        reading = self.reading
        return ForeignPart(
            kind=next(kind for kind in _KINDS.values() if kind == self.kind),
            arch=reading.arch,
            arch_sha256=self.arch_sha256,
            mean=reading.mean,
            std=reading.std,
            nhwc=reading.nhwc,
        )


def kind_of_file(path: Path) -> str:
    """Return the kind of a file that may hold a network, by its content: `ARTIFACT`, "onnx", "state dict", ...

    Raises:
        UserError: if there is no such file, or it holds no network.
    """
    try:
        kind = kinds.kind_of_content(path) if path.is_file() else None
    except OSError:
        kind = None
    if kind is None and path.suffix == ".data" and path.is_file():
        raise UserError(f"{path} holds the weights of an ONNX file; give that file, which reads them from its folder")
    if kind is None:
        return ARTIFACT  # or nothing that is recognised, which the reader of artifacts reports
    if kind.name in _KINDS:
        return _KINDS[kind.name]
    if kind.safetensors and kind.name != kinds.ADVERSARIAL:
        return "state dict"
    raise UserError(f"{path} is {kind.name}, not a network: {kind.action}.")


def open_artifact(path: Path, reading: Reading) -> OpenedNetwork:
    """Read an artifact of this project, which needs no further options.

    Raises:
        UserError: if it is not one, or if options are given.
    """
    artifact = read_artifact(path)
    if not reading.is_default:
        raise UserError(
            f"{path} is an artifact of this benchmark, which has its architecture and normalisation inside; leave "
            "--arch, --mean, --std and --nhwc out"
        )
    return OpenedNetwork(
        artifact.network, ARTIFACT, path, artifact.sha256, artifact.size_bytes, reading, artifact=artifact
    )


def open_network(path: Path, reading: Reading, info: ImageInfo, examples: Tensor) -> OpenedNetwork:
    """Open a network of any kind.

    Args:
        path: of the file; see `kind_of_file`.
        reading: what the file does not say itself.
        info: the data set that it will be measured on.
        examples: a few of its images, (B, C, H, W) float32 in [0, 1], on which an ONNX file is tried.

    Raises:
        UserError: if the file cannot be read, or contradicts the options or the data set.
    """
    kind = kind_of_file(path)
    if kind == ARTIFACT:
        return open_artifact(path, reading)
    check_channels(reading, info.channels, info.name)
    try:
        return _opened(path, kind, reading, info, examples)
    except UserError as error:
        message = str(error)
        raise UserError(message if message.startswith(str(path)) else f"{path}: {message}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check its name and its permissions.") from None


def _opened(path: Path, kind: str, reading: Reading, info: ImageInfo, examples: Tensor) -> OpenedNetwork:
    content = path.read_bytes()
    digest, size, arch_sha256, notes = hashlib.sha256(content).hexdigest(), len(content), None, list[str]()
    if (kind == "state dict") != (reading.arch is not None):
        raise UserError(_arch_mistake(kind))
    if kind == "state dict":
        state = open_checkpoint(path).state
        assert reading.arch is not None
        network, arch_sha256 = network_of_state(
            state, reading.arch, num_classes=info.num_classes, channels=info.channels
        )
    elif kind == "torchscript":
        network = _scripted(content)
    else:
        if kind == "onnx":
            content, digest, size = self_contained(content, path)
            network = network_from_onnx(content)
        else:
            network = network_from_exported(content)
        _check_layout(network.input_shape, reading, info)
        if network.batch is not None:
            images = "image" if network.batch == 1 else "images"
            notes.append(f"the file takes exactly {network.batch} {images} at once, so batches were split or padded")
    whole = preprocessed(network, reading)
    if kind == "onnx":
        assert isinstance(network, FileNetwork)
        inside = preprocessed(nn.Identity(), reading)(examples)
        if note := check_against_runtime(network, content, inside):
            notes.append(note)
    return OpenedNetwork(whole, kind, path, digest, size, reading, arch_sha256, None, tuple(notes))


def _arch_mistake(kind: str) -> str:
    if kind == "state dict":
        return (
            "the file holds weights without a network; name its architecture by --arch (arch= in Python): "
            f"{known_architectures()}"
        )
    return "--arch names the architecture of a state dict, but this file holds the network itself; leave it out"


def _scripted(content: bytes) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about the future of TorchScript
            network: nn.Module = torch.jit.load(io.BytesIO(content), map_location="cpu")
            return network
    except Exception as error:  # RuntimeError, and others for damaged archives
        raise UserError(
            f"torch.jit.load cannot read the TorchScript network ({cause_of(error)}); save it with the installed "
            f"torch, {torch.__version__}"
        ) from None


def _check_layout(declared: Shape, reading: Reading, info: ImageInfo) -> None:
    """Refuse a file that declares images of another size or another order of axes than it will get."""
    first, last = (info.channels, info.height, info.width), (info.height, info.width, info.channels)
    given, other = (last, first) if reading.nhwc else (first, last)
    if _fits(declared, given):
        return
    shape = shown_shape(declared)
    if _fits(declared, other):
        remedy = "leave --nhwc out" if reading.nhwc else "give --nhwc (nhwc=True in Python)"
        order = "first" if reading.nhwc else "last"
        raise UserError(f"the file declares images of shape {shape}, with the channels {order}; {remedy}")
    raise UserError(
        f"the file declares images of shape {shape}, but {info.name} has images of {'x'.join(map(str, first))}; name a "
        "data set that fits it, or export the network for these images"
    )


def _fits(declared: Shape, sides: tuple[int, ...]) -> bool:
    return all(side in (None, given) for side, given in zip(declared[1:], sides, strict=True))
