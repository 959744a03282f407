"""Hostile submissions of networks that were trained elsewhere are refused for the right reason."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file

from benchmark.results.evaluation import OPPONENT
from benchmark.results.external import ExternalRecord
from benchmark.results.verdicts import pack_verdicts
from benchmark.submission.sample import candidates, sample_seed


def test_the_honest_submission_is_accepted(forger):
    outcome = forger.verify()
    assert outcome.accepted, outcome.reasons
    assert outcome.placement.row.preset == "external"


def _custom_operator(model):
    model.graph.node[1].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def _rounding(model):
    model.graph.node[0].input[0] = "rounded"
    model.graph.node.insert(0, helper.make_node("Round", ["images"], ["rounded"]))


def _function(model):
    model.functions.append(
        helper.make_function("local", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [])
    )


def _branch(model):
    body = helper.make_graph(
        [helper.make_node("Relu", ["images"], ["chosen"])],
        "body",
        [],
        [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)],
    )
    model.graph.node.insert(0, helper.make_node("If", ["condition"], ["unused"], then_branch=body, else_branch=body))


def _external_data(model):
    weight = model.graph.initializer[0]
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    weight.ClearField("raw_data")


def _billion_parameters(model):
    weight = model.graph.initializer[0]
    del weight.dims[:]
    weight.dims.extend([100_000_000, 10])


def _declared_but_absent(model):
    weight = model.graph.initializer[0]
    del weight.dims[:]
    weight.dims.extend([10, 640])


def _not_a_number(model):
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[0, 0] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "weight"))


def _huge_value(model):
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 0, 40_000, 40_000]), "pads"))
    model.graph.node.insert(0, helper.make_node("Pad", ["images", "pads"], ["padded"]))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_custom_operator, "com.example"),
        (_rounding, "operator Round"),
        (_function, "functions of its own"),
        (_branch, "a subgraph"),
        (_external_data, "tensors in other files"),
        (_billion_parameters, "1,000,000,010 numbers in its tensors, at most"),
        (_declared_but_absent, "6,400 numbers, but holds other data"),
        (_not_a_number, "not finite"),
        (_huge_value, "numbers, at most"),
    ],
)
def test_a_graph_that_breaks_a_rule_is_refused(forger, change, reason):
    forger.change_graph(change)
    reasons = forger.reasons()
    assert reasons.startswith("graph: "), reasons
    assert reason in reasons


def test_masked_gradients_are_refused(forger, make_onnx, weights):
    # The same predictions, but the softmax saturates, so that the loss has no gradient.
    forger.replace_network(make_onnx(*weights, scale=1e8))
    reasons = forger.reasons()
    assert "health: zero_gradients: the record says pass" in reasons, reasons


def test_other_counts_than_the_graphs_are_refused(forger):
    record = forger.read()
    record["graph"]["dense_macs"] += 1
    forger.rehash(record)
    assert forger.reasons() == "graph: dense_macs: the record says 641, the artifact has 640"


def test_another_file_than_the_measured_one_is_refused(forger, make_onnx, weights):
    (forger.folder / "network.onnx").write_bytes(make_onnx(weights[0] + 0.1, weights[1]))
    assert "hashes: network.onnx is not the file that submission.json names" in forger.reasons()


def test_a_clean_verdict_of_another_network_is_refused(forger, make_onnx, weights):
    forger.replace_network(make_onnx(-weights[0], weights[1]))
    assert "clean" in forger.reasons() or "sample" in forger.reasons()


def test_a_broken_image_counted_as_robust_is_refused(forger, agree):
    record = forger.read()
    evaluation = ExternalRecord(**record).evaluation
    (place, *_) = candidates(ExternalRecord(**record))
    for name in evaluation.verdicts:
        right = evaluation.right(name).copy()
        right[place] = True
        record["evaluation"]["verdicts"][name] = pack_verdicts(right)
    assert OPPONENT in evaluation.verdicts
    agree(record["evaluation"])
    images = forger.folder / "adversarial.safetensors"
    tensors = load_file(images)
    others = torch.tensor([each != place for each in tensors["index"].tolist()])
    save_file({name: value[others].contiguous() for name, value in tensors.items()}, images)
    forger.rehash(record)
    fields = forger.read("submission.json")
    fields["sample"] |= {"seed": sample_seed(ExternalRecord(**forger.read())), "count": int(others.sum())}
    (forger.folder / "submission.json").write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")
    reasons = forger.reasons()
    assert f"the record counts image {place} as robust" in reasons or "robust are broken" in reasons, reasons


@pytest.mark.parametrize(
    ("field", "value", "check"),
    [
        ("link", "javascript:alert(1)", "schema"),
        ("link", "https://example.org/<script>", "schema"),
        ("link", "http://example.org/net", "schema"),
        ("licence", "<b>MIT</b>", "schema"),
        ("conversion", "see [here](https://evil.example)", "texts"),
        ("conversion", "<script>alert(1)</script>", "texts"),
        ("authors", ["Ada\u202eLovelace"], "texts"),
        ("method", "../../escape", "schema"),
        ("method", "hydra", "texts"),
    ],
)
def test_texts_that_no_page_may_carry_are_refused(forger, field, value, check):
    record = forger.read()
    record["origin"][field] = value
    forger.rehash(record)
    assert forger.reasons().startswith(f"{check}: ")


@pytest.mark.parametrize("name", ["../../etc/passwd", "digits/../..", "a__b"])
def test_a_name_that_leaves_the_folder_is_refused(forger, name):
    record = forger.read()
    record["dataset"]["name"] = name
    record["protocol"] = record["protocol"].replace("digits", name)
    forger.rehash(record)
    assert "record.json" in (reasons := forger.reasons()) or "texts: dataset.name" in reasons, reasons


def test_a_file_that_is_not_named_is_refused(forger):
    (forger.folder / "citation.yaml").write_text("title: x\nauthors: [y]\nyear: 2020\n")
    assert "citation.yaml is present, but submission.json names no such file" in forger.reasons()


def test_a_network_in_the_compressed_kind_of_submission_is_still_refused(forger):
    (forger.folder / "network.onnx").rename(forger.folder / "artifact.safetensors")
    fields = forger.read("submission.json") | {"kind": "result"}
    (forger.folder / "submission.json").write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")
    assert "schema" in forger.reasons()
