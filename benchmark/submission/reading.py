"""From the bytes of a submission to its parts: schema, names, hashes and canonical form."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from benchmark.errors import UserError
from benchmark.files.mistakes import first_mistake
from benchmark.results.protocol import Protocol
from benchmark.results.record import Record
from benchmark.results.store import model_text, record_path
from benchmark.submission.files import ADVERSARIAL, ARTIFACT, METHOD_FOLDER, RECORD, SUBMISSION, Files
from benchmark.submission.schema import Submission
from benchmark.submission.strict_json import parse
from methods import BUILT_IN

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Parts:
    """A consistent submission: its parts are valid, and its files have the stated hashes."""

    submission: Submission
    record: Record
    protocol: Protocol
    record_bytes: bytes
    artifact: bytes | None  # None: it is at the address
    adversarial: bytes | None
    source: bytes | None


def read_models(files: Files) -> tuple[tuple[Submission, Record] | None, list[str]]:
    """Return the contents of the two JSON files, or None, and why they are refused; empty if they are not."""
    submission, reasons = read_model(Submission, SUBMISSION, files.contents[SUBMISSION])
    record, wrong = read_model(Record, RECORD, files.contents[RECORD])
    models = None if submission is None or record is None else (submission, record)
    return models, reasons + wrong


def read_parts(files: Files, submission: Submission, record: Record) -> tuple[Parts | None, list[str]]:
    """Return the parts of a submission, or None, and where they do not match; empty if they do."""
    try:
        record_path(Path(), record.protocol, record.run)
        protocol = Protocol.parse(record.protocol)
    except UserError as error:
        return None, [f"{RECORD}: {error}"]
    reasons = _contradictions(submission, record) + _wrong_files(submission, files)
    parts = Parts(
        submission=submission,
        record=record,
        protocol=protocol,
        record_bytes=files.contents[RECORD],
        artifact=files.contents.get(ARTIFACT),
        adversarial=files.contents.get(ADVERSARIAL),
        source=files.contents.get(f"{METHOD_FOLDER}/{files.source}"),
    )
    return (None if reasons else parts), reasons


def read_model(model: type[M], name: str, content: bytes) -> tuple[M | None, list[str]]:
    """Parse a file; its text must be exactly what `store.write_model` writes."""
    try:
        parsed = model.model_validate_json(json.dumps(parse(content), allow_nan=False))
    except UserError as error:
        return None, [f"{name}: {error}"]
    except ValidationError as error:
        return None, [f"{name}: {first_mistake(error)}"]
    if model_text(parsed).encode() != content:
        return None, [f"{name} is not written as the benchmark writes it: sorted keys, indented by two, nothing else"]
    return parsed, []


def _contradictions(submission: Submission, record: Record) -> list[str]:
    """Return where submission.json and record.json disagree."""
    pairs = {
        "run": (submission.run, record.run),
        "protocol": (submission.protocol, record.protocol),
        "sha256 of the artifact": (submission.artifact.sha256, record.artifact.sha256),
        "size of the artifact": (submission.artifact.size_bytes, record.artifact.size_bytes),
        "kind": (submission.kind, "result" if is_built_in(record) else "method"),
        "file of the method": (
            submission.source and f"{submission.source.file} {submission.source.sha256}",
            submission.source and f"{record.method.target.rpartition(':')[0]} {record.method.source_sha256}",
        ),
    }
    return [
        f"{what}: {SUBMISSION} says {claimed}, {RECORD} says {recorded}"
        for what, (claimed, recorded) in pairs.items()
        if claimed != recorded
    ]


def _wrong_files(submission: Submission, files: Files) -> list[str]:
    """Return which files are missing, left over, or not those that submission.json names."""
    source = submission.source
    wanted = {
        RECORD: submission.record_sha256,
        ARTIFACT: None if submission.artifact.url else submission.artifact.sha256,
        ADVERSARIAL: submission.sample.sha256,
    }
    if source is not None:
        wanted[f"{METHOD_FOLDER}/{source.file}"] = source.sha256
    reasons = []
    for name, digest in wanted.items():
        content = files.contents.get(name)
        if digest is not None and content is None:
            reasons.append(f"{name} is missing")
        elif content is not None and digest is None:
            reasons.append(f"{name} is present, but {SUBMISSION} names no such file")
        elif content is not None and hashlib.sha256(content).hexdigest() != digest:
            reasons.append(f"{name} is not the file that {SUBMISSION} names: its sha256 differs")
    left = sorted({*files.contents} - {*wanted, SUBMISSION})
    return reasons + [f"{name} is present, but {SUBMISSION} names no such file" for name in left]


def is_built_in(record: Record) -> bool:
    """Return whether a record's method is one of the benchmark's own."""
    return BUILT_IN.get(record.method.name) == record.method.target
