"""Later checks stored with a board: they must agree with themselves, their record and its artifact."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from benchmark.audit.rows import artifact_of
from benchmark.audit.sources import Sources, check_place, read_file
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import prepare
from benchmark.results.rechecks import Rechecked, rechecked, rechecked_path
from benchmark.results.record import Record
from benchmark.submission.claim import Claim
from benchmark.submission.contradictions import (
    CLOCK_SLACK,
    EARLIEST,
    MAX_SECONDS,
    MAX_THREADS,
    opponent_contradictions,
)
from benchmark.submission.opponent import check_opponent, unbroken_by_opponent
from benchmark.submission.remeasure import replay_of
from benchmark.submission.report import Refused, Report
from benchmark.submission.texts import part_texts


def audit_checks(path: Path, sources: Sources, report: Report) -> None:
    """Check a file of later checks against itself, its record and its artifact.

    Raises:
        Refused: where the checks end early; the report has the reasons.
    """
    checks = read_file(Rechecked, path, report)
    report.note("texts", part_texts(checks), "no markup, no hidden characters")
    check_place(path, lambda: rechecked_path(sources.board, checks.protocol, checks.run), report)
    record = sources.record_of(checks.protocol, checks.run)
    if not isinstance(record, Record):  # one of a network trained elsewhere contains these checks
        report.note("record", [f"{checks.run} has no valid record under {checks.protocol}"])
        raise Refused
    try:
        (complete,) = rechecked([record], [checks])
    except UserError as error:
        report.note("record", [str(error)])
        raise Refused from None
    report.note("times", _impossible_times(checks, record), "they are possible")
    reasons = opponent_contradictions(complete.evaluation)
    report.note("numbers", reasons, "the file agrees with its record and with itself")
    report.stop_if_refused()
    artifact = artifact_of(record, sources.board, report)
    data = sources.test_data(record.dataset.name, complete.evaluation.n_images, checks.test_sha256, report)
    replay = replay_of(Claim.of_record(complete), prepare(artifact.network, "cpu"), data.test, sources.effort)
    report.note("broken", unbroken_by_opponent(replay, report.say), "the images listed as broken fall again")
    report.stop_if_refused()
    report.note("opponent", *check_opponent(replay, report.say))


def _impossible_times(checks: Rechecked, record: Record) -> list[str]:
    started, now = datetime.fromisoformat(checks.machine.started), datetime.now(UTC)
    if not EARLIEST <= started <= now + CLOCK_SLACK or checks.machine.threads > MAX_THREADS:
        return [f"started {started} on {checks.machine.threads} threads is not possible"]
    if started < datetime.fromisoformat(record.provenance.started) - CLOCK_SLACK:
        return [f"{started} is before the record's run, {record.provenance.started}"]
    if (seconds := max(checks.seconds, checks.machine.seconds)) > MAX_SECONDS:
        return [f"{seconds:g} seconds are not possible"]
    return []
