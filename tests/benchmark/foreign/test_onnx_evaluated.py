"""`evaluate` attacks ONNX files as other frameworks and torch's exporters write them."""

from __future__ import annotations

import json
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from benchmark.results.evaluated import load_evaluated

HARD = "digits-linf-128_255-pgd3x1-aa-standard-16"  # nothing survives, so that AutoAttack is over at once


def channels_last_file(network, path):
    """Write an adversarially trained network as a framework with channels last would, for one image at once."""
    kernel = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    constants = {
        "mean": np.full((1, 1, 1, 1), 0.3, np.float32),
        "std": np.full((1, 1, 1, 1), 0.4, np.float32),
        "flat": np.array([1, 128], np.int64),
        "head": kernel["head.weight"].T.copy(),
        "head_bias": kernel["head.bias"],
    } | {name: kernel[name] for name in ("conv.weight", "conv.bias", "down.weight", "down.bias")}
    nodes = [
        helper.make_node("Sub", ["input", "mean"], ["shifted"]),
        helper.make_node("Div", ["shifted", "std"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "conv.weight", "conv.bias"], ["a"], auto_pad="SAME_UPPER"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "down.weight", "down.bias"], ["c"], auto_pad="SAME_UPPER", strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Transpose", ["d"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["last", "flat"], ["features"]),
        helper.make_node("Gemm", ["features", "head", "head_bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 8, 8, 1])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="other")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def runtime_of(path, *, last=False):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    order = (0, 2, 3, 1) if last else (0, 1, 2, 3)
    return lambda images: torch.from_numpy(session.run(None, {name: images.permute(order).numpy()})[0])


def test_a_file_of_another_framework_is_attacked(elsewhere, short, command, right_in_a_loop, tmp_path):
    path = channels_last_file(elsewhere, tmp_path / "saved_model")

    code, shown, errors = command("evaluate", path, "--dataset", "digits", "--images", 16, "--nhwc", "--epsilon", "1/4")

    assert code == 0, errors
    (file,) = (tmp_path / "runs" / "evaluations").glob("*.json")
    evaluated = load_evaluated(file)
    assert evaluated.evaluation.right("clean").tolist() == right_in_a_loop(runtime_of(path, last=True))
    assert evaluated.evaluation.clean_accuracy > 0.8
    assert evaluated.evaluation.pgd.accuracy < evaluated.evaluation.clean_accuracy  # gradients flow
    assert evaluated.evaluation.autoattack.accuracy < evaluated.evaluation.clean_accuracy
    assert "AutoAttack" in shown and "read as    onnx, channels last" in shown
    (note,) = evaluated.evaluation.notes  # none of a batch: the only place that fixes it is a reshape
    assert note.startswith("the network returns numbers from 0 to 1 only, which weaken gradient attacks")


@pytest.mark.parametrize(("dynamo", "batch"), [(True, "one"), (False, "any")])
def test_a_fresh_export_prints_its_autoattack_accuracy(dynamo, batch, cnn, short, command, right_in_a_loop, tmp_path):
    path = tmp_path / "net.onnx"
    free = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if dynamo else {"dynamic_axes": {"images": {0: "n"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters' own
        example = (torch.rand(1 if batch == "one" else 2, 1, 8, 8),)
        settings = {"input_names": ["images"], "verbose": False} | (free if batch == "any" else {})
        torch.onnx.export(cnn, example, path, dynamo=dynamo, **settings)
    protocol = "digits-linf-32_255-pgd20x1-aa-standard-16"

    code, shown, errors = command("evaluate", path, "--dataset", "digits", "--protocol", protocol)

    assert code == 0, errors
    (line,) = (line for line in shown.splitlines() if line.startswith("AutoAttack  "))
    (file,) = (tmp_path / "runs" / "evaluations").glob("*.json")
    evaluation = load_evaluated(file).evaluation
    assert line.split()[1:3] == [
        f"{round(16 * evaluation.autoattack.accuracy)}/16",
        f"{100 * evaluation.autoattack.accuracy:.2f}",
    ]
    assert evaluation.right("clean").tolist() == right_in_a_loop(runtime_of(path)) == right_in_a_loop(cnn)
    assert (evaluation.health_verdict, evaluation.notes) == ("pass", [])


def test_everything_else_works_on_a_file_too(cnn, short, command, tmp_path):
    torch.save(cnn.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "mine.py").write_text(FACTORY, encoding="utf-8")
    asked = ["evaluate", "weights.pt", "--protocol", HARD, "--arch", "mine.py:network"]
    results = tmp_path / "runs" / "evaluations"

    code, shown, _ = command(*asked, "--provisional")
    assert code == 0 and "PROVISIONAL" in shown and not list(results.glob("*.json"))

    assert command(*asked, "--curve")[0] == 0
    (whole,) = results.glob("*.json")
    assert len(load_evaluated(whole).curve) > 3
    assert "already measured" in command(*asked)[1]

    for shard in ("1/2", "2/2"):
        assert command(*asked, "--shard", shard)[0] == 0
    shards = sorted(results.glob("*__shard-*"))
    assert command("merge", *shards)[0] == 0
    (merged,) = results.glob("*__merged-2.json")
    assert (
        load_evaluated(merged).evaluation.right("clean").tolist()
        == load_evaluated(whole).evaluation.right("clean").tolist()
    )
    assert load_evaluated(merged).foreign == load_evaluated(whole).foreign


def test_no_result_is_taken_for_one_with_other_options(cnn, short, command, tmp_path):
    torch.save(cnn.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "mine.py").write_text(FACTORY, encoding="utf-8")
    asked = ["evaluate", "weights.pt", "--protocol", HARD.replace("-16", "-4"), "--arch", "mine.py:network"]

    for more in ([], ["--mean", "0.5", "--std", "0.5"], ["--mean", "0.5", "--std", "0.25"]):
        code, shown, errors = command(*asked, *more)
        assert code == 0 and "already measured" not in shown, errors
    (tmp_path / "mine.py").write_text(FACTORY + "# another source\n", encoding="utf-8")
    assert "already measured" not in command(*asked)[1]

    files = sorted((tmp_path / "runs" / "evaluations").glob("*.json"))
    assert len(files) == 4
    refused = command("merge", *[file for file in files if "options" in file.name][:2])
    assert refused[0] == 2 and "not a shard" in refused[2]
    foreign = {json.dumps(load_evaluated(file).foreign.model_dump(mode="json")) for file in files}
    assert len(foreign) == 4


FACTORY = """
import torch
from torch import nn


class Cnn(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.down, self.head = nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.Linear(128, num_classes)

    def forward(self, images):
        features = torch.relu(self.down(torch.relu(self.norm(self.conv(images)))))
        return self.head(features.flatten(1))


def network(num_classes):
    return Cnn(num_classes)
"""
