"""Counts weights, operations and bytes of information of an ONNX graph that keeps the rules of `onnx_bounds`.

Layers are convolutions and products of matrices with stored weights. The same definitions as for a network in the
compressed format: `artifact.measure` and `artifact.operations`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmark.artifact.measure import FLOAT_BITS, log2_binomial
from benchmark.artifact.operations import BINARY_LEVELS
from benchmark.errors import UserError
from benchmark.foreign.onnx_bounds import tensors
from benchmark.foreign.onnx_rewriting import STANDARD
from benchmark.results.external import GraphPart
from benchmark.results.parts import LayerPart
from benchmark.runtime.hashing import tensors_sha256

if TYPE_CHECKING:
    import onnx

MAX_ACTIVATION = 2**26  # numbers of one value of the graph
MAX_MACS = 2 * 10**11  # for one image
# Give the numbers of one input again, in another shape or order.
_REARRANGING = ("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten")
_PRODUCTS = ("Conv", "Gemm", "MatMul")


@dataclass
class _Layer:
    """Stored weights, and how often each of them is used for one image."""

    name: str
    weights: np.ndarray
    uses: int = 0  # multiply-adds for each weight

    @property
    def kept(self) -> int:
        return int(np.count_nonzero(self.weights))

    @property
    def levels(self) -> int:
        return len(np.unique(self.weights[self.weights != 0]))


@dataclass
class _Count:
    layers: dict[str, _Layer] = field(default_factory=dict)  # by the name of the tensor, in the order of the graph
    other_macs: int = 0  # of products of two activations


@dataclass(frozen=True)
class Counted:
    """What was counted in a graph, and the weights of its layers, in its order, with their hash."""

    part: GraphPart
    weights: tuple[torch.Tensor, ...]
    weights_sha256: str


def count_graph(model: onnx.ModelProto) -> Counted:
    """Count a graph that `checked_graph` returned.

    Raises:
        UserError: if the shape of a value cannot be computed, a value or the number of operations is too large, or the
            graph has no layer.
    """
    stored = dict(tensors(model))
    shapes, batch = _shapes(model)
    count = _count(model, stored, shapes, batch)
    layers = list(count.layers.values())
    if not layers:
        raise UserError("the ONNX file has no convolution and no product of matrices with stored weights")
    binary = all(layer.levels <= BINARY_LEVELS for layer in layers)
    prunable, kept = sum(layer.weights.size for layer in layers), sum(layer.kept for layer in layers)
    everything = sum(values.size for values in stored.values() if values.dtype == np.float32)
    dense = count.other_macs + sum(layer.uses * layer.weights.size for layer in layers)
    if dense > MAX_MACS:
        raise UserError(f"the ONNX file needs {dense:,} multiply-adds for an image, at most {MAX_MACS:,} are allowed")
    bits = FLOAT_BITS * (everything - prunable) + sum(_bits(layer, binary=binary) for layer in layers)
    bit_operations = FLOAT_BITS * FLOAT_BITS * count.other_macs
    for layer in layers:
        weight_bits = 1 if layer.levels <= BINARY_LEVELS else FLOAT_BITS
        bit_operations += layer.uses * layer.kept * weight_bits * FLOAT_BITS
    part = GraphPart(
        opset=next(entry.version for entry in model.opset_import if entry.domain in STANDARD),
        nodes=len(model.graph.node),
        operators=sorted({node.op_type for node in model.graph.node}),
        weights="binary" if binary else "fp",
        all_parameters=everything,
        prunable_weights=prunable,
        kept_weights=kept,
        density=kept / prunable,
        density_all=(everything - prunable + kept) / everything,
        entropy_bound_bytes=math.ceil(bits / 8),
        dense_macs=dense,
        sparse_macs=count.other_macs + sum(layer.uses * layer.kept for layer in layers),
        bit_operations=bit_operations,
        layers=[LayerPart(name=layer.name, weights=layer.weights.size, kept=layer.kept) for layer in layers],
    )
    weights = tuple(torch.from_numpy(layer.weights.copy()) for layer in layers)
    return Counted(part, weights, tensors_sha256({f"{number:06}": each for number, each in enumerate(weights)}))


def _bits(layer: _Layer, *, binary: bool) -> float:
    """Return the bits that an ideal coder needs for a layer's weights, see `entropy_bound_bits`."""
    values = layer.kept + FLOAT_BITS * layer.levels if binary else FLOAT_BITS * layer.kept
    return log2_binomial(layer.weights.size, layer.kept) + values


def _count(
    model: onnx.ModelProto, stored: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]], batch: int
) -> _Count:
    count = _Count()
    roots = {name: name for name, values in stored.items() if values.dtype == np.float32}
    used = dict.fromkeys(_PRODUCTS, 0)
    for node in model.graph.node:
        if node.op_type in _REARRANGING and node.input[0] in roots:
            roots[node.output[0]] = roots[node.input[0]]
        if node.op_type not in _PRODUCTS:
            continue
        outputs = math.prod(shapes[node.output[0]]) // batch
        place = next((place for place in (1, 0) if node.input[place] in roots), None)
        if place is None:
            count.other_macs += outputs * shapes[node.input[0]][-1]
            continue
        root, shape = roots[node.input[place]], shapes[node.output[0]]
        # Each output is a sum over the weights of its channel, so that `channels` outputs use every weight once.
        channels = shape[1] if node.op_type == "Conv" else shape[-1] if place or len(shape) < 2 else shape[-2]
        if root not in count.layers:
            used[node.op_type] += 1
            count.layers[root] = _Layer(f"{node.op_type.lower()}{used[node.op_type]}", stored[root])
        count.layers[root].uses += max(outputs // max(channels, 1), 1)
    return count


def _shapes(model: onnx.ModelProto) -> tuple[dict[str, tuple[int, ...]], int]:
    """Return the shape of every value, and the number of images that it is for: one, unless the file fixes another.

    Nothing is computed for it, so that a value too large to compute is refused before.
    """
    from onnx.shape_inference import InferenceError, infer_shapes

    copy = type(model).FromString(model.SerializeToString())
    stored = {tensor.name for tensor in copy.graph.initializer}
    (images,) = (value for value in copy.graph.input if value.name not in stored)
    first = images.type.tensor_type.shape.dim[0]
    batch = first.dim_value if first.HasField("dim_value") and first.dim_value > 0 else 1
    first.dim_value = batch
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        inferred = infer_shapes(copy, strict_mode=True, data_prop=True)
    except (InferenceError, ValueError, RuntimeError) as error:
        cause = (str(error).strip().splitlines() or ["unknown"])[-1][:200]
        raise UserError(f"the ONNX file's shapes do not fit together ({cause})") from None
    shapes = {tensor.name: tuple(tensor.dims) for tensor in inferred.graph.initializer}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        axes = value.type.tensor_type.shape.dim
        if all(axis.HasField("dim_value") for axis in axes) and value.type.tensor_type.HasField("shape"):
            shapes[value.name] = tuple(axis.dim_value for axis in axes)
    for node in inferred.graph.node:
        for name in filter(None, node.output):
            if name not in shapes:
                raise UserError(
                    f"the shape of an output of a {node.op_type} in the ONNX file cannot be computed beforehand"
                )
            if (size := math.prod(shapes[name])) > MAX_ACTIVATION:
                raise UserError(
                    f"a {node.op_type} in the ONNX file gives {size:,} numbers, at most {MAX_ACTIVATION:,} are allowed"
                )
    return shapes, batch
