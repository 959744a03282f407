"""What Python users and the other commands do with rows that were trained elsewhere, or say that they do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import helper, load_from_string

import benchmark
from benchmark.api import fetching
from benchmark.data.cache import cache_folder
from benchmark.data.load import load_test
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images
from benchmark.hub import pulling
from benchmark.leaderboard.render import write_pages
from benchmark.results.addresses import load_address
from benchmark.results.store import artifact_path, load_all, model_text

URL = "https://example.org/net.onnx"


@pytest.fixture
def records(accepted):
    """Return the older and the newer record."""
    return sorted(load_all(accepted), key=lambda record: bool(record.supersedes))


def _file(board, record):
    return artifact_path(board, record.run, ".onnx")


def test_the_network_of_a_row_is_loaded_and_can_be_attacked(accepted, records):
    for record in records:
        model = benchmark.load_model(record.run_hash[:6], board=accepted)
        data = load_test("digits", None, limit=8).test
        images = as_float_images(data.images).requires_grad_()
        logits = model(images)

        assert model.record == record and model.classes == tuple(map(str, range(10))) and not model.training
        right = (logits.argmax(1) == data.labels).numpy()
        assert np.array_equal(right, record.evaluation.right("clean"))
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), images)
        assert bool(gradient.abs().amax((1, 2, 3)).gt(0).all())


def test_a_row_is_loaded_by_the_path_of_its_file(accepted, records, elsewhere):
    assert benchmark.load_model(_file(accepted, records[0])).record == records[0]
    assert benchmark.load_model(str(elsewhere / "newer.onnx"), board=accepted).record == records[1]
    with pytest.raises(UserError, match="is the ONNX file of no row here"):
        benchmark.load_model(elsewhere / "net.onnx")


def test_another_file_in_the_place_of_a_rows_is_refused(board, records):
    _file(board, records[0]).write_bytes(_file(board, records[1]).read_bytes())
    with pytest.raises(UserError, match="the record was measured on"):
        benchmark.load_model(records[0].run_hash, board=board)


def test_a_file_that_breaks_the_rules_for_strangers_is_refused(board, records):
    model = load_from_string(_file(board, records[0]).read_bytes())
    model.graph.node[1].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    _file(board, records[0]).write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"com\.example"):
        benchmark.load_model(records[0].run_hash, board=board)


def test_a_file_at_an_address_is_kept_there_and_fetched(run, submit, elsewhere, tmp_path, monkeypatch):
    monkeypatch.setenv("ROBUST_COMPRESSION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetching, "download", lambda url, size: content[:size] if url == URL else b"")
    content, board = (elsewhere / "net.onnx").read_bytes(), tmp_path / "board"
    board.mkdir()
    assert submit(tmp_path / "s", "--url", URL, board=board).exit_code == 0
    given = ("--artifact", elsewhere / "net.onnx", "--accept", "--seconds", "1")
    assert run("verify", tmp_path / "s", "--board", board, *given).exit_code == 0
    (record,) = load_all(board)

    assert load_address(board, record.run) == URL and not _file(board, record).exists()
    assert benchmark.load_model(record.run, board=board).record == record
    assert [path.name for path in (cache_folder() / "artifacts").iterdir()] == [f"{record.artifact.sha256}.onnx"]
    write_pages(board)
    left = run("audit", "--out", board, "--seconds", "1")
    assert "refused" not in left.output and f"fetch the file with sha256 {record.artifact.sha256}" in left.output


def test_a_row_is_shown_as_a_line_of_a_data_frame(accepted, records):
    (line,) = benchmark.board(records[1].protocol, accepted).to_dict("records")

    assert line["runs"] == (records[1].run,) and line["rank"] == 1
    assert (line["trained"], line["licence"], line["preset"]) == ("elsewhere", "MIT", "external")
    unknown = ("passes", "keep_ratio", "p", "objective", "last_norm", "train_seconds", "latency_1")
    values = {name: line[name] for name in unknown if name in line}
    assert len(values) >= 4 and all(value is None or value != value for value in values.values()), values


def test_rows_are_compared(accepted, records):
    comparison = benchmark.compare(*(record.run_hash for record in records), board=accepted)

    assert (comparison.a, comparison.b) == ((records[0],), (records[1],))
    assert (
        comparison.text.count("unknown, trained elsewhere") == 2
        and "B: " in comparison.text
        and "seed unknown" not in comparison.text
    )
    clean = [record.evaluation.clean_accuracy for record in records]
    assert [comparison.frame().loc["clean", side] for side in "ab"] == clean


def test_a_row_is_measured_again(run, board, records):
    result = run("reproduce", records[0].run_hash, "--out", board)
    assert result.exit_code == 0 and "consistent: counts are exact" in result.output, result.output


def test_a_plan_is_not_disturbed_by_rows_that_were_trained_elsewhere(accepted):
    plan = benchmark.plan("quickstart", methods="at", out=accepted)
    assert [item.state for item in plan.experiments] == ["todo"] * len(plan.experiments) and plan.experiments


def test_what_takes_no_such_row_says_so(run, accepted, records, tmp_path, monkeypatch):
    name = records[0].run_hash
    with pytest.raises(UserError, match=r"trained elsewhere, .*: https://example\.org/net$"):
        benchmark.push(name, "me/row", board=accepted)
    content = model_text(records[0]).encode()
    monkeypatch.setattr(pulling, "download", lambda *_: (content, None))
    with pytest.raises(UserError, match="holds a row that was trained elsewhere"):
        benchmark.pull("me/row")
    for command in (("recheck", name, "--out", accepted), ("submit", name, "--out", accepted, "--to", tmp_path / "s")):
        result = run(*command)
        assert isinstance(result.exception, UserError) and "was trained elsewhere" in str(result.exception)
