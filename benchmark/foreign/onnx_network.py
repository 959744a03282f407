"""Reads an ONNX file as a network that gradients flow through. Needs the extra `onnx`.

The graph is rebuilt from torch's own modules by onnx2torch, and nothing but its operators is ever executed: the names
in the file, which would otherwise reach generated Python code, are replaced first.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import nn

from benchmark.errors import UserError
from benchmark.evaluation.measurable import cause_of
from benchmark.foreign.file_network import FileNetwork, Shape, shown_shape, takes_any_batch
from benchmark.foreign.onnx_rewriting import readable, with_any_batch
from benchmark.foreign.torchvision_package import import_torchvision

if TYPE_CHECKING:
    import onnx

EXTRA = "pip install -e '.[onnx]'"


def network_from_onnx(content: bytes) -> FileNetwork:
    """Return the network of an ONNX file, in eval mode and without gradients for its weights.

    It maps float32 images, (B, C, H, W) unless the file declares another order, to (B, classes) logits, whatever number
    of images the file was exported for.

    Args:
        content: the whole file, with its weights.

    Raises:
        UserError: if the package is missing, or if the file cannot be read: other inputs than one batch of
            floating-point images, several outputs, weights in other files, operators outside of the standard, or
            operators that onnx2torch lacks.
    """
    proto = parsed(content)
    input_shape, output_shape = _interface(proto)
    graph, batch = _converted(readable(proto, is_supported), input_shape)
    network = FileNetwork(graph, input_shape, output_shape, batch)
    return network.requires_grad_(False).eval()


def parsed(content: bytes) -> onnx.ModelProto:
    """Return the parsed and checked model of an ONNX file that holds its own weights.

    Raises:
        UserError: if the package is missing, or the content is no valid ONNX file or has weights in other files.
    """
    package = needed("onnx")
    needed("onnx.checker")
    try:
        proto = package.ModelProto.FromString(content)
    except Exception:  # of the installed protobuf, whose classes differ between versions
        raise UserError("the ONNX file is damaged: it cannot be parsed; fetch or export it again") from None
    if any(tensor.data_location == package.TensorProto.EXTERNAL for tensor in tensors_of(proto)):
        raise UserError(
            "the ONNX file has its weights in another file; write them into it, by onnx.save_model(onnx.load(path), "
            "path, save_as_external_data=False)"
        )
    try:
        package.checker.check_model(proto)
    except Exception as error:  # ValidationError, and others for graphs that its parser does not expect
        raise UserError(f"the ONNX file is not valid ({cause_of(error)}); export it again") from None
    return proto  # type: ignore[no-any-return]


def tensors_of(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield all tensors of a model: weights and constants, also those inside of functions and nested graphs."""
    graphs, nodes = [proto.graph], [node for function in proto.functions for node in function.node]
    while graphs:
        graph = graphs.pop()
        yield from graph.initializer
        nodes += graph.node
        for attribute in [attribute for node in nodes for attribute in node.attribute]:
            yield from (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors)
            graphs += [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
        nodes = []


def needed(package: str) -> Any:
    """Import a package of the extra `onnx`, which are slow to import and may be missing.

    Raises:
        UserError: if it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise UserError(f"reading an ONNX file needs the package {error.name}; run: {EXTRA}") from None


def is_supported(operator: str, opset: int) -> bool:
    """Return whether onnx2torch reads an operator of the standard domain in a version of the operator set."""
    _onnx2torch()
    registry = needed("onnx2torch.node_converters.registry")
    try:
        registry.get_converter(operation_type=operator, version=opset)
    except NotImplementedError:
        return False
    return True


def _interface(proto: onnx.ModelProto) -> tuple[Shape, Shape | None]:
    """Return the declared shapes of input and output of a model with one of each, or raise UserError."""
    weights = {
        tensor.name for tensor in (*proto.graph.initializer, *(s.values for s in proto.graph.sparse_initializer))
    }
    inputs = [value for value in proto.graph.input if value.name not in weights]
    if len(inputs) != 1 or len(proto.graph.output) != 1:
        raise UserError(
            f"the ONNX graph must have one input, a batch of images, and one output, their logits; it has "
            f"{len(inputs)} and {len(proto.graph.output)}; export the network with these alone"
        )
    types_of = needed("onnx").TensorProto
    floats = (types_of.FLOAT, types_of.FLOAT16, types_of.DOUBLE, types_of.BFLOAT16)
    kind = inputs[0].type.tensor_type.elem_type
    if kind not in floats:
        name = types_of.DataType.Name(kind).lower()
        raise UserError(
            f"the ONNX file takes {name} images, but networks are measured and attacked on floating-point images in "
            "[0, 1]; export the network without the conversion from other types"
        )
    shape = _shape(inputs[0])
    if shape is None or len(shape) != 4:
        declared = "no shape" if shape is None else f"shape {shown_shape(shape)}"
        raise UserError(
            f"the ONNX file declares {declared} for its input, but a batch of images has four axes; export it with an "
            "example batch of images"
        )
    return shape, _shape(proto.graph.output[0])


def _shape(value: onnx.ValueInfoProto) -> Shape | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(
        axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else None for axis in kind.shape.dim
    )


def _converted(proto: onnx.ModelProto, shape: Shape) -> tuple[nn.Module, int | None]:
    """Return the graph as a module, and the number of images that it takes at once; None for any."""
    graph = _module(proto)
    if shape[0] is None or takes_any_batch(graph, graph, shape):
        return graph, None
    general = _module(with_any_batch(proto, shape[0]))
    return (general, None) if takes_any_batch(general, graph, shape) else (graph, shape[0])


def _module(proto: onnx.ModelProto) -> nn.Module:
    convert = _onnx2torch().convert
    try:
        return convert(proto).eval()  # type: ignore[no-any-return]
    except Exception as error:  # onnx2torch raises whatever a graph that it does not expect leads to
        raise UserError(
            f"the ONNX file cannot be read by onnx2torch ({cause_of(error)}); simplify it, for example by "
            "onnxscript.optimizer.optimize, or save the network in another format"
        ) from None


def _onnx2torch() -> Any:
    import_torchvision("torchvision", purpose="reading an ONNX file")  # onnx2torch takes two operators from it
    return needed("onnx2torch")
