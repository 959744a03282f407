"""`audit`: one gate for every change of a board, from the kinds of files to attacks on the stored networks.

Nothing below the board is executed, imported, unpickled or changed. Results are kept in a journal, so that a stopped
audit continues where it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmark.audit.challenged import audit_challenge
from benchmark.audit.changes import History
from benchmark.audit.evaluations import audit_evaluation
from benchmark.audit.external import audit_citation, audit_record
from benchmark.audit.journal import Journal
from benchmark.audit.pages import audit_pages
from benchmark.audit.rechecked import audit_checks
from benchmark.audit.sorting import Item, Sorted, everything, of_rows, since
from benchmark.audit.sources import Sources
from benchmark.errors import UserError
from benchmark.files.plain import read_plain
from benchmark.results.external import FOLDER, AnyRecord, ExternalRecord
from benchmark.results.record import Record
from benchmark.results.store import check_folder, path_of
from benchmark.runtime.progress import duration
from benchmark.submission.files import LIMITS, RECORD
from benchmark.submission.reading import read_model
from benchmark.submission.remeasure import Effort
from benchmark.submission.report import Refused, Report, broken_off

CHECKS: dict[str, Callable[[Path, Sources, Report], None]] = {
    "record": audit_record,
    "evaluation": audit_evaluation,
    "challenge": audit_challenge,
    "check": audit_checks,
    "citation": audit_citation,
}


@dataclass(frozen=True)
class AuditRequest:
    """What the user asked for, as typed."""

    board: Path
    rows: Sequence[str]  # names of rows; empty for the whole board, or for what changed since a commit
    since: str | None
    data_dir: Path | None
    effort: Effort


@dataclass(frozen=True)
class AuditOutcome:
    """The outcome of an audit."""

    counts: dict[str, int]  # records, evaluations, challenges and later checks that were checked
    changed: bool  # False: nothing on the board differs from the commit
    reasons: tuple[str, ...]  # each begins with the name of the file
    unchecked: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether everything was checked and nothing refused."""
        return not self.reasons and not self.unchecked


def audit(request: AuditRequest, say: Callable[[str], None]) -> AuditOutcome:
    """Check a board, some of its rows, or what changed in it since a commit.

    Raises:
        UserError: if there is no such board, row or commit.
    """
    check_folder(request.board)
    if request.rows and request.since is not None:
        raise UserError("give rows or --since, not both: --since already selects what changed")
    records = _valid_records(request.board)
    history = None if request.since is None else History.since(request.board, request.since)
    if history is not None:
        work = since(history, records)
    elif request.rows:
        work = of_rows(request.rows, records, request.board)
    else:
        work = everything(request.board, records)
    audited = frozenset(item.path for item in work.items if item.kind == "record")
    sources = Sources(request.board, records, audited, request.data_dir, request.effort)
    total = Report(say)
    for name, reason in work.refused:
        total.note(name, [reason])
    for name, reason in work.unchecked:
        total.leave(name, reason)
    _audit_items(work, sources, total, say)
    if not request.rows and (work.items or work.pages or history is None):
        audit_pages(request.board, history, total)
    counts = {kind: sum(item.kind == kind for item in work.items) for kind in CHECKS}
    changed = history is None or bool(work.items or work.refused or work.unchecked or work.pages)
    return AuditOutcome(counts, changed, tuple(total.reasons), tuple(total.unchecked))


def audit_text(outcome: AuditOutcome) -> str:
    """Return the last lines of an audit: what was checked, and what was refused or not checked."""
    if not outcome.changed:
        return "nothing on the board changed"
    counts = {kind: count for kind, count in outcome.counts.items() if count or kind != "citation"}
    checked = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items())
    lines = [f"{checked}: {'all pass' if outcome.passed else 'see below'}"]
    lines += [f"refused: {reason}" for reason in outcome.reasons]
    lines += [f"not checked: {reason}" for reason in outcome.unchecked]
    return "\n".join(lines)


def _audit_items(work: Sorted, sources: Sources, total: Report, say: Callable[[str], None]) -> None:
    """Check every item, or reuse its outcome from the journal."""
    journal = Journal(sources)
    started, measured = time.monotonic(), 0
    for number, item in enumerate(work.items, 1):
        left = len(work.items) - number + 1
        about = f", about {duration((time.monotonic() - started) / measured * left)} left" if measured else ""
        say("")
        say(f"{item.kind} {number} of {len(work.items)}{about}: {item.name}")
        report = Report(say)
        if not journal.take_over(item, report):
            measured += 1
            _audit_item(item, sources, report)
            journal.keep(item, report)
        total.reasons += [f"{item.name}: {reason}" for reason in report.reasons]
        total.unchecked += [f"{item.name}: {reason}" for reason in report.unchecked]
    journal.remove()


def _audit_item(item: Item, sources: Sources, report: Report) -> None:
    try:
        CHECKS[item.kind](item.path, sources, report)
    except Refused:
        pass
    except Exception as error:  # a stranger's numbers can make any check fail
        report.note("audit", [str(error) if isinstance(error, UserError) else broken_off(error)])


def _valid_records(board: Path) -> dict[Path, AnyRecord]:
    """Return the readable records of a board by file; each of the others is refused when it is checked."""
    records: dict[Path, AnyRecord] = {}
    kinds: dict[str, type[AnyRecord]] = {"records": Record, FOLDER: ExternalRecord}
    for kind, model in kinds.items():
        for path in sorted(Path(folder, name) for folder, _, names in os.walk(board / kind) for name in names):
            content = read_plain(path, LIMITS[RECORD])
            record = None if content is None else read_model(model, path.name, content)[0]
            with suppress(UserError):  # its run cannot be a file name
                if record is not None and path == path_of(board, record):
                    records[path] = record
    return records
