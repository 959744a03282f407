"""Later checks kept beside a board: they agree with themselves, with their record and with its artifact."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmark.audit.sources import Sources, read_file
from benchmark.errors import UserError
from benchmark.evaluation.opponent import hard_label_of
from benchmark.evaluation.probes import PROBE_IMAGES
from benchmark.plain_files import read_plain
from benchmark.results.evaluation import HARD_LABEL, VERDICTS, EvaluationPart
from benchmark.results.rechecks import Rechecked, rechecked, rechecked_path
from benchmark.results.record import Record
from benchmark.results.store import artifact_path, record_path
from benchmark.submission.contradictions import CLOCK_SLACK, EARLIEST, MAX_SECONDS, MAX_THREADS
from benchmark.submission.files import ARTIFACT, LIMITS
from benchmark.submission.report import Refused, Report
from benchmark.submission.texts import part_texts
from benchmark.submission.training_claims import differing


def audit_checks(path: Path, sources: Sources, report: Report) -> None:
    """Check a file of later checks against itself, its record and its artifact.

    Raises:
        Refused: where the checks end early; the report has the reasons.
    """
    checks = read_file(Rechecked, path, report)
    report.note("texts", part_texts(checks), "no markup, no hidden characters")
    try:
        proper = rechecked_path(sources.board, checks.protocol, checks.run)
        record = sources.records.get(record_path(sources.board, checks.protocol, checks.run))
    except UserError as error:
        report.note("place", [str(error)])
        raise Refused from None
    report.note("place", [] if path == proper else [f"its content belongs to {proper}"], "its path matches its content")
    if record is None:
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
    _check_artifact(record, sources.board, report)
    check_opponent(checks, report)


def opponent_contradictions(evaluation: EvaluationPart) -> list[str]:
    """Return where the check of the hard-label attack does not follow from the verdicts; empty if it does."""
    broken = int((~evaluation.right(HARD_LABEL)).sum())
    survivors = np.logical_and.reduce([evaluation.right(name) for name in VERDICTS])
    attacked = min(PROBE_IMAGES, int(survivors.sum()))
    if broken > attacked:
        return [f"its verdicts say {broken} images were broken, the hard-label attack meets {attacked} of this record"]
    expected = hard_label_of(broken, attacked)
    (stated,) = (check for check in evaluation.health if check.name == expected.name)
    pairs = {
        f"gradient health, {expected.name}": ((stated.value, stated.verdict), (expected.value, expected.verdict)),
    }
    return differing(pairs, "its verdicts give")


def check_opponent(checks: Rechecked, report: Report) -> None:
    """Say what was not measured again: the one place where an audit would attack the network anew."""
    shown = ", ".join(f"{check.name} {check.verdict}" for check in checks.checks)
    report.say(f"note     {shown}: as the file says, the hard-label attack was not run again")


def _impossible_times(checks: Rechecked, record: Record) -> list[str]:
    started, now = datetime.fromisoformat(checks.machine.started), datetime.now(UTC)
    if not EARLIEST <= started <= now + CLOCK_SLACK or checks.machine.threads > MAX_THREADS:
        return [f"started {started} on {checks.machine.threads} threads is not possible"]
    if started < datetime.fromisoformat(record.provenance.started) - CLOCK_SLACK:
        return [f"{started} lies before the record's run, {record.provenance.started}"]
    if (seconds := max(checks.seconds, checks.machine.seconds)) > MAX_SECONDS:
        return [f"{seconds:g} seconds are not possible"]
    return []


def _check_artifact(record: Record, board: Path, report: Report) -> None:
    path = artifact_path(board, record.run)
    if not path.exists() and not path.is_symlink():
        report.leave("artifact", f"it is not in artifacts/; fetch the file with sha256 {record.artifact.sha256}")
        raise Refused
    content = read_plain(path, LIMITS[ARTIFACT])
    same = content is not None and hashlib.sha256(content).hexdigest() == record.artifact.sha256
    report.note("artifact", [] if same else ["the file is not the one that was measured"], f"that of {record.run}")
    report.stop_if_refused()
