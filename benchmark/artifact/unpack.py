"""Reads an artifact as a plain network. The file is not trusted: see `unpack`."""

from __future__ import annotations

import difflib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError

from benchmark.artifact import container
from benchmark.artifact.container import refused
from benchmark.artifact.manifest import MAX_WEIGHTS, VERSIONS, Manifest, Statistics, layout, skeleton
from benchmark.artifact.measure import BadExport
from benchmark.artifact.pack import assemble
from benchmark.artifact.stored_norms import check_norms, read_norms
from benchmark.artifact.stored_weights import Floats, check_counts, check_layers, read_weights
from benchmark.errors import UserError
from benchmark.files.kinds import kind_of_content
from benchmark.files.mistakes import first_mistake
from benchmark.networks.resnet import NetworkPlan, ResNet
from benchmark.results.fields import Granularity, StoredWeights
from benchmark.results.parts import ArtifactPart
from methods.counted import Drawn


@dataclass(frozen=True)
class Artifact:
    """A network and the facts in its file.

    Attributes:
        network: plain network for images in [0, 1], float32 on the CPU, in eval mode, without gradients.
        plan: the plan that builds it.
        dataset: name of the data set it was trained for, as claimed by the file.
        image_size: (height, width) in pixels.
        statistics: storage type of batch-norm tensors.
        granularity: what its masks keep or drop together.
        drawn: how its kept weights follow from a seed; None if they are stored.
        sha256: hash of the whole file, in hexadecimal digits.
        size_bytes: size of the whole file.
    """

    network: ResNet
    plan: NetworkPlan
    dataset: str
    image_size: tuple[int, int]
    statistics: Statistics
    granularity: Granularity
    drawn: Drawn | None
    sha256: str
    size_bytes: int

    @property
    def part(self) -> ArtifactPart:
        """The fields about the file in a record or an evaluation."""
        weights: StoredWeights = "stored" if self.drawn is None else "seed"
        return ArtifactPart(sha256=self.sha256, size_bytes=self.size_bytes, statistics=self.statistics, weights=weights)


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
            problem = f"this program reads versions {VERSIONS} of the format only"
        raise refused(f"its manifest is wrong ({problem})") from None
    plan = manifest.plan()
    shapes = layout(plan, affine=manifest.affine)
    if sum(shapes.sizes) > MAX_WEIGHTS:
        raise refused(f"its network has {sum(shapes.sizes):,} weights, more than {MAX_WEIGHTS:,}")
    check_layers(tensors, shapes, manifest)
    check_norms(tensors, shapes, manifest)
    check_counts(tensors, shapes, manifest)
    state = read_weights(tensors, shapes, manifest) | read_norms(tensors, shapes, manifest)
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
        granularity=manifest.granularity,
        drawn=manifest.drawn,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


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
