"""A record whose layers do not follow the allocation that it names is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from benchmark.files.places import LEADERBOARDS
from benchmark.results.record import Record
from benchmark.submission.contradictions import check_numbers, experiment_of

RUN = "cifar10-jpeg__resnet10-w0.25-lbn__edge_popup__binary-keep0.05-p0.1-pgd__seed0-*.json"
NOW = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def record() -> Record:
    """Return a committed record whose layers keep their shares at p=0.1."""
    path = next((LEADERBOARDS / "records" / "cifar10-jpeg-linf-8_255-pgd20x1-aa-standard-200").glob(RUN))
    return Record.model_validate_json(path.read_bytes())


@pytest.mark.parametrize("allocation", ["auto", "auto:0.0117", 0.7])
def test_layers_that_follow_another_allocation_are_noticed(record, allocation):
    experiment, _ = experiment_of(record)
    assert experiment is not None
    renamed = experiment.model_copy(update={"allocation": allocation})
    words = f"allocation {allocation}" if isinstance(allocation, str) else f"p={allocation}"

    reasons = check_numbers(record, renamed, now=NOW)

    assert check_numbers(record, experiment, now=NOW) == []
    assert [reason for reason in reasons if reason.endswith(f"keeps more than its share under {words}")]


def test_an_allocation_that_the_budget_cannot_pay_is_a_reason_and_no_error(record):
    experiment, _ = experiment_of(record)
    assert experiment is not None
    starved = experiment.model_copy(update={"keep_ratio": 1e-6, "allocation": "auto"})

    reasons = check_numbers(record, starved, now=NOW)

    assert "layers: a budget of 0 weights over 13 layers leaves a layer with none; raise keep_ratio" in reasons
