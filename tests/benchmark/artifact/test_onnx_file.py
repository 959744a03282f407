"""The ONNX file holds the exact network, and ONNX Runtime computes the same logits as torch."""

from __future__ import annotations

import importlib
import logging
import sys
from dataclasses import replace
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
from benchmark.networks.resnet import NetworkPlan, convolutions, plain_conv
from methods.base import Target
from methods.layers import CompressedConv2d, compressed_layers, refresh_masks, set_budgets, to_plain

PLAN = NetworkPlan("resnet6", num_classes=10, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), width=1 / 16)


def trained(model):
    """Change a network's statistics from their initial values and return it in eval mode."""
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d) and module.affine):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    with torch.no_grad():
        for _ in range(10):
            model(torch.rand(16, 3, 8, 8))
    return model.eval().requires_grad_(False)


def dense(**changes):
    """Return a network with all its weights."""
    return trained(replace(PLAN, **changes)(conv=plain_conv, norm=nn.BatchNorm2d))


def sparse_binary(**changes):
    """Return a network with a tenth of its weights, two levels per layer, and no affine batch norms."""
    conv = partial(CompressedConv2d, scored=True, binary=True)
    model = replace(PLAN, **changes)(conv=conv, norm=partial(nn.BatchNorm2d, affine=False))
    set_budgets(model, Target(0.1, "binary", 0.5))
    for layer in compressed_layers(model):
        nn.init.normal_(layer.scores)
    refresh_masks(model)
    return to_plain(trained(model))


KINDS = {
    "dense lbn": (dense, {}),
    "dense no-lbn": (dense, {"last_norm": False}),
    "dense bottlenecks": (dense, {"name": "resnet50", "width": 1 / 32}),
    "sparse binary lbn": (sparse_binary, {}),
    "sparse binary no-lbn": (sparse_binary, {"last_norm": False}),
}
SIZE = (9, 12)  # of images: not square, and strides round odd heights up


@pytest.fixture
def exported(made_once):
    """Return a function that gives a network of a kind and its file; nobody writes into its folder."""

    def export(kind):
        make, changes = KINDS[kind]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = make(**changes)
        folder = made_once(
            f"onnx {kind}", lambda folder: export_onnx(network, folder / "network.onnx", channels=3, size=SIZE)
        )
        return network, folder / "network.onnx"

    return export


def run(path, images):
    """Return the logits that ONNX Runtime computes from a file."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    return torch.from_numpy(logits)


def assert_same_logits(path, network, *, size=SIZE, counts=(1, 2, 5)):
    for count in counts:
        images = torch.rand(count, 3, *size)
        with torch.no_grad():
            expected = network(images)
        torch.testing.assert_close(run(path, images), expected, atol=1e-4, rtol=1e-4)
        assert expected.std() > 0.01  # constant logits would be no test


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "dense bottlenecks"])
def test_onnx_runtime_computes_the_logits_and_the_file_has_the_exact_weights(exported, kind):
    network, path = exported(kind)

    assert_same_logits(path, network)
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    for name, conv in convolutions(network).items():
        assert np.array_equal(stored[f"{name}.weight"], conv.weight.numpy())
    assert [file.name for file in path.parent.iterdir()] == ["network.onnx"]  # no second file with the weights


def test_the_file_is_valid_names_input_and_output_and_reveals_no_paths(exported):
    _, path = exported("sparse binary lbn")

    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    (images,), (logits,) = model.graph.input, model.graph.output
    shapes = [
        [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim] for value in (images, logits)
    ]
    assert (images.name, logits.name, shapes) == ("images", "logits", [["batch", 3, *SIZE], ["batch", 10]])
    assert not {"Expand", "CastLike"} & {node.op_type for node in model.graph.node}  # constants are folded
    assert b".py" not in path.read_bytes()


def test_a_network_prepared_for_the_evaluation_is_exported_and_not_changed(tmp_path, copy_of_state):
    network = sparse_binary()
    prepare(network, torch.device("cpu")).train()
    before = copy_of_state(network)

    export_onnx(network, tmp_path / "network.onnx", channels=3, size=(8, 8))

    assert network.training and network.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(value, before[name]) for name, value in copy_of_state(network).items())
    assert_same_logits(tmp_path / "network.onnx", network.eval(), size=(8, 8))


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


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("dense")])
def test_another_reader_gets_the_same_logits_for_any_batch_size(exported, onnx2torch, kind):
    network, path = exported(kind)

    again = onnx2torch.convert(path).eval()
    for count in (1, 2, 5):
        images = torch.rand(count, 3, *SIZE)
        with torch.no_grad():
            torch.testing.assert_close(again(images), network(images), atol=1e-4, rtol=1e-4)


def test_the_file_has_only_plain_operators_of_an_old_set(exported):
    _, path = exported("sparse binary lbn")

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


def test_large_logits_may_differ_in_proportion_and_an_export_restores_the_logging_level(tmp_path):
    logging.disable(logging.INFO)
    try:
        export_onnx(Drifting(0.002), tmp_path / "network.onnx", channels=3, size=(8, 8))

        assert logging.root.manager.disable == logging.INFO
    finally:
        logging.disable(logging.NOTSET)
    assert (tmp_path / "network.onnx").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_reported_with_the_command_that_installs_it(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(UserError, match=rf"the package {package}, .* pip install -e '\.\[onnx\]'"):
        export_onnx(Drifting(0.0), tmp_path / "network.onnx", channels=3, size=(8, 8))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_resnet34_of_the_paper_has_the_same_logits(tmp_path):
    network = dense(name="resnet34", width=1.0)

    export_onnx(network, tmp_path / "network.onnx", channels=3, size=(32, 32))

    assert_same_logits(tmp_path / "network.onnx", network, size=(32, 32), counts=(3,))


def test_an_export_overwrites_only_onnx_files(tmp_path, exported):
    _, path = exported("dense lbn")
    check_target(tmp_path / "new.onnx")
    check_target(path)
    (tmp_path / "artifact").write_bytes(save({"weight": torch.zeros(2)}))

    with pytest.raises(
        UserError, match=r"artifact is a safetensors file .*, which would be overwritten; name another file"
    ):
        check_target(tmp_path / "artifact")
