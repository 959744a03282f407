"""The text of a record has bounds wherever a record is read, and a run that would exceed them never starts."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from benchmark.errors import UserError
from benchmark.results.bounds import MAX_RECORD, characters
from benchmark.results.record import Record
from benchmark.results.store import load_records, record_path, save_record
from benchmark.results.verdicts import pack_verdicts


def nested(depth):
    return [nested(depth - 1)] if depth else 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method__deviations": [f"{number} {'x' * 3900}" for number in range(900)]}, "deviations"),
        ({"method__deviations": ["x"] * 33}, "deviations"),
        ({"method__deviations": ["x" * 4001]}, "deviations"),
        ({"method__deviations": ["x" * 3000] * 8}, "texts have 2"),
        ({"method__options": {"x": list(range(100_000))}}, "100,000 items"),
        ({"method__options": {"x": [[1234567890] * 200] * 200}}, "texts have"),
        ({"method__options": {f"x{number}": 1 for number in range(300)}}, "300 items"),
        ({"method__options": {"x" * 301: 1}}, "a key has 301"),
        ({"method__options": {"x": nested(9)}}, "nested more than 8"),
        ({"method__options": {"x": float("nan")}}, "finite"),
        ({"provenance__config": {"x": "y" * 5000}}, "5,000 characters"),
        ({"provenance__command": "python -m benchmark run " + "x" * 4000}, "command"),
        ({"provenance__device": "x" * 301}, "device"),
        ({"training__phases": [{"name": "x"}] * 257}, "phases"),
        ({"evaluation__notes": ["x" * 3000] * 8}, "texts have"),
        ({"suite": "x" * 301}, "suite"),
        ({"cost__bit_operations": 10**4000}, "bit_operations"),
        ({"cost__latency_seconds": {str(number): 1.0 for number in range(1, 300)}}, "latency_seconds"),
    ],
)
def test_a_record_with_too_much_text_is_refused(fields, changes, message):
    with pytest.raises(ValidationError, match=message):
        Record(**fields(**changes))


def test_a_record_put_onto_a_board_by_hand_is_refused_in_one_sentence(make_record, tmp_path):
    record = make_record()
    save_record(record, tmp_path)
    path = record_path(tmp_path, record.protocol, record.run)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["method"]["deviations"] = ["x" * 3000] * 8
    path.write_text(json.dumps(content), encoding="utf-8")

    with pytest.raises(UserError, match=r"its texts have 2\d,\d{3} characters, at most 20,000 are allowed") as caught:
        load_records(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_record_of_the_papers_scale_fits(make_record, health):
    n = 10_000
    verdicts = {name: pack_verdicts([True] * n) for name in ("clean", "pgd", "apgd-ce", "apgd-t", "fab-t", "square")}
    layers = [{"name": f"layer{number}.conv", "weights": 100, "kept": 1} for number in range(100)]
    record = make_record(
        n=n,
        right=(n, n, n),
        evaluation__verdicts=verdicts,
        evaluation__health=health(reason="x" * 300),
        compression__layers=layers,
        training__epochs=1000,
        training__phases=[{"name": f"round {number}", "epochs": 50, "lr": 0.1} for number in range(20)],
        method__deviations=[f"{number} {'deviates ' * 20}" for number in range(30)],
        method__options={f"option_{number}": [0.5] * 34 for number in range(10)},
    )
    assert characters(record) < MAX_RECORD
