"""What an audit has found so far, kept until it is finished, in the folder that the command runs in.

Not below the board, which may be somebody else's: whoever writes a journal can write outcomes into it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import benchmark
import methods
from benchmark.audit.sorting import Item
from benchmark.results.store import artifact_path, write_atomic
from benchmark.submission.remeasure import Effort
from benchmark.submission.report import Report

JOURNALS = Path("runs", "audit")


class Journal:
    """Outcomes by everything that they depend on: the files, the effort, and the code of the checks."""

    def __init__(self, board: Path, effort: Effort, data_dir: Path | None) -> None:
        self.board = board
        settings = f"{board.resolve()} {effort.seconds} {data_dir and data_dir.resolve()} {_source_sha256()}"
        self.folder = JOURNALS / hashlib.sha256(settings.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def take_over(self, item: Item, report: Report) -> bool:
        """Repeat the lines of an item that was checked before; return whether there are any."""
        path = self._path(item)
        if not path.is_file():
            return False
        lines, report.reasons, report.unchecked = json.loads(path.read_text(encoding="utf-8"))
        for line in lines:
            report.say(line)
        return True

    def keep(self, item: Item, report: Report) -> None:
        """Remember the outcome of an item."""
        write_atomic(self._path(item), json.dumps([report.lines, report.reasons, report.unchecked]), durable=False)

    def remove(self) -> None:
        """Forget everything: the audit is finished, and the next one draws other images."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, item: Item) -> Path:
        digest = hashlib.sha256(item.name.encode("utf-8", "surrogateescape"))
        files = [item.path, item.path.with_suffix(".safetensors")]
        if item.kind == "record":
            files.append(artifact_path(self.board, item.path.stem.replace("__", "/")))
        for file in files:
            if file.is_file():
                digest.update(hashlib.sha256(file.read_bytes()).digest())
        return self.folder / f"{digest.hexdigest()[:32]}.json"


def _source_sha256() -> str:
    digest = hashlib.sha256()
    for package in (benchmark, methods):
        for path in sorted(Path(package.__file__ or "").parent.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
