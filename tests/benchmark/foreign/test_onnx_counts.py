"""Counts of an ONNX graph are those of the network that it was exported from."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmark.errors import UserError
from benchmark.foreign.onnx_bounds import checked_graph
from benchmark.foreign.onnx_counts import count_graph


def graph_of(nodes, stored, batch="batch"):
    """Return the bytes of a graph from images of 2 x 4 x 4 to logits."""
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 2, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["images", "classes"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def convolutional(batch="batch"):
    """Return a grouped convolution with a zero and a product of matrices with two levels."""
    weight = np.arange(4 * 1 * 3 * 3, dtype=np.float32).reshape(4, 1, 3, 3)  # one of 36 is zero
    nodes = [
        helper.make_node("Conv", ["images", "w", "b"], ["c"], group=2, pads=[1, 1, 1, 1]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["logits"]),
    ]
    return graph_of(nodes, {"w": weight, "b": np.zeros(4, np.float32), "m": np.ones((64, 3), np.float32)}, batch)


@pytest.mark.parametrize("batch", ["batch", 1, 5])
def test_weights_and_operations_are_counted_for_one_image(batch):
    part = count_graph(checked_graph(convolutional(batch))).part
    assert [(layer.name, layer.weights, layer.kept) for layer in part.layers] == [
        ("conv1", 36, 35),
        ("matmul1", 192, 192),
    ]
    assert (part.all_parameters, part.weights) == (36 + 4 + 192, "fp")
    assert part.dense_macs == 16 * 36 + 192  # each weight of the convolution at 16 places
    assert part.sparse_macs == 16 * 35 + 192
    assert part.bit_operations == 32 * (32 * 16 * 35 + 192)  # one bit for a weight of two levels at most


def test_the_hash_of_the_weights_does_not_depend_on_names():
    renamed = convolutional().replace(b"logits", b"answer")
    assert (
        count_graph(checked_graph(renamed)).weights_sha256 == count_graph(checked_graph(convolutional())).weights_sha256
    )


def test_a_graph_without_layers_is_refused():
    content = graph_of([helper.make_node("GlobalAveragePool", ["images"], ["logits"])], {})
    with pytest.raises(UserError, match="no convolution"):
        count_graph(checked_graph(content))


def test_a_value_too_large_to_compute_is_refused_before_it_is_computed():
    content = graph_of(
        [helper.make_node("MatMul", ["column", "row"], ["logits"])],
        {"column": np.ones((10_000, 1), np.float32), "row": np.ones((1, 10_000), np.float32)},
    )
    with pytest.raises(UserError, match="100,000,000 numbers"):
        count_graph(checked_graph(content))
