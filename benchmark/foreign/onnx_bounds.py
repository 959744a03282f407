"""Strict rules for an ONNX file that a stranger submits: checked before a network is built from it.

The graph must be an image classifier of standard operators that onnx2torch maps and that ONNX Runtime computes alike.
Left out is everything that could hide a network or its gradients: subgraphs, functions, other files, and operators that
round, compare or choose.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from benchmark.errors import UserError
from benchmark.foreign.onnx_network import parsed
from benchmark.foreign.onnx_rewriting import STANDARD
from benchmark.foreign.onnx_wire import scan

if TYPE_CHECKING:
    import onnx

MAX_BYTES = 500_000_000  # as of an artifact in the compressed format
OPSETS = range(9, 24)  # versions of the operator set
MAX_SETTING = 2**31  # of an integer attribute; a slice may end at the largest of 32 bits
MAX_REACH = 4096  # of a kernel, stride, padding or dilation
_REACHING = ("kernel_shape", "strides", "pads", "dilations")
# Pure functions of floating-point numbers, with useful gradients.
_COMPUTING = (
    *("Add", "Sub", "Mul", "Div", "Neg", "Sqrt", "Pow", "Exp", "Erf", "Abs", "Max", "Min", "Clip"),
    *("Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh"),
    *("Softplus", "Softsign", "Softmax", "LogSoftmax", "Log", "Reciprocal", "Dropout", "Identity"),
    *("Conv", "Gemm", "MatMul", "BatchNormalization", "InstanceNormalization"),
    *("LayerNormalization", "LRN", "MaxPool", "AveragePool", "GlobalAveragePool"),
    *("ReduceMean", "ReduceSum", "ReduceMax"),
)
# Change the shape only.
_SHAPING = (
    *("Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Concat", "Split", "Slice", "Pad", "Gather"),
    *("Shape", "Constant"),
)
ALLOWED = frozenset((*_COMPUTING, *_SHAPING))


def checked_graph(content: bytes) -> onnx.ModelProto:
    """Return the parsed model of an ONNX file that keeps the rules for submitted networks.

    Raises:
        UserError: with what it holds that is not allowed, or if the extra `onnx` is not installed.
    """
    if len(content) > MAX_BYTES:
        raise UserError(f"the ONNX file has {len(content):,} bytes, at most {MAX_BYTES:,} are allowed")
    scan(content)
    model = parsed(content)
    for reason in _refusals(model):
        raise UserError(reason)
    return model


def _refusals(model: onnx.ModelProto) -> Iterator[str]:
    """Yield why a parsed model is refused; each of these may rely on those before it."""
    domains = {entry.domain: entry.version for entry in model.opset_import}
    if others := sorted(name for name in domains if name not in STANDARD):
        yield f"the ONNX file imports operators of {ascii(others[0])[:60]}, which are not of the standard domain"
    opset = max(domains.values(), default=0)
    if len(domains) != 1 or opset not in OPSETS:
        yield f"the ONNX file uses version {opset} of the operator set; {OPSETS[0]} to {OPSETS[-1]} are allowed"
    for node in model.graph.node:
        yield from _node_refusals(node, opset)
    yield from _interface_refusals(model)
    yield from _tensor_refusals(model)


def _node_refusals(node: onnx.NodeProto, opset: int) -> Iterator[str]:
    name = ascii(f"{node.domain}.{node.op_type}" if node.domain else node.op_type)[1:-1][:60]
    if node.domain not in STANDARD or node.op_type not in ALLOWED:
        yield f"the ONNX file uses the operator {name}, which a submitted network may not have"
    for attribute in node.attribute:
        if attribute.name in _REACHING and any(not 0 <= value <= MAX_REACH for value in attribute.ints):
            yield f"the ONNX file has a {name} of which {attribute.name} is {str(list(attribute.ints))[:60]}"
        integers = [attribute.i, *attribute.ints]
        if any(abs(value) > MAX_SETTING for value in integers) and node.op_type not in ("Slice", "Shape"):
            yield f"the ONNX file has a {name} with an attribute of {str(integers)[:60]}"
        if not all(map(math.isfinite, (attribute.f, *attribute.floats))):
            yield f"the ONNX file has a {name} with an attribute that is not finite"
        if attribute.name == "training_mode" and attribute.i:
            yield "the ONNX file was exported in training mode; export the network in eval mode"


def _interface_refusals(model: onnx.ModelProto) -> Iterator[str]:
    """Yield why a model does not map float32 images of one size to logits."""
    from onnx import TensorProto

    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        yield (f"the ONNX graph must have one input and one output; it has {len(inputs)} and {len(model.graph.output)}")
        return
    kind = inputs[0].type.tensor_type
    sides = [axis.dim_value for axis in kind.shape.dim]
    if kind.elem_type != TensorProto.FLOAT or len(sides) != 4 or not all(0 < side <= MAX_REACH for side in sides[1:]):
        yield (
            "the ONNX file must declare its input as float32 images (batch, channels, height, width) with all but the "
            f"batch fixed; it declares axes of {sides[:8]}"
        )


def _tensor_refusals(model: onnx.ModelProto) -> Iterator[str]:
    for name, values in tensors(model):
        if not np.isfinite(values).all():
            yield f"the weights {ascii(name)[1:-1][:60]} hold numbers that are not finite"


def tensors(model: onnx.ModelProto) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the stored tensors of a model with the names of their values, constants included."""
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        yield tensor.name, numpy_helper.to_array(tensor)
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                yield node.output[0], numpy_helper.to_array(attribute.t)
            elif attribute.name in ("value_float", "value_floats"):
                yield node.output[0], np.array(attribute.floats or [attribute.f], np.float32)
            elif attribute.name in ("value_int", "value_ints"):
                yield node.output[0], np.array(attribute.ints or [attribute.i], np.int64)
            else:
                raise UserError("the ONNX file has a constant of another kind than numbers")
