"""From the bytes of a submission of a network that was trained elsewhere to its parts: schema, names and hashes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import UserError
from benchmark.results.citations import Citation, parse_citation
from benchmark.results.external import ExternalRecord
from benchmark.results.store import external_path
from benchmark.submission.external.texts import citation_texts, external_texts
from benchmark.submission.files import ADVERSARIAL, CITATION, NETWORK, RECORD, SUBMISSION, Files
from benchmark.submission.reading import read_model
from benchmark.submission.report import Refused, Report
from benchmark.submission.schema import ExternalSubmission
from benchmark.submission.strict_json import parse


@dataclass(frozen=True)
class ExternalParts:
    """A consistent submission: its parts are valid, and its files have the stated hashes."""

    submission: ExternalSubmission
    record: ExternalRecord
    record_bytes: bytes
    network: bytes | None  # None: it is at the address
    adversarial: bytes | None
    citation: bytes | None


def is_external(files: Files) -> bool:
    """Return whether a submission says of itself that its network was trained elsewhere."""
    try:
        fields = parse(files.contents[SUBMISSION])
    except UserError:  # the checks of the other kinds say what is wrong
        return False
    return isinstance(fields, dict) and fields.get("kind") == "external"


def read_external(files: Files, report: Report) -> ExternalParts:
    """Read and check everything but the network.

    Raises:
        Refused: if there is a reason against it; the report has it.
    """
    submission, reasons = read_model(ExternalSubmission, SUBMISSION, files.contents[SUBMISSION])
    record, wrong = read_model(ExternalRecord, RECORD, files.contents[RECORD])
    citation, unreadable = _citation(files.contents.get(CITATION))
    report.note("schema", reasons + wrong + unreadable, "valid and in canonical form")
    if submission is None or record is None or unreadable:
        raise Refused
    texts = external_texts(record, submission) + ([] if citation is None else citation_texts(citation))
    report.note("texts", texts, "plain names, no markup, no hidden characters")
    report.stop_if_refused()
    report.note("hashes", _contradictions(submission, record, files), "those of the files, and both are about one row")
    report.stop_if_refused()
    contents = files.contents
    return ExternalParts(
        submission=submission,
        record=record,
        record_bytes=contents[RECORD],
        network=contents.get(NETWORK),
        adversarial=contents.get(ADVERSARIAL),
        citation=contents.get(CITATION),
    )


def _citation(content: bytes | None) -> tuple[Citation | None, list[str]]:
    try:
        return (None if content is None else parse_citation(content, CITATION)), []
    except UserError as error:
        return None, [str(error)]


def _contradictions(submission: ExternalSubmission, record: ExternalRecord, files: Files) -> list[str]:
    """Return where the two JSON files disagree, and which files are missing, left over or others than those named."""
    try:
        external_path(Path(), record.protocol, record.run)
    except UserError as error:
        return [f"{RECORD}: {error}"]
    pairs = {
        "run": (submission.run, record.run),
        "protocol": (submission.protocol, record.protocol),
        "sha256 of the network": (submission.artifact.sha256, record.artifact.sha256),
        "size of the network": (submission.artifact.size_bytes, record.artifact.size_bytes),
    }
    reasons = [
        f"{what}: {SUBMISSION} says {claimed}, {RECORD} says {recorded}"
        for what, (claimed, recorded) in pairs.items()
        if claimed != recorded
    ]
    wanted = {
        RECORD: submission.record_sha256,
        NETWORK: None if submission.artifact.url else submission.artifact.sha256,
        ADVERSARIAL: submission.sample.sha256,
        CITATION: submission.citation_sha256,
    }
    present = {name: content for name, content in files.contents.items() if name != SUBMISSION}
    for name in sorted({*present, *(name for name, digest in wanted.items() if digest)}):
        if wanted.get(name) is None:
            reasons.append(f"{name} is present, but {SUBMISSION} names no such file")
        elif name not in present:
            reasons.append(f"{name} is missing")
        elif hashlib.sha256(present[name]).hexdigest() != wanted[name]:
            reasons.append(f"{name} is not the file that {SUBMISSION} names: its sha256 differs")
    return reasons
