"""Writes an exported network as an artifact, the file that is published and evaluated. See docs/artifact-format.md.

A convolution with at most two nonzero values is stored as these values and one bit per kept weight, any other as its
kept weights in float32, or neither is stored if a seed gives them again; the positions of the kept weights, or groups
of weights, are entropy-coded. `benchmark.artifact.unpack` is the exact inverse.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from benchmark.artifact import container
from benchmark.artifact.manifest import MAX_WEIGHTS, Layout, Manifest, Statistics, layout, make_manifest, skeleton
from benchmark.artifact.measure import BadExport
from benchmark.artifact.stored_norms import norm_tensors
from benchmark.artifact.stored_weights import weight_tensors
from benchmark.files.mistakes import first_mistake
from benchmark.networks.resnet import NetworkPlan
from benchmark.results.fields import Granularity
from benchmark.results.store import write_atomic
from methods.counted import Drawn

# The attributes that a layer's output depends on. Momentum is not included, as it matters only in training.
_SETTINGS = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode", "num_features", "eps")


def pack(
    network: nn.Module,
    plan: NetworkPlan,
    *,
    dataset: str,
    image_size: tuple[int, int],
    statistics: Statistics = "float32",
    granularity: Granularity = "weight",
    drawn: Drawn | None = None,
) -> bytes:
    """Return the artifact of a network; the same network always gives the same bytes.

    A weight of -0.0 is stored as 0.0. The step counters of batch norm, which matter only in training, are not stored.

    Args:
        network: built by `plan` with plain convolutions and BatchNorm2d, all or none of them affine, in float32.
        plan: plan of the network itself, so the narrowed plan if a method made it smaller.
        dataset: name of the data set it was trained for.
        image_size: (height, width) in pixels.
        statistics: storage type of batch-norm tensors; float16 rounds them to eleven significant bits, int8 to eight.
        granularity: what the masks keep or drop together.
        drawn: how the kept weights follow from a seed, so that they need not be stored; None: they are stored.

    Raises:
        BadExport: if the network differs from what `plan` builds, a value is not finite, a variance is negative, a
            field is out of the format's range, or the kept weights are not those of the seed.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    affine = any(norm.affine for norm in norms)
    try:
        manifest = make_manifest(
            plan,
            dataset=dataset,
            image_size=image_size,
            statistics=statistics,
            affine=affine,
            granularity=granularity,
            drawn=drawn,
        )
    except ValidationError as error:
        raise BadExport(f"the format cannot hold {first_mistake(error)}") from None
    shapes = layout(plan, affine=affine)
    if sum(shapes.sizes) > MAX_WEIGHTS:
        raise BadExport(f"the network has {sum(shapes.sizes):,} weights, but the format holds at most {MAX_WEIGHTS:,}")
    _check_structure(network, plan, affine=affine)
    state = {name: value.detach().cpu().contiguous().numpy() for name, value in network.state_dict().items()}
    return assemble(manifest, shapes, state)


def assemble(manifest: Manifest, shapes: Layout, state: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the artifact of a network's arrays.

    Args:
        manifest: description of the network.
        shapes: tensors to store, as implied by the manifest.
        state: float32 arrays of these names and shapes; others are ignored.

    Raises:
        BadExport: if a value is not finite, a variance is negative, the weights are in no groups of the granularity, or
            the kept weights are not those of the seed.
    """
    for name in [*shapes.convolutions, *shapes.norms]:
        if not np.isfinite(state[name]).all():
            raise BadExport(f"exported tensor {name} holds values that are not finite")
        if name.endswith("running_var") and (state[name] < 0).any():
            raise BadExport(f"exported tensor {name} holds a negative variance")
    norms = {name: state[name] for name in shapes.norms}
    weights = weight_tensors({name: state[name] for name in shapes.convolutions}, manifest)
    return container.write(manifest.text(), weights | norm_tensors(norms, manifest.statistics))


def write_artifact(path: Path, content: bytes) -> None:
    """Write what `pack` returned, completely or not at all; missing folders are created."""
    write_atomic(path, content)


def _check_structure(network: nn.Module, plan: NetworkPlan, *, affine: bool) -> None:
    """Refuse a network with other modules, settings or tensors than `plan` builds."""
    expected = skeleton(plan, affine=affine)
    modules, expected_modules = dict(network.named_modules()), dict(expected.named_modules())
    if modules.keys() != expected_modules.keys():
        wrong = sorted(modules.keys() ^ expected_modules.keys())
        raise BadExport(f"exported modules differ from the architecture's: {wrong[:4]}")
    for name, module in modules.items():
        if _settings(module) != _settings(expected_modules[name]):
            raise BadExport(
                f"exported module {name!r} is a {type(module).__name__} with other settings or hooks than the plain "
                f"{type(expected_modules[name]).__name__} of the architecture"
            )
    tensors, expected_tensors = _signature(network), _signature(expected)
    if tensors != expected_tensors:
        wrong = sorted({name for name, _ in tensors.items() ^ expected_tensors.items()})
        raise BadExport(f"exported tensors differ from the architecture's in name, shape or type: {wrong[:4]}")
    for name, values in (("mean", plan.mean), ("std", plan.std)):
        if not torch.equal(getattr(network.normalize, name).cpu().flatten(), torch.tensor(values)):
            raise BadExport(f"exported input normalisation has another {name} than the plan")


def _settings(module: nn.Module) -> tuple[Any, ...]:
    """Return everything except tensors that a module's output depends on."""
    hooks = bool(module._forward_hooks or module._forward_pre_hooks)
    own = tuple(getattr(module, name, None) for name in _SETTINGS)
    affine = module.affine if isinstance(module, _NormBase) else None
    return type(module), hooks, affine, own


def _signature(network: nn.Module) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    return {name: (tuple(value.shape), value.dtype) for name, value in network.state_dict().items()}
