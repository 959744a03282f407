"""Reads an artifact as a plain network. The file is not trusted: see `unpack`."""

from __future__ import annotations

import difflib
import hashlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from benchmark.artifact import container, rans
from benchmark.artifact.container import Tensors, refused
from benchmark.artifact.halves import from_halves
from benchmark.artifact.manifest import MAX_WEIGHTS, VERSION, Layout, Manifest, Statistics, layout, skeleton
from benchmark.artifact.measure import BadExport
from benchmark.artifact.pack import Floats, assemble
from benchmark.errors import UserError
from benchmark.files.kinds import kind_of_content
from benchmark.files.mistakes import first_mistake
from benchmark.networks.resnet import NetworkPlan, ResNet
from benchmark.results.parts import ArtifactPart


@dataclass(frozen=True)
class Artifact:
    """A network and the facts in its file.

    Attributes:
        network: plain network for images in [0, 1], float32 on the CPU, in eval mode, without gradients.
        plan: the plan that builds it.
        dataset: name of the data set it was trained for, as claimed by the file.
        image_size: (height, width) in pixels.
        statistics: storage type of batch-norm tensors.
        sha256: hash of the whole file, in hexadecimal digits.
        size_bytes: size of the whole file.
    """

    network: ResNet
    plan: NetworkPlan
    dataset: str
    image_size: tuple[int, int]
    statistics: Statistics
    sha256: str
    size_bytes: int

    @property
    def part(self) -> ArtifactPart:
        """The fields about the file in a record or an evaluation."""
        return ArtifactPart(sha256=self.sha256, size_bytes=self.size_bytes, statistics=self.statistics)


def read_artifact(path: Path) -> Artifact:
    """Read a file after checking its type and size.

    Raises:
        UserError: if there is no such file, or it is not an artifact.
    """
    try:
        if not path.is_file():
            raise UserError(_absence(path))
        if (kind := kind_of_content(path)) is not None:
            raise UserError(f"{path} is {kind.name}, not an artifact of this benchmark: {kind.action}.")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > container.MAX_BYTES:
                raise UserError(f"{path} has more than {container.MAX_BYTES:,} bytes: give the path of an artifact.")
            content = file.read(size)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check its name and its permissions.") from None
    try:
        return unpack(content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _absence(path: Path) -> str:
    """Return the message for a path that is not a file, with a suggestion if there is one."""
    if path.is_dir():
        artifacts = sorted((path / "artifacts").glob("*.safetensors"))
        hint = f", such as {artifacts[0]}" if artifacts else ""
        return f"{path} is a folder, not a file: give the path of an artifact{hint}."
    if path.is_symlink():
        return f"{path} is a broken link: {path.readlink()} does not exist; restore the file or give another artifact."
    files = [file.name for file in path.parent.glob("*") if file.is_file()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, files, n=1)
    return f"{path} is not a file: give the path of an artifact{f', perhaps {close[0]}' if close else ''}."


def unpack(content: bytes) -> Artifact:
    """Rebuild the network of an artifact.

    Nothing is executed. The seal is checked first, and sizes are compared with the architecture before memory is
    allocated. Packing the network again must give `content`, so only files that `pack` can write are accepted.

    Raises:
        UserError: for any other content.
    """
    text, tensors = container.read(content)
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        problem = first_mistake(error)
        if error.errors()[0]["loc"] == ("version",):
            problem = f"this program reads version {VERSION} of the format only"
        raise refused(f"its manifest is wrong ({problem})") from None
    plan = manifest.plan()
    shapes = layout(plan, affine=manifest.affine)
    if sum(shapes.sizes) > MAX_WEIGHTS:
        raise refused(f"its network has {sum(shapes.sizes):,} weights, more than {MAX_WEIGHTS:,}")
    _check(tensors, manifest, shapes)
    state = _weights(tensors, shapes) | _norms(tensors, shapes)
    try:
        again = assemble(manifest, shapes, state)
    except BadExport as error:
        raise refused(f"its network is invalid ({error})") from None
    if again != content:
        raise refused("it writes its network in another way than the format requires")
    return Artifact(
        network=_build(plan, state, affine=manifest.affine),
        plan=plan,
        dataset=manifest.dataset,
        image_size=manifest.image_size,
        statistics=manifest.statistics,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


def _check(tensors: Tensors, manifest: Manifest, shapes: Layout) -> None:
    """Refuse tensors whose types, shapes or counts do not fit the architecture or each other."""
    halves = manifest.statistics == "float16"
    if tensors["norm"].dtype != ("<f2" if halves else "<f4"):
        raise refused(f"tensor norm is not of the manifest's type {manifest.statistics}")
    count = len(shapes.convolutions)
    fixed = {
        "kept": (count,),
        "levels": (count, 2),
        "norm": (sum(math.prod(shape) for shape in shapes.norms.values()),),
        "exponents": (len(shapes.norms) if halves else 0,),
    }
    for name, shape in fixed.items():
        _check_shape(tensors, name, shape)
    kept, levels = tensors["kept"].astype(np.int64), tensors["levels"]
    if (kept > shapes.sizes).any():
        raise refused("a layer keeps more weights than it has")
    if not np.isfinite(levels).all():
        raise refused("a level is not finite")
    filled = np.count_nonzero(levels, axis=1)
    if (filled[kept == 0] > 0).any() or ((levels[:, 0] == 0) & (levels[:, 1] != 0)).any():
        raise refused("a level is zero or belongs to no weight")
    _check_shape(tensors, "values", (int(kept[filled == 0].sum()),))
    _check_shape(tensors, "signs", (math.ceil(int(kept[filled == 2].sum()) / 8),))
    if tensors["positions"].ndim != 1:
        raise refused("tensor positions has more than one dimension")


def _check_shape(tensors: Tensors, name: str, shape: tuple[int, ...]) -> None:
    if tensors[name].shape != shape:
        raise refused(f"tensor {name} has shape {tensors[name].shape}, but its network needs {shape}")


def _weights(tensors: Tensors, shapes: Layout) -> dict[str, Floats]:
    """Return the weight of every convolution."""
    kept = tensors["kept"].tolist()
    filled = np.count_nonzero(tensors["levels"], axis=1).tolist()
    masks = _masks(tensors["positions"], shapes.sizes, kept)
    signs = np.unpackbits(tensors["signs"])
    used = sum(count for count, levels in zip(kept, filled, strict=True) if levels == 2)
    if signs[used:].any():
        raise refused("unused bits of tensor signs are set")
    values, position, sign, weights = tensors["values"], 0, 0, {}
    for (name, shape), count, pair, levels, mask in zip(
        shapes.convolutions.items(), kept, tensors["levels"], filled, masks, strict=True
    ):
        flat = np.zeros(math.prod(shape), np.float32)
        if levels == 0:
            flat[mask] = values[position : position + count]
            position += count
        elif levels == 1:
            flat[mask] = pair[0]
        else:
            flat[mask] = pair[signs[sign : sign + count]]
            sign += count
        weights[name] = flat.reshape(shape)
    return weights


def _masks(stream: NDArray[np.uint8], sizes: list[int], kept: list[int]) -> Iterator[NDArray[np.bool_]]:
    """Yield the mask of every convolution; full and empty ones are not in the stream, which is decoded first."""
    masked = [(size, count) for size, count in zip(sizes, kept, strict=True) if 0 < count < size]
    try:
        decoded = iter(rans.decode(stream.tobytes(), [size for size, _ in masked], [count for _, count in masked]))
    except rans.BadStream as error:
        raise refused(f"its masks cannot be decoded ({error})") from None
    for size, count in zip(sizes, kept, strict=True):
        yield next(decoded) if 0 < count < size else np.full(size, count == size)


def _norms(tensors: Tensors, shapes: Layout) -> dict[str, Floats]:
    """Return the tensors of batch norm."""
    ends = np.cumsum([math.prod(shape) for shape in shapes.norms.values()])
    parts: list[NDArray[Any]] = np.split(tensors["norm"], ends[:-1])
    if len(tensors["exponents"]):
        exponents = tensors["exponents"].tolist()
        parts = [from_halves(part, exponent) for part, exponent in zip(parts, exponents, strict=True)]
    return {name: part.astype(np.float32) for name, part in zip(shapes.norms, parts, strict=True)}


def _build(plan: NetworkPlan, state: dict[str, Floats], *, affine: bool) -> ResNet:
    """Return the network that `plan` builds, with these arrays."""
    network = skeleton(plan, affine=affine)
    tensors = {name: torch.from_numpy(values) for name, values in state.items()}
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensors[name] = torch.zeros((), dtype=value.dtype)
    tensors["normalize.mean"] = torch.tensor(plan.mean).view(-1, 1, 1)
    tensors["normalize.std"] = torch.tensor(plan.std).view(-1, 1, 1)
    network.load_state_dict(tensors, assign=True)
    network.requires_grad_(False).eval()
    return network
