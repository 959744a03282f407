"""PGD on more images than the protocol's: kept where it is there, checked against the protocol's own verdicts."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from benchmark.files.places import LEADERBOARDS
from benchmark.results.invariants import violations
from benchmark.results.record import Record
from benchmark.results.verdicts import pack_verdicts


def wide_fields(clean, pgd, **changes):
    """Return the part of verdicts given as lists of bits."""
    return {
        "n_images": len(clean),
        "test_sha256": "f" * 64,
        "clean_accuracy": sum(clean) / len(clean),
        "pgd_accuracy": sum(pgd) / len(pgd),
        "verdicts": {"clean": pack_verdicts(clean), "pgd": pack_verdicts(pgd)},
        **changes,
    }


def bits(protocol, further, n=100, more=200):
    """Return the verdicts of 300 images: the first of the protocol's are right, and the first of the further ones."""
    return [place < protocol for place in range(n)] + [place < further for place in range(more)]


def test_a_record_without_the_part_is_written_as_before_there_was_one(make_record):
    record = make_record()

    assert record.evaluation.wide is None
    assert "wide" not in record.model_dump(mode="json")["evaluation"]
    assert "wide" not in json.loads(record.model_dump_json())["evaluation"]


def test_committed_records_keep_every_byte():
    paths = sorted((LEADERBOARDS / "records").rglob("*.json"))[:3]

    for path in paths:
        text = path.read_text(encoding="utf-8")
        again = Record.model_validate_json(text).model_dump(mode="json")
        assert json.dumps(again, indent=2, sort_keys=True) + "\n" == text
    assert paths


def test_the_part_is_written_and_read(make_record):
    record = make_record(evaluation__wide=wide_fields(bits(80, 150), bits(50, 90)))

    again = Record.model_validate_json(record.model_dump_json())

    assert again == record
    wide = again.evaluation.wide
    assert (wide.n_images, wide.clean_accuracy, wide.pgd_accuracy) == (300, 230 / 300, 140 / 300)
    assert wide.right("pgd").tolist() == bits(50, 90)
    assert again.protocol == make_record().protocol
    assert violations(again) == []


@pytest.mark.parametrize(
    ("clean", "pgd", "changes", "message"),
    [
        (bits(80, 150), bits(50, 90), {"clean_accuracy": 0.5}, "wide clean accuracy is 0.5, but its verdicts give"),
        (bits(80, 150), bits(50, 90), {"pgd_accuracy": 0.9}, "wide pgd accuracy is 0.9, but its verdicts give"),
        (bits(79, 151), bits(50, 90), {}, "the first 100 wide verdicts of clean are not those of the protocol"),
        (bits(80, 150), bits(51, 90), {}, "the first 100 wide verdicts of pgd are not those of the protocol"),
        (bits(80, 0, more=0), bits(50, 0, more=0), {}, "wide n_images is 100, must exceed the protocol's 100"),
        (bits(80, 150), bits(50, 90), {"n_images": 400}, "one bit for each of 400 images"),
        (bits(80, 150), bits(50, 90), {"verdicts": {"clean": ""}}, "must be \\['clean', 'pgd'\\]"),
        (bits(80, 150), bits(50, 90), {"test_sha256": "x"}, "test_sha256"),
    ],
)
def test_a_part_that_contradicts_itself_or_the_protocols_verdicts_is_refused(make_record, clean, pgd, changes, message):
    with pytest.raises(ValidationError, match=message):
        make_record(evaluation__wide=wide_fields(clean, pgd, **changes))


def test_an_image_robust_but_wrong_when_clean_keeps_the_row_off_the_ranking(make_record):
    record = make_record(evaluation__wide=wide_fields(bits(80, 80), bits(50, 81)))

    (reason,) = violations(record)

    assert reason == "PGD on 300 images counts images as robust that are wrong without any attack"
