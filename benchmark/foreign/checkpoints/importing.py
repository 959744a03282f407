"""Imports a public checkpoint: from its file and the config beside it to a plain network with normalisation inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from benchmark.artifact.measure import BadExport
from benchmark.artifact.onnx_file import check_target, export_onnx
from benchmark.artifact.pack import pack, write_artifact
from benchmark.data.catalog import DATASETS
from benchmark.errors import UserError
from benchmark.foreign.architectures import load_strictly, suite_resnet, torchvision_resnet
from benchmark.foreign.checkpoints.facts import (
    architecture_of,
    channels_of,
    classes_of,
    dataset_of,
    size_of,
    statistics_of,
)
from benchmark.foreign.checkpoints.layout import Layout, Statistics
from benchmark.foreign.checkpoints.masks import check_density
from benchmark.foreign.checkpoints.named_layouts import get_layout
from benchmark.foreign.checkpoints.opening import open_checkpoint
from benchmark.foreign.checkpoints.plausibility import check_normalisation
from benchmark.foreign.checkpoints.settings import Settings, check_names, parse_given, read_settings
from benchmark.foreign.factories import network_of_state
from benchmark.networks.resnet import NetworkPlan, Normalize

MEAN, STD = "normalize.mean", "normalize.std"  # keys of the suite's networks


@dataclass(frozen=True)
class ImportRequest:
    """What to import, as typed.

    Attributes:
        checkpoint: the file.
        layout: name of the layout, a value of `--from`.
        config: the run's own settings; None for a file beside the checkpoint, if there is one.
        arch: a name of `architectures.NAMES`, or a function of the user's as for `network_of_state`; None for the
            checkpoint's or the config's own.
        density: share of kept weights; None for the config's.
        given: further settings as NAME=VALUE.
        mean: of each channel, or one for all, of pixels in [0, 1]; None for the config's.
        std: as `mean`.
        dataset: name of the data set that it was trained for; None for the config's.
        image_size: height and width in pixels; None for those of the data set.
    """

    checkpoint: Path
    layout: str
    config: Path | None = None
    arch: str | None = None
    density: float | None = None
    given: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    dataset: str | None = None
    image_size: int | None = None


@dataclass(frozen=True)
class Imported:
    """A plain network from a checkpoint.

    Attributes:
        network: maps (B, C, H, W) images in [0, 1] to (B, classes) logits; on the CPU, in eval mode.
        plan: the plan that builds it, if it is one of the suite's networks; else None.
        arch: name of the architecture.
        dataset: name of the data set that it was trained for.
        image_size: (height, width) in pixels.
        normalisation: mean and standard deviation of each channel, inside the network.
        density: share of kept weights in the masked layers; None if none is masked.
        config: the file with the run's settings; None if there was none.
        notes: sentences about what could not be known.
    """

    network: nn.Module
    plan: NetworkPlan | None
    arch: str
    dataset: str
    image_size: tuple[int, int]
    normalisation: Statistics
    density: float | None
    config: Path | None
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return what was imported, in sentences."""
        height, width = self.image_size
        mean, std = (", ".join(f"{value:g}" for value in values) for values in self.normalisation)
        source = "no config beside the checkpoint" if self.config is None else f"settings from {self.config}"
        masked = "no masks" if self.density is None else f"{100 * self.density:.4g}% of the masked layers' weights kept"
        return [
            f"{self.arch} for {self.dataset} ({height}x{width}), {masked}; {source}",
            "images in [0, 1] are taken as they are"
            if _is_identity(self.normalisation)
            else f"images in [0, 1] are normalised inside: mean {mean}, std {std}",
            *(f"note: {note}" for note in self.notes),
        ]


def import_checkpoint(request: ImportRequest) -> Imported:
    """Open a checkpoint, fold its masks, and load every one of its tensors into a plain network.

    Raises:
        UserError: if it cannot be read, a tensor is missing or unused, something that decides the network is neither in
            the checkpoint, its config nor the request, or these contradict each other.
    """
    layout = get_layout(request.layout)
    checkpoint = open_checkpoint(request.checkpoint, wrappers=layout.wrappers)
    settings = _settings(request, layout)
    folded = layout.fold(checkpoint, settings)
    arch = architecture_of(request.arch, checkpoint.arch, settings, layout)
    dataset = dataset_of(request.dataset, settings, layout)
    size = size_of(dataset, request.image_size, arch)
    state, stored = _here(folded.state, layout, arch)
    channels, classes = channels_of(state, dataset), classes_of(state, dataset)
    source = None if stored else settings.source
    statistics = statistics_of(request.mean, request.std, stored or folded.normalisation, source, channels)
    network, plan = _network(arch, classes, statistics, state)
    facts = DATASETS.get(dataset)
    if facts is not None:
        check_normalisation(network, statistics, facts)
    return Imported(
        network=network,
        plan=plan,
        arch=arch,
        dataset=dataset,
        image_size=(size, size),
        normalisation=statistics,
        density=folded.density,
        config=settings.source,
        notes=folded.notes,
    )


def _settings(request: ImportRequest, layout: Layout) -> Settings:
    """Return the config's settings with those of the request."""
    settings = read_settings(request.checkpoint, request.config, layout.settings)
    if layout.density is not None:
        stored = settings.number(layout.density)
        if stored is not None and not 0 < stored <= 1:  # a default that the command line replaces, such as -1
            settings = Settings({**settings.values, layout.density: None}, settings.source)
    given = dict(parse_given(text) for text in request.given)
    check_names(given, layout.settings, layout.name)
    for name, value in given.items():
        settings = settings.with_given(name, value, f"--set {name}={value}")
    if request.density is None:
        return settings
    if layout.density is None:
        raise UserError(f"--k {request.density:g}: the layout {layout.name} has no masks; leave the option out")
    check_density(request.density, "--k")
    return settings.with_given(layout.density, request.density, f"--k {request.density:g}")


def _here(folded: Mapping[str, Tensor], layout: Layout, arch: str) -> tuple[dict[str, Tensor], Statistics | None]:
    """Return the state dict under this project's key names, and the normalisation if the tensors include it."""
    state = dict(folded)
    if arch in suite_resnet.NAMES:
        for old, new in layout.renamed.items():
            state = {new + key.removeprefix(old) if key.startswith(old) else key: state[key] for key in state}
        if {MEAN, STD} <= state.keys():
            mean, std = (tuple(state.pop(key).flatten().tolist()) for key in (MEAN, STD))
            return state, (mean, std)
    head = state.get("fc.weight")
    if arch in torchvision_resnet.NAMES and head is not None and head.ndim == 4:
        state["fc.weight"] = head.flatten(1)  # a 1x1 convolution of one pixel is a linear layer
    return state, None


def _network(
    arch: str, classes: int, statistics: Statistics, state: dict[str, Tensor]
) -> tuple[nn.Module, NetworkPlan | None]:
    """Return the network with its normalisation inside, and its plan if it is one of the suite's."""
    mean, std = statistics
    if arch in suite_resnet.NAMES:
        plan = suite_resnet.plan_for(arch, classes, mean, std, state)
        network = suite_resnet.network_for(plan, state)
        own = network.state_dict()
        load_strictly(network, {**state, MEAN: own[MEAN], STD: own[STD]}, name=arch)
        return network.requires_grad_(False).eval(), plan
    network, _ = network_of_state(state, arch, num_classes=classes, channels=len(mean))
    if not _is_identity(statistics):
        network = nn.Sequential(Normalize(mean, std), network)
    return network.requires_grad_(False).eval(), None


def _is_identity(statistics: Statistics) -> bool:
    mean, std = statistics
    return set(mean) == {0.0} and set(std) == {1.0}


def write_imported(imported: Imported, request: ImportRequest, path: Path) -> str:
    """Write the network: as an artifact if it is one of the suite's, else as an ONNX file.

    Returns:
        what was written, with its article.

    Raises:
        UserError: if the path's suffix is the other kind's, the file would replace the checkpoint, or the network
            cannot be written.
    """
    kind, suffix = ("an ONNX file", ".onnx") if imported.plan is None else ("an artifact", ".safetensors")
    if path.suffix != suffix:
        raise UserError(f"--out {path} must end with {suffix}, because {imported.arch} becomes {kind}; name it so")
    if path.exists() and path.samefile(request.checkpoint):
        raise UserError(f"--out {path} is the checkpoint itself; name another file")
    if imported.plan is None:
        check_target(path)
        export_onnx(imported.network, path, channels=len(imported.normalisation[0]), size=imported.image_size)
        return kind
    try:
        content = pack(imported.network, imported.plan, dataset=imported.dataset, image_size=imported.image_size)
    except BadExport as error:
        raise UserError(f"{request.checkpoint} cannot become an artifact: {error}; give another checkpoint") from None
    write_artifact(path, content)
    return kind
