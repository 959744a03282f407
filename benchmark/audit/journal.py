"""The outcomes of an audit so far, kept until it is finished, in the folder that the command runs in.

Not below the board, which may belong to somebody else: whoever can write to a journal can forge outcomes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from benchmark.audit.sorting import Item
from benchmark.audit.sources import Sources
from benchmark.files.places import ROOT
from benchmark.files.plain import read_plain
from benchmark.results.store import write_atomic
from benchmark.submission.files import ARTIFACT, LIMITS
from benchmark.submission.report import Report

JOURNALS = Path("runs", "audit")
_OUTCOME = TypeAdapter(tuple[list[str], list[str]])  # lines and reasons


class Journal:
    """Outcomes, identified by all they depend on: files, effort, other records, and the code of the checks."""

    def __init__(self, sources: Sources) -> None:
        self.board = sources.board
        digest = hashlib.sha256(f"{sources.board.resolve()} {sources.effort.seconds} {sources.data_dir}".encode())
        digest.update(_source_sha256().encode())
        for path, record in sorted(sources.records.items()):  # an outcome depends on the other records as well
            digest.update(f"{path} {record.artifact.sha256} {record.weights_sha256} {record.dataset}".encode())
        self.folder = JOURNALS / digest.hexdigest()[:16]

    def take_over(self, item: Item, report: Report) -> bool:
        """Repeat the lines of an item that was checked before; return whether it was."""
        try:
            lines, reasons = _OUTCOME.validate_json(self._path(item).read_bytes())
        except (OSError, ValidationError):  # absent, or cut off by a crash
            return False
        report.say("checked before, by a run that was stopped:")
        for line in lines:
            report.say(line)
        report.reasons = reasons
        return True

    def keep(self, item: Item, report: Report) -> None:
        """Store the outcome of an item, unless something was missing, which may be present the next time."""
        if not report.unchecked:
            write_atomic(self._path(item), json.dumps([report.lines, report.reasons]), durable=False)

    def remove(self) -> None:
        """Delete the journal: the audit is finished, and the next one draws other images."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, item: Item) -> Path:
        digest = hashlib.sha256(item.name.encode("utf-8", "surrogateescape"))
        for file in (item.path, *item.beside):
            digest.update(hashlib.sha256(read_plain(file, LIMITS[ARTIFACT]) or b"").digest())
        return self.folder / f"{digest.hexdigest()[:32]}.json"


def _source_sha256() -> str:
    digest = hashlib.sha256()
    for package in ("benchmark", "methods"):
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
