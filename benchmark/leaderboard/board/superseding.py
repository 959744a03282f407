"""Which rows are newer versions of others: only by those who submitted both, and each in place of one row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from benchmark.results.external import AnyRecord, ExternalRecord


def superseding_problem(record: AnyRecord, records: Iterable[AnyRecord]) -> str:
    """Return why a record may not supersede the one that it names; empty if it may, or names none.

    Both must be of networks trained elsewhere, of one protocol, of the same method by the same authors, and with the
    same credit; no third record may supersede the same one.

    Args:
        record: the newer version.
        records: all of the board; it may be among them.
    """
    if not isinstance(record, ExternalRecord) or record.supersedes is None:
        return ""
    others = [each for each in records if each.protocol == record.protocol and each.run != record.run]
    old = next((each for each in others if each.run == record.supersedes), None)
    if old is None:
        return f"it supersedes {record.supersedes}, which is not on this board"
    if not isinstance(old, ExternalRecord):
        return f"it supersedes {old.run}, which was trained here; only a row of the same origin can be superseded"
    for what in ("method", "authors", "credit"):
        if getattr(old.origin, what) != getattr(record.origin, what):
            return f"it supersedes {old.run}, whose {what} differs: only those who made a row can replace it"
    if old.started > record.started:
        return f"it supersedes {old.run}, which was measured after it"
    rivals = [each for each in others if isinstance(each, ExternalRecord) and each.supersedes == old.run]
    first = min([record, *rivals], key=lambda each: (each.started, each.run))
    return "" if first.run == record.run else f"{old.run} is superseded by {first.run} already"


def successors(records: Iterable[AnyRecord], refused: Mapping[str, object]) -> dict[str, str]:
    """Return the run of the newer version of each superseded run, by the run it supersedes.

    Args:
        records: of one board.
        refused: runs that the board refuses; they supersede nothing.
    """
    return {
        record.supersedes: record.run
        for record in records
        if isinstance(record, ExternalRecord) and record.supersedes is not None and record.run not in refused
    }
