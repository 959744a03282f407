"""What onnx2torch would misread or execute is refused or rewritten; the rest has ONNX Runtime's logits."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from benchmark.errors import UserError
from benchmark.foreign.onnx_content import self_contained
from benchmark.foreign.onnx_network import network_from_onnx
from benchmark.foreign.onnx_runtime import check_against_runtime

IMAGES = (2, 3, 5, 5)


def model(
    nodes, weights=(), *, shape=(None, *IMAGES[1:]), opset=17, kind=TensorProto.FLOAT, outputs=("y",), **settings
):
    generator = np.random.default_rng(0)
    tensors = [
        numpy_helper.from_array(
            value if isinstance(value, np.ndarray) else generator.normal(size=value).astype(np.float32), name
        )
        for name, value in dict(weights).items()
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "m"]) for name in outputs]
    start = helper.make_tensor_value_info("x", kind, [side or "batch" for side in shape])
    graph = helper.make_graph(nodes, "graph", [start], ends, tensors)
    versions = [helper.make_opsetid("", opset), *settings.pop("domains", [])]
    return helper.make_model(graph, opset_imports=versions, ir_version=9, **settings)


def node(*arguments, **attributes):
    return helper.make_node(*arguments, **attributes)


HEAD = [node("Flatten", ["a"], ["b"]), node("Gemm", ["b", "w", "c"], ["y"], transB=1)]
WEIGHTS = {"w": (10, 75), "c": (10,)}
CONSTANT = node("Constant", [], ["k"], value=numpy_helper.from_array(np.full((4, 3, 3, 3), 0.1, np.float32)))
AXES = np.array([2, 3], np.int64)
READ = {
    "constant as a kernel": model(
        [
            CONSTANT,
            node("Conv", ["x", "k"], ["a"]),
            node("GlobalAveragePool", ["a"], ["b"]),
            node("Flatten", ["b"], ["y"]),
        ]
    ),
    "number as a constant": model(
        [node("Constant", [], ["k"], value_float=2.0), node("Mul", ["x", "k"], ["a"]), *HEAD], WEIGHTS
    ),
    "shared kernel": model(
        [
            node("Identity", ["w"], ["k"]),
            node("Conv", ["x", "k"], ["a"]),
            node("Conv", ["a", "k"], ["b"]),
            node("Flatten", ["b"], ["y"]),
        ],
        {"w": (3, 3, 3, 3)},
    ),
    "operators of a later set": model(
        [node("ReduceMean", ["x", "axes"], ["a"], keepdims=0), node("Gemm", ["a", "w", "c"], ["y"], transB=1)],
        {"axes": AXES, "w": (10, 3), "c": (10,)},
        opset=22,
    ),
    "operators of an earlier set": model(
        [node("BatchNormalization", ["x", "s", "t", "m", "v"], ["a"]), *HEAD],
        WEIGHTS | {"s": (3,), "t": (3,), "m": (3,), "v": np.ones(3, np.float32)},
        opset=8,
    ),
    "padding after": model(
        [
            node("Conv", ["x", "k"], ["a"], auto_pad="SAME_UPPER", strides=[2, 2], kernel_shape=[2, 2]),
            node("Flatten", ["a"], ["y"]),
        ],
        {"k": (1, 3, 2, 2)},
    ),
    "padding before": model(
        [node("MaxPool", ["x"], ["a"], auto_pad="SAME_LOWER", kernel_shape=[2, 2]), *HEAD], WEIGHTS
    ),
    "empty axes allowed": model(
        [node("Reshape", ["x", "s"], ["b"], allowzero=1), HEAD[1]], WEIGHTS | {"s": np.array([-1, 75])}
    ),
    "local function": model(
        [node("Double", ["x"], ["a"], domain="own"), *HEAD],
        WEIGHTS,
        domains=[helper.make_opsetid("own", 1)],
        functions=[
            helper.make_function(
                "own", "Double", ["i"], ["o"], [node("Add", ["i", "i"], ["o"])], [helper.make_opsetid("", 17)]
            )
        ],
    ),
    "fixed batch": model(
        [node("Reshape", ["x", "s"], ["b"]), HEAD[1]], WEIGHTS | {"s": np.array([2, 75])}, shape=IMAGES
    ),
    "images that a fixed batch mixes": model(
        [
            node("Reshape", ["x", "one"], ["a"]),
            node("ReduceMean", ["a"], ["m"], axes=[1], keepdims=1),
            node("Sub", ["a", "m"], ["d"]),
            node("Reshape", ["d", "s"], ["b"]),
            HEAD[1],
        ],
        WEIGHTS | {"one": np.array([1, -1]), "s": np.array([-1, 75])},
        shape=(1, *IMAGES[1:]),
    ),
}


@pytest.mark.parametrize("name", READ)
def test_a_graph_has_the_logits_of_onnx_runtime_for_any_number_of_images(name):
    content = READ[name].SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    images = torch.rand(4, *IMAGES[1:], requires_grad=True)
    declared = READ[name].graph.input[0].type.tensor_type.shape.dim[0].dim_value or 4
    parts = [session.run(None, {"x": part.numpy()})[0] for part in images.detach().split(declared)]

    network = network_from_onnx(content)
    logits = network(images)

    assert torch.allclose(logits, torch.from_numpy(np.concatenate(parts)), atol=1e-4)
    (gradient,) = torch.autograd.grad(logits.square().sum(), images)
    assert (gradient.flatten(1).abs().sum(1) > 0).all()
    assert network.batch == (1 if name == "images that a fixed batch mixes" else None)


def external(weights):
    """Say that all weights of a model lie in another file."""
    for tensor in weights.graph.initializer:
        onnx.external_data_helper.set_external_data(tensor, location="other.bin")
        tensor.data_location = TensorProto.EXTERNAL
    return weights


def elsewhere():
    tensor = numpy_helper.from_array(np.ones(1, np.float32))
    onnx.external_data_helper.set_external_data(tensor, location="other.bin")
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


REFUSED = {
    "an operator of another domain": (
        model([node("Fused", ["x"], ["y"], domain="com.vendor")], domains=[helper.make_opsetid("com.vendor", 1)]),
        "uses the operator com.vendor.Fused, outside of the standard domain",
    ),
    "an operator that onnx2torch lacks": (
        model([node("Hardmax", ["x"], ["a"]), *HEAD], WEIGHTS),
        "uses the operator Hardmax, which onnx2torch cannot read",
    ),
    "bytes as images": (model([node("Cast", ["x"], ["y"], to=1)], kind=TensorProto.UINT8), "takes uint8 images"),
    "two outputs": (
        model([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["z"])], outputs=("y", "z")),
        "it has 1 and 2; export",
    ),
    "training mode": (
        model(
            [node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y", "m2", "v2"], training_mode=1)],
            {name: (3,) for name in "sbmv"},
        ),
        "was exported in training mode",
    ),
    "weights elsewhere": (external(model(HEAD[1:], WEIGHTS)), "has its weights in another file"),
    "a constant elsewhere": (
        model(
            [helper.make_node("Constant", [], ["k"], value=elsewhere()), node("Mul", ["x", "k"], ["a"]), *HEAD], WEIGHTS
        ),
        "has its weights in another file",
    ),
    "an invalid graph": (model([node("Relu", ["nothing"], ["y"])]), "the ONNX file is not valid"),
}


@pytest.mark.parametrize(("proto", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_one_sentence(proto, message):
    with pytest.raises(UserError) as refusal:
        network_from_onnx(proto.SerializeToString())
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_damaged_file_is_one_sentence():
    with pytest.raises(UserError, match="is damaged: it cannot be parsed"):
        network_from_onnx(READ["fixed batch"].SerializeToString()[:-9])


def test_no_name_of_the_file_is_executed(tmp_path):
    trap = tmp_path / "trap"
    touch = f'getattr(getattr(__import__("pathlib"), "Path")("{trap}"), "touch")()'
    name = f'training"), {touch}, getattr(self, "training'
    proto = model([node("Relu", ["x"], ["a"], name=name), *HEAD], WEIGHTS)
    network_from_onnx(proto.SerializeToString())(torch.rand(IMAGES))
    assert not trap.exists()

    converter = importlib.import_module("onnx2torch")  # which alone would execute it, else this test proves nothing
    with pytest.raises(TypeError):
        converter.convert(proto)(torch.rand(IMAGES))
    assert trap.exists()


def test_a_graph_that_is_misread_is_found_out():
    content = READ["constant as a kernel"].SerializeToString()
    network = network_from_onnx(content)
    images = torch.rand(IMAGES)

    assert check_against_runtime(network, content, images) is None
    with torch.no_grad():
        next(network.buffers(), next(network.parameters(), None)).mul_(1.1)
    with pytest.raises(UserError, match="misreads the ONNX file: its logits differ from ONNX Runtime's by"):
        check_against_runtime(network, content, images)


def test_weights_beside_the_file_are_read_and_hashed(tmp_path):
    path, proto = tmp_path / "net.onnx", READ["number as a constant"]
    whole = proto.SerializeToString()
    copy = onnx.load_from_string(whole)
    onnx.save_model(copy, path, save_as_external_data=True, location="net.data", size_threshold=0)
    content = path.read_bytes()

    joined, digest, size = self_contained(content, path)

    images = torch.rand(IMAGES)
    assert torch.equal(network_from_onnx(joined)(images), network_from_onnx(whole)(images))
    assert size == len(content) + (tmp_path / "net.data").stat().st_size
    data = bytearray((tmp_path / "net.data").read_bytes())
    data[0] ^= 1
    (tmp_path / "net.data").write_bytes(data)
    assert self_contained(content, path)[1] != digest
    (tmp_path / "net.data").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"has its weights in net\.data, which is not beside it"):
        self_contained(content, path)
    (tmp_path / "net.data").symlink_to("moved")
    with pytest.raises(UserError, match="is a symbolic link"):
        self_contained(content, path)


@pytest.mark.parametrize("place", ["../weights", "/etc/passwd", ""])
def test_weights_in_another_folder_are_not_read(place, tmp_path):
    proto = external(onnx.load_from_string(READ["number as a constant"].SerializeToString()))
    for tensor in proto.graph.initializer:
        tensor.external_data[0].value = place
    with pytest.raises(UserError, match="read from its own folder only"):
        self_contained(proto.SerializeToString(), tmp_path / "net.onnx")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"needs the package onnx; run: pip install -e '\.\[onnx\]'"):
        network_from_onnx(b"")


def test_a_session_of_onnx_runtime_cannot_be_attacked():
    from benchmark import evaluate

    session = onnxruntime.InferenceSession(READ["fixed batch"].SerializeToString(), providers=["CPUExecutionProvider"])
    with pytest.raises(UserError, match="through which no gradient flows to the images, so it cannot be attacked"):
        evaluate(session, "digits", "digits-linf-8_255-aa-standard-4")
