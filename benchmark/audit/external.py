"""A network on a board that was trained elsewhere, and what a board says to cite for a row."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from benchmark.audit.rows import audit_row
from benchmark.audit.sources import Sources, check_place, read_file
from benchmark.errors import UserError
from benchmark.files.plain import read_plain
from benchmark.results.citations import CITATION_BYTES, citation_path, parse_citation
from benchmark.results.external import FOLDER, ExternalRecord
from benchmark.results.invariants import doubts
from benchmark.results.store import artifact_path, external_path
from benchmark.submission.external.checking import copied_elsewhere, external_contradictions, superseding_reasons
from benchmark.submission.external.texts import citation_texts, external_texts
from benchmark.submission.external.verifying import check_network, measure_external
from benchmark.submission.files import LIMITS, NETWORK
from benchmark.submission.report import Refused, Report


def audit_record(path: Path, sources: Sources, report: Report) -> None:
    """Check the record of a file, of either kind, see `audit_row` and `audit_external`."""
    (audit_external if path.parents[1].name == FOLDER else audit_row)(path, sources, report)


def audit_external(path: Path, sources: Sources, report: Report) -> None:
    """Check the record of a file against itself, its ONNX file, the other records, and its images.

    Raises:
        Refused: where the checks end early; the report has the reasons.
    """
    record = read_file(ExternalRecord, path, report)
    check_place(path, lambda: external_path(sources.board, record.protocol, record.run), report)
    report.stop_if_refused()
    report.note("texts", external_texts(record), "plain names, no markup, no hidden characters")
    report.stop_if_refused()
    numbers = external_contradictions(record, now=datetime.now(UTC), ranked=False)
    numbers += superseding_reasons(record, sources.records.values())
    report.note("numbers", numbers, "the record agrees with itself and with the clock")
    report.stop_if_refused()
    file = artifact_path(sources.board, record.run, record.ending)
    if not file.exists() and not file.is_symlink():
        report.leave("graph", f"it is not in artifacts/; fetch the file with sha256 {record.artifact.sha256}")
        raise Refused
    artifact = check_network(record, lambda: _plain(file), report)
    others = sources.older(path)
    reasons = copied_elsewhere(record, artifact, others, sources.board)
    report.note("copies", reasons, f"compared with {len(others)} other records")
    report.stop_if_refused()
    images = record.evaluation.n_images
    data = sources.test_data(record.dataset.name, images, record.dataset.test_sha256, report)
    measure_external(record, artifact, data, sources.effort, report)
    for reason in doubts(record):
        report.say(f"note     the board does not rank it: {reason}")


def audit_citation(path: Path, sources: Sources, report: Report) -> None:
    """Check that a citation can be read and shown, and belongs to a record.

    Raises:
        Refused: if it cannot be read.
    """
    content = read_plain(path, CITATION_BYTES)
    try:
        citation = parse_citation(content or b"", path.name)
    except UserError as error:
        report.note("schema", [str(error)])
        raise Refused from None
    report.note("schema", [], "valid")
    report.note("texts", citation_texts(citation), "no markup, no hidden characters")
    runs = {citation_path(sources.board, record.run) for record in sources.records.values()}
    report.note("record", [] if path in runs else ["no valid record here has this run"], "that of a row")


def _plain(path: Path) -> bytes:
    content = read_plain(path, LIMITS[NETWORK])
    if content is None:
        raise UserError(f"{path} is not a plain file of at most {LIMITS[NETWORK]:,} bytes")
    return content
