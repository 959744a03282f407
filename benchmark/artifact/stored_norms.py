"""The batch-norm tensors of an artifact: in float32, or rounded to float16 or eight bits with one exponent each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.artifact.container import Tensors, check_shape, refused
from benchmark.artifact.eight_bits import from_eight_bits, to_eight_bits
from benchmark.artifact.halves import from_halves, to_halves
from benchmark.artifact.manifest import Layout, Manifest, Statistics
from benchmark.artifact.measure import BadExport

Floats = NDArray[np.float32]
_DTYPES: dict[Statistics, str] = {"float32": "<f4", "float16": "<f2", "int8": "u1"}


def norm_tensors(norms: Mapping[str, Floats], statistics: Statistics) -> Tensors:
    """Return the tensors `norm` and `exponents` of a file for batch-norm tensors by name.

    Raises:
        BadExport: if a rounded value is beyond float32's range.
    """
    if statistics == "float32":
        return {"norm": np.concatenate(list(norms.values())).astype("<f4"), "exponents": np.empty(0, np.int8)}
    rounded: list[tuple[NDArray[Any], int]] = [_rounded(name, values, statistics) for name, values in norms.items()]
    if not all(
        np.isfinite(_restored(name, *codes, statistics)).all() for name, codes in zip(norms, rounded, strict=True)
    ):
        bits = {"float16": "eleven", "int8": "eight"}[statistics]
        raise BadExport(f"a batch-norm value rounded to {bits} bits is beyond float32's range")
    return {
        "norm": np.concatenate([codes for codes, _ in rounded]).astype(_DTYPES[statistics]),
        "exponents": np.array([exponent for _, exponent in rounded], np.int8),
    }


def check_norms(tensors: Tensors, shapes: Layout, manifest: Manifest) -> None:
    """Raise UserError for batch-norm tensors whose types or shapes do not fit the network."""
    if tensors["norm"].dtype != _DTYPES[manifest.statistics]:
        raise refused(f"tensor norm is not of the manifest's type {manifest.statistics}")
    check_shape(tensors, "norm", (sum(math.prod(shape) for shape in shapes.norms.values()),))
    check_shape(tensors, "exponents", (0 if manifest.statistics == "float32" else len(shapes.norms),))


def read_norms(tensors: Tensors, shapes: Layout, manifest: Manifest) -> dict[str, Floats]:
    """Return the batch-norm tensors by name, of tensors that `check_norms` has passed."""
    ends = np.cumsum([math.prod(shape) for shape in shapes.norms.values()])
    parts: dict[str, NDArray[Any]] = dict(zip(shapes.norms, np.split(tensors["norm"], ends[:-1]), strict=True))
    if manifest.statistics == "float32":
        return {name: part.astype(np.float32) for name, part in parts.items()}
    exponents = tensors["exponents"].tolist()
    return {
        name: _restored(name, part, exponent, manifest.statistics)
        for (name, part), exponent in zip(parts.items(), exponents, strict=True)
    }


def _rounded(name: str, values: Floats, statistics: Statistics) -> tuple[NDArray[Any], int]:
    if statistics == "float16":
        return to_halves(values)
    return to_eight_bits(values, variance=_is_variance(name))


def _restored(name: str, codes: NDArray[Any], exponent: int, statistics: Statistics) -> Floats:
    if statistics == "float16":
        return from_halves(codes, exponent)
    return from_eight_bits(codes, exponent, variance=_is_variance(name))


def _is_variance(name: str) -> bool:
    return name.endswith("running_var")
