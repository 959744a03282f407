"""Writes an exported network as an artifact, the file that is published and evaluated. See docs/artifact-format.md.

A convolution with at most two nonzero values is stored as these values and one bit per kept weight, any other as its
kept weights in float32; their positions are entropy-coded. `benchmark.artifact.unpack` is the exact inverse.
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

from benchmark.artifact import container, rans
from benchmark.artifact.halves import from_halves, to_halves
from benchmark.artifact.manifest import MAX_WEIGHTS, Layout, Manifest, Statistics, layout, make_manifest, skeleton
from benchmark.artifact.measure import BadExport
from benchmark.files.mistakes import first_mistake
from benchmark.networks.resnet import NetworkPlan
from benchmark.results.store import write_atomic

Floats = NDArray[np.float32]
# The attributes that a layer's output depends on. Momentum is not included, as it matters only in training.
_SETTINGS = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode", "num_features", "eps")


def pack(
    network: nn.Module,
    plan: NetworkPlan,
    *,
    dataset: str,
    image_size: tuple[int, int],
    statistics: Statistics = "float32",
) -> bytes:
    """Return the artifact of a network; the same network always gives the same bytes.

    A weight of -0.0 is stored as 0.0. The step counters of batch norm, which matter only in training, are not stored.

    Args:
        network: built by `plan` with plain convolutions and BatchNorm2d, all or none of them affine, in float32.
        plan: plan of the network itself, so the narrowed plan if a method made it smaller.
        dataset: name of the data set it was trained for.
        image_size: (height, width) in pixels.
        statistics: storage type of batch-norm tensors; float16 rounds them to eleven significant bits.

    Raises:
        BadExport: if the network differs from what `plan` builds, a value is not finite, a variance is negative or a
            field is out of the format's range.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    affine = any(norm.affine for norm in norms)
    try:
        manifest = make_manifest(plan, dataset=dataset, image_size=image_size, statistics=statistics, affine=affine)
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
        BadExport: if a value is not finite or a variance is negative.
    """
    for name in [*shapes.convolutions, *shapes.norms]:
        if not np.isfinite(state[name]).all():
            raise BadExport(f"exported tensor {name} holds values that are not finite")
        if name.endswith("running_var") and (state[name] < 0).any():
            raise BadExport(f"exported tensor {name} holds a negative variance")
    convolutions = [state[name].reshape(-1) for name in shapes.convolutions]
    norms = [state[name] for name in shapes.norms]
    return container.write(manifest.text(), _weight_tensors(convolutions) | _norm_tensors(norms, manifest.statistics))


def write_artifact(path: Path, content: bytes) -> None:
    """Write what `pack` returned, completely or not at all; missing folders are created."""
    write_atomic(path, content)


def distinct(values: Floats) -> list[np.float32]:
    """Return the distinct numbers of an array in ascending order, or any three of them if there are more than two."""
    numbers: list[np.float32] = []
    rest = values
    while len(rest) and len(numbers) < 3:
        numbers.append(rest[0])
        rest = rest[rest != rest[0]]
    return sorted(numbers)


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


def _weight_tensors(convolutions: list[Floats]) -> container.Tensors:
    kept, levels, signs, values, masks = [], [], [], [], []
    for weights in convolutions:
        mask = weights != 0.0
        nonzero = weights[mask]
        numbers = distinct(nonzero)
        kept.append(len(nonzero))
        levels.append((numbers + [np.float32(0.0)] * 2)[:2] if len(numbers) < 3 else [np.float32(0.0)] * 2)
        if len(numbers) == 2:
            signs.append(nonzero == numbers[1])
        elif len(numbers) == 3:
            values.append(nonzero)
        if 0 < len(nonzero) < len(weights):
            masks.append(mask)
    return {
        "kept": np.array(kept, "<u4"),
        "levels": np.array(levels, "<f4"),
        "values": np.concatenate([np.empty(0, "<f4"), *values]).astype("<f4"),
        "signs": np.packbits(np.concatenate([np.empty(0, np.bool_), *signs])),
        "positions": np.frombuffer(rans.encode(masks), np.uint8),
    }


def _norm_tensors(tensors: list[Floats], statistics: Statistics) -> container.Tensors:
    if statistics == "float32":
        return {"norm": np.concatenate(tensors).astype("<f4"), "exponents": np.empty(0, np.int8)}
    halves = [to_halves(values) for values in tensors]
    if not all(np.isfinite(from_halves(*rounded)).all() for rounded in halves):
        raise BadExport("a batch-norm value rounded to eleven bits is beyond float32's range")
    return {
        "norm": np.concatenate([values for values, _ in halves]).astype("<f2"),
        "exponents": np.array([exponent for _, exponent in halves], np.int8),
    }
