"""Rewrites an ONNX graph into one that onnx2torch reads, with the same results.

Names are replaced, constants become initializers, local functions are inlined, automatic padding is written out, and
operators are converted to a version of the operator set that is supported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from benchmark.errors import UserError
from benchmark.evaluation.measurable import cause_of

if TYPE_CHECKING:
    import onnx

STANDARD = ("", "ai.onnx")
OPSETS = (17, 13)  # of whose operators onnx2torch lacks fewest; newer files are converted to these
_VALUES = {"value": None, "value_float": np.float32, "value_floats": np.float32, "value_int": np.int64}
_VALUES |= {"value_ints": np.int64}


def readable(proto: onnx.ModelProto, is_supported: Callable[[str, int], bool]) -> onnx.ModelProto:
    """Return a model with the same results that onnx2torch reads; `proto` is not changed.

    Args:
        proto: a checked model.
        is_supported: says whether an operator of the standard domain is supported in a version of the operator set.

    Raises:
        UserError: if it has operators that are not standard, or not supported in any version.
    """
    from onnx.inliner import inline_local_functions

    copy = _copy(proto)
    if copy.functions:
        copy = inline_local_functions(copy)
    _refuse(copy)
    proto = _with_supported_operators(copy, is_supported)
    _constants_to_initializers(proto.graph)
    proto = _with_explicit_padding(proto)
    _without_zero_lengths(proto.graph)
    for number, node in enumerate(proto.graph.node):
        node.name = f"node_{number}"  # becomes a name in generated Python code
    return proto


def with_any_batch(proto: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """Return a copy of a model whose reshapes keep the first axis where they would set it to a fixed batch size."""
    from onnx import numpy_helper
    from onnx.shape_inference import infer_shapes

    copy = _copy(proto)
    lengths = _shapes(infer_shapes(copy))
    weights = {tensor.name: tensor for tensor in copy.graph.initializer}
    for number, node in enumerate(copy.graph.node):
        if node.op_type != "Reshape" or node.input[1] not in weights:
            continue
        shape = numpy_helper.to_array(weights[node.input[1]]).copy()
        if shape.size > 1 and shape[0] == batch and lengths.get(node.input[0], [None])[0] == batch:
            shape[0] = 0  # keeps the axis of the input
            name = f"shape_of_any_batch_{number}"
            copy.graph.initializer.append(numpy_helper.from_array(shape, name))
            node.input[1] = name
    return copy


def _copy(proto: onnx.ModelProto) -> onnx.ModelProto:
    copy = type(proto)()
    copy.CopyFrom(proto)
    return copy


def _refuse(proto: onnx.ModelProto) -> None:
    """Raise UserError for what is not standard, has no meaning in a trained network or would be left out."""
    for entry in proto.opset_import:
        entry.domain = "" if entry.domain in STANDARD else entry.domain
    if proto.graph.sparse_initializer:
        raise UserError(
            "the ONNX file has sparse initializers, which onnx2torch does not read; export it with dense ones"
        )
    others = set()
    for node in proto.graph.node:
        if node.domain not in STANDARD:
            others.add(f"{node.domain}.{node.op_type}")
        node.domain = ""
        training = [attribute.i for attribute in node.attribute if attribute.name == "training_mode"]
        if node.op_type == "BatchNormalization" and any(training):
            raise UserError("the ONNX file was exported in training mode; export the network in eval mode")
    if others:
        raise UserError(
            f"the ONNX file uses {_listed(others)}, outside of the standard domain of ONNX; export the network with "
            "standard operators"
        )


def _with_supported_operators(proto: onnx.ModelProto, is_supported: Callable[[str, int], bool]) -> onnx.ModelProto:
    from onnx.version_converter import convert_version

    def unsupported(model: onnx.ModelProto) -> set[str]:
        (opset,) = (entry.version for entry in model.opset_import if entry.domain == "")
        return {node.op_type for node in model.graph.node if not is_supported(node.op_type, opset)}

    if not (missing := unsupported(proto)):
        return proto
    problem = ""
    for opset in OPSETS:
        try:
            converted = convert_version(proto, opset)
        except Exception as error:  # the converter lacks a step for one of the operators
            problem = problem or f" ({cause_of(error)})"
            continue
        if not (left := unsupported(converted)):
            return converted
        missing = left
    raise UserError(
        f"the ONNX file uses {_listed(missing)}, which onnx2torch cannot read{problem}; export the network with other "
        "operators, or save it as TorchScript or by torch.export"
    )


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    """Turn constants, and other names for initializers, into initializers, which onnx2torch needs as weights."""
    from onnx import numpy_helper

    outputs = {value.name for value in graph.output}
    weights = {tensor.name for tensor in graph.initializer}
    aliases: dict[str, str] = {}
    kept = []
    for node in graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = aliases.get(name, name)
        attribute = node.attribute[0] if node.op_type == "Constant" else None
        if attribute is not None and attribute.name in _VALUES and node.output[0] not in outputs:
            tensor = attribute.t
            if (kind := _VALUES[attribute.name]) is not None:
                values = {"f": attribute.f, "s": attribute.floats, "i": attribute.i, "n": attribute.ints}
                chosen = {"value_float": "f", "value_floats": "s", "value_int": "i", "value_ints": "n"}[attribute.name]
                tensor = numpy_helper.from_array(np.array(values[chosen], kind))
            graph.initializer.add().CopyFrom(tensor)
            graph.initializer[-1].name = node.output[0]
            weights.add(node.output[0])
        elif node.op_type == "Identity" and node.input[0] in weights and node.output[0] not in outputs:
            aliases[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    nodes = [type(node).FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(nodes)


def _without_zero_lengths(graph: onnx.GraphProto) -> None:
    """Remove what allows reshapes to make axes of length zero, which no network needs, unless a constant shape does."""
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Reshape":
            continue
        shape = numpy_helper.to_array(weights[node.input[1]]) if node.input[1] in weights else ()
        for attribute in [each for each in node.attribute if each.name == "allowzero" and 0 not in shape]:
            node.attribute.remove(attribute)


def _with_explicit_padding(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Write out the padding of convolutions and pools that is given as SAME_UPPER or SAME_LOWER."""
    from onnx.helper import make_attribute
    from onnx.shape_inference import infer_shapes

    lengths = _shapes(infer_shapes(proto))
    for node in proto.graph.node:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        mode = attributes["auto_pad"].s.decode() if "auto_pad" in attributes else "NOTSET"
        if node.op_type not in ("Conv", "MaxPool", "AveragePool") or not mode.startswith("SAME"):
            continue
        sides = lengths.get(node.input[0], [])[2:]
        kernel = list(attributes["kernel_shape"].ints) if "kernel_shape" in attributes else lengths[node.input[1]][2:]
        pads = _same_padding(sides, kernel, attributes, lower=mode == "SAME_LOWER")
        node.attribute.remove(attributes["auto_pad"])
        if "pads" in attributes:
            node.attribute.remove(attributes["pads"])
        node.attribute.append(make_attribute("pads", pads))
    return proto


def _same_padding(
    sides: list[int | None], kernel: list[int | None], attributes: dict[str, onnx.AttributeProto], *, lower: bool
) -> list[int]:
    """Return the padding before every side, then that after it, for an output of ceil(side / stride)."""
    ones = [1] * len(kernel)
    strides = list(attributes["strides"].ints) if "strides" in attributes else ones
    dilations = list(attributes["dilations"].ints) if "dilations" in attributes else ones
    before, after = [], []
    for side, window, stride, dilation in zip(sides, kernel, strides, dilations, strict=False):
        if side is None or window is None:
            raise UserError(
                "the ONNX file pads automatically (auto_pad) images of a size that it does not declare; export it for "
                "images of a fixed height and width"
            )
        total = max((-(-side // stride) - 1) * stride + dilation * (window - 1) + 1 - side, 0)
        small, large = total // 2, total - total // 2
        before.append(large if lower else small)
        after.append(small if lower else large)
    return before + after


def _shapes(proto: onnx.ModelProto) -> dict[str, list[int | None]]:
    """Return the lengths of the axes of all values whose shape is inferred; None for an axis of any length."""
    shapes: dict[str, list[int | None]] = {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}
    for value in (*proto.graph.input, *proto.graph.value_info, *proto.graph.output):
        if value.type.tensor_type.HasField("shape"):
            axes = value.type.tensor_type.shape.dim
            shapes[value.name] = [axis.dim_value if axis.HasField("dim_value") else None for axis in axes]
    return shapes


def _listed(operators: set[str]) -> str:
    names = sorted(operators)
    return f"the operator{'s' if len(names) > 1 else ''} {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
