"""Notes of an evaluation are kept where there are some, and change nothing in the files where there are none."""

from __future__ import annotations

import json

from benchmark.results.evaluation import EvaluationPart
from benchmark.results.record import Record


def test_a_record_without_notes_is_written_as_before_there_were_any(make_record):
    record = make_record()

    assert record.evaluation.notes == []
    assert "notes" not in record.model_dump(mode="json")["evaluation"]
    assert "notes" not in json.loads(record.evaluation.model_dump_json())


def test_notes_are_written_and_read(make_record):
    record = make_record()
    fields = record.evaluation.model_dump(mode="json") | {"notes": ["out of memory"]}
    noted = record.model_copy(update={"evaluation": EvaluationPart(**fields)})

    assert Record.model_validate_json(noted.model_dump_json()).evaluation.notes == ["out of memory"]
