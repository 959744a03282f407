"""The ONNX file holds the exact network, and ONNX Runtime computes the same logits as torch."""

from __future__ import annotations

import importlib
import logging
import sys
from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save
from torch import nn

from benchmark.artifact.onnx_file import check_target, export_onnx
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import prepare
from benchmark.networks.resnet import convolutions, plain_conv
from methods.base import Target
from methods.layers import CompressedConv2d, compressed_layers, refresh_masks, set_budgets, to_plain


@pytest.fixture
def trained():
    """Return a function that changes a network's statistics from their initial values and sets eval mode."""

    def train(model):
        for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
            if norm.affine:
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.uniform_(norm.bias, -0.5, 0.5)
        with torch.no_grad():
            for _ in range(10):
                model(torch.rand(16, 3, 8, 8))
        return model.eval().requires_grad_(False)

    return train


@pytest.fixture
def sparse_binary(make_plan, trained):
    """Return a function that makes a network with a tenth of its weights and two levels per layer."""

    def make(**changes):
        target = Target(0.1, "binary", 0.5)
        conv = partial(CompressedConv2d, scored=True, binary=True)
        model = make_plan(**changes)(conv=conv, norm=partial(nn.BatchNorm2d, affine=False))
        set_budgets(model, target)
        for layer in compressed_layers(model):
            nn.init.normal_(layer.scores)
        refresh_masks(model)
        return to_plain(trained(model))

    return make


def run(path, images):
    """Return the logits that ONNX Runtime computes from a file."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    return torch.from_numpy(logits)


def assert_same_logits(path, network, *, size, counts=(1, 2, 5)):
    for count in counts:
        images = torch.rand(count, 3, size, size)
        with torch.no_grad():
            expected = network(images)
        torch.testing.assert_close(run(path, images), expected, atol=1e-4, rtol=1e-4)
        assert expected.std() > 0.01  # constant logits would be no test


@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("last_norm", [True, False], ids=["lbn", "no-lbn"])
def test_onnx_runtime_computes_the_logits_of_a_dense_network(make_plan, trained, tmp_path, affine, last_norm):
    network = make_plan(last_norm=last_norm)(conv=plain_conv, norm=partial(nn.BatchNorm2d, affine=affine))
    path = tmp_path / "network.onnx"

    export_onnx(trained(network), path, channels=3, size=(8, 8))

    assert_same_logits(path, network, size=8)
    assert [file.name for file in tmp_path.iterdir()] == ["network.onnx"]  # no second file with the weights


@pytest.mark.parametrize("last_norm", [True, False], ids=["lbn", "no-lbn"])
def test_the_file_has_the_exact_weights_of_a_sparse_binary_network(sparse_binary, tmp_path, last_norm):
    network = sparse_binary(last_norm=last_norm)
    path = tmp_path / "network.onnx"

    export_onnx(network, path, channels=3, size=(8, 8))

    assert_same_logits(path, network, size=8)
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    for name, conv in convolutions(network).items():
        assert np.array_equal(stored[f"{name}.weight"], conv.weight.numpy())


def test_the_file_is_valid_names_input_and_output_and_reveals_no_paths(sparse_binary, tmp_path):
    path = tmp_path / "network.onnx"

    export_onnx(sparse_binary(), path, channels=3, size=(8, 12))

    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    (images,), (logits,) = model.graph.input, model.graph.output
    shapes = [
        [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim] for value in (images, logits)
    ]
    assert (images.name, logits.name, shapes) == ("images", "logits", [["batch", 3, 8, 12], ["batch", 10]])
    assert not {"Expand", "CastLike"} & {node.op_type for node in model.graph.node}  # constants are folded
    assert b".py" not in path.read_bytes()


def test_a_network_prepared_for_the_evaluation_is_exported_and_not_changed(sparse_binary, tmp_path, copy_of_state):
    network = sparse_binary()
    prepare(network, torch.device("cpu")).train()
    before = copy_of_state(network)

    export_onnx(network, tmp_path / "network.onnx", channels=3, size=(8, 8))

    assert network.training and network.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(value, before[name]) for name, value in copy_of_state(network).items())
    assert_same_logits(tmp_path / "network.onnx", network.eval(), size=8)


@pytest.fixture(scope="module")
def onnx2torch():
    """Return onnx2torch, which imports torchvision for two operators of object detection.

    With a CPU build of torch, torchvision's compiled operators do not load, but two of them are needed at import. They
    are declared without code then, as no network here uses them.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("onnx2torch")


@pytest.mark.parametrize(
    "changes",
    [{}, {"last_norm": False}, {"name": "resnet50", "width": 1 / 32}],
    ids=["lbn", "no-lbn", "bottlenecks"],
)
def test_another_reader_gets_the_same_logits_for_any_batch_size(make_plan, trained, tmp_path, onnx2torch, changes):
    network = trained(make_plan(**changes)(conv=plain_conv, norm=nn.BatchNorm2d))
    path = tmp_path / "network.onnx"

    export_onnx(network, path, channels=3, size=(8, 8))

    again = onnx2torch.convert(path).eval()
    for count in (1, 2, 5):
        images = torch.rand(count, 3, 8, 8)
        with torch.no_grad():
            torch.testing.assert_close(again(images), network(images), atol=1e-4, rtol=1e-4)


def test_the_file_has_only_plain_operators_of_an_old_set(sparse_binary, tmp_path):
    path = tmp_path / "network.onnx"

    export_onnx(sparse_binary(), path, channels=3, size=(9, 12))  # strides round odd heights up

    model = onnx.load(path)
    layers = {"Conv", "BatchNormalization", "Relu", "Add", "GlobalAveragePool", "Flatten"}
    assert {node.op_type for node in model.graph.node} == layers | {"Sub", "Div"}  # the normalisation of images
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]


class Drifting(nn.Module):
    """Computes other logits when it is exported."""

    def __init__(self, offset):
        super().__init__()
        self.offset = offset

    def forward(self, images):
        logits = 100.0 * images.mean((2, 3))
        return logits + self.offset if torch.compiler.is_exporting() else logits


def test_a_file_with_other_logits_is_not_written(tmp_path):
    path = tmp_path / "network.onnx"
    path.write_bytes(b"old")

    with pytest.raises(RuntimeError, match=r"differ from torch's by 0\.03, more than 0\.00\d+"):
        export_onnx(Drifting(0.03), path, channels=3, size=(8, 8))
    with pytest.raises(RuntimeError, match="differ from torch's by nan"):
        export_onnx(Drifting(float("nan")), path, channels=3, size=(8, 8))

    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_large_logits_may_differ_in_proportion(tmp_path):
    export_onnx(Drifting(0.002), tmp_path / "network.onnx", channels=3, size=(8, 8))

    assert (tmp_path / "network.onnx").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_reported_with_the_command_that_installs_it(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(UserError, match=rf"the package {package}, .* pip install -e '\.\[onnx\]'"):
        export_onnx(Drifting(0.0), tmp_path / "network.onnx", channels=3, size=(8, 8))

    assert list(tmp_path.iterdir()) == []


def test_an_export_restores_the_logging_level(tmp_path):
    logging.disable(logging.INFO)
    try:
        export_onnx(Drifting(0.0), tmp_path / "network.onnx", channels=3, size=(8, 8))

        assert logging.root.manager.disable == logging.INFO
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.slow
def test_resnet34_of_the_paper_has_the_same_logits(make_plan, trained, tmp_path):
    network = trained(make_plan(name="resnet34", width=1.0)(conv=plain_conv, norm=nn.BatchNorm2d))

    export_onnx(network, tmp_path / "network.onnx", channels=3, size=(32, 32))

    assert_same_logits(tmp_path / "network.onnx", network, size=32, counts=(3,))


def test_an_export_overwrites_only_onnx_files(make_plan, trained, tmp_path):
    network = trained(make_plan()(conv=plain_conv, norm=nn.BatchNorm2d))
    path = tmp_path / "network.onnx"
    check_target(path)
    export_onnx(network, path, channels=3, size=(8, 8))
    check_target(path)
    (tmp_path / "artifact").write_bytes(save({"weight": torch.zeros(2)}))

    with pytest.raises(
        UserError, match=r"artifact is a safetensors file .*, which would be overwritten; name another file"
    ):
        check_target(tmp_path / "artifact")
