"""What has changed between two states of a board, in sentences: rows, robust accuracies, ranks and why they moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from benchmark.leaderboard.formats import markdown, percent
from benchmark.leaderboard.history.previous_page import Page, PageChallenge, PageRow

LISTED = 10  # rows that a reason names


@dataclass(frozen=True)
class _Pair:
    """A row and what it was before; nothing if it is new, several if a merge brought it twice or rows were joined."""

    row: PageRow
    before: tuple[PageRow, ...]


def changes(before: Page, after: Page) -> list[str]:
    """Return the differences as lines of Markdown, rows first, then ranks that moved by the reason they share."""
    old_by_run: dict[str, list[PageRow]] = {}
    for row in before.rows:
        for run in row.runs:
            old_by_run.setdefault(run, []).append(row)
    pairs = [
        _Pair(row, tuple(dict.fromkeys(old for run, _ in row.records for old in old_by_run.get(run, ()))))
        for row in after.rows
    ]
    known = {run for row in after.rows for run in row.runs}
    new_challenges = [each for each in after.challenges if each not in before.challenges]
    withdrawn = [each for each in before.challenges if each not in after.challenges]
    told = [_added(pair.row) for pair in pairs if not pair.before]
    told += [f"Removed {_named(row)}." for row in before.rows if not row.runs & known]
    moved: dict[str, list[str]] = {}
    kept = [(pair, _own_changes(pair, new_challenges, withdrawn)) for pair in pairs if pair.before]
    above = _Above(before.rows, pairs, unchanged={pair.row.id for pair, own in kept if not own})
    for pair, own in kept:
        places = _places(pair)
        if own:
            told.append(f"Changed {_named(pair.row)}: {'; '.join([*own, *places])}.")
        elif places:
            moved.setdefault(above.reason(pair), []).append(f"{markdown(pair.row.id)} {', '.join(places)}")
    told += [f"Moved because {reason}: {'; '.join(rows)}." for reason, rows in moved.items()]
    return told or ["No row differs from the page that was there; its entry was missing."]


def _added(row: PageRow) -> str:
    if row.rank is None:
        return f"Refused {_named(row)}: {markdown('; '.join(row.reasons))}."
    return f"Added {_named(row)}: robust {percent(row.robust)}, {_place(row)}."


def _own_changes(pair: _Pair, new_challenges: Sequence[PageChallenge], withdrawn: Sequence[PageChallenge]) -> list[str]:
    """Return what happened to the row itself, in words; nothing if at most its rank changed."""
    row, before = pair.row, pair.before
    old_records = {record for old in before for record in old.records}
    old_runs = {run for run, _ in old_records}
    told = []
    if names := sorted({old.id for old in before} - {row.id}):
        told.append(f"formerly {_some(names)}")
    if added := [seed for (run, _), seed in zip(row.records, row.seeds, strict=True) if run not in old_runs]:
        told.append(f"{_seeds(added)} added")
    if gone := sorted({seed for old in before for seed, run in _seed_runs(old) if run not in row.runs}):
        told.append(f"{_seeds(gone)} gone")
    known = [(record, seed) for record, seed in zip(row.records, row.seeds, strict=True) if record[0] in old_runs]
    if edited := [seed for record, seed in known if record not in old_records]:
        told.append(f"record of {_seeds(edited)} changed")
    checked = {run for old in before for run in old.checked}
    for verb, runs in (("added", row.checked - checked), ("removed", checked - row.checked)):
        if seeds := [seed for (run, _), seed in zip(row.records, row.seeds, strict=True) if run in runs & old_runs]:
            told.append(f"opponent's checks {verb} for {_seeds(seeds)}")
    for each in new_challenges:
        if each.run in row.runs:
            told.append(f"challenge by {markdown(each.credit)} of {markdown(each.date)}")
    for each in withdrawn:
        if each.run in row.runs:
            told.append(f"challenge by {markdown(each.credit)} withdrawn")
    if row.rank is None and all(old.rank is not None for old in before):
        told.append(f"refused, {markdown('; '.join(row.reasons))}")
    elif row.rank is not None and any(old.rank is None for old in before):
        told.append("no longer refused")
    if {old.robust for old in before} != {row.robust}:
        told.append(f"robust {_or(percent(old.robust) for old in before)} to {percent(row.robust)}")
    return told


def _places(pair: _Pair) -> list[str]:
    row, before = pair.row, [old for old in pair.before if old.rank is not None]
    if row.rank is None or not before:
        return []
    told = []
    if {(old.preset, old.size_class) for old in before} != {(row.preset, row.size_class)}:
        told.append(f"from {_or(_ranking(old) for old in before)} to {_ranking(row)}")
    if {old.rank for old in before} != {row.rank}:
        told.append(f"rank {_or(str(old.rank) for old in before)} to {row.rank}")
    return told


class _Above:
    """Who stands above a row, before and now. Rows are known by their id among the new ones, or by their old id.

    Two rows that are what they were keep their order: where the old page says otherwise, it holds the ranks of two
    branches, which say nothing about each other.
    """

    def __init__(self, old_rows: Sequence[PageRow], pairs: Sequence[_Pair], *, unchanged: Set[str]) -> None:
        self._unchanged = unchanged
        self._now = _by_ranking((pair.row, pair.row.id) for pair in pairs)
        names = {old: pair.row.id for pair in pairs for old in pair.before}
        self._before = _by_ranking((row, names.get(row, row.id)) for row in old_rows)

    def reason(self, pair: _Pair) -> str:
        """Say why the rank of a row moved that did not change itself."""
        now = self._above(self._now, pair.row)
        before = [self._above(self._before, old) for old in pair.before]  # of either side of a merge
        told = []
        if came := sorted(now.difference(*before)):
            told.append(f"{_some(came)} came above")
        if went := sorted(set.intersection(*before) - now - self._unchanged):
            told.append(f"{_some(went)} no longer {'stands' if len(went) == 1 else 'stand'} above")
        return " and ".join(told) or "rows of two branches came together"

    @staticmethod
    def _above(rankings: dict[tuple[str, str], list[tuple[int, str]]], row: PageRow) -> set[str]:
        if row.rank is None:
            return set()
        return {name for rank, name in rankings.get((row.preset, row.size_class), ()) if rank < row.rank}


def _by_ranking(rows: Iterable[tuple[PageRow, str]]) -> dict[tuple[str, str], list[tuple[int, str]]]:
    found: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for row, name in rows:
        if row.rank is not None:
            found.setdefault((row.preset, row.size_class), []).append((row.rank, name))
    return found


def _seed_runs(row: PageRow) -> list[tuple[int, str]]:
    return [(seed, run) for (run, _), seed in zip(row.records, row.seeds, strict=True)]


def _named(row: PageRow) -> str:
    return f"{markdown(row.id)} ({markdown(row.label)})"


def _place(row: PageRow) -> str:
    return f"rank {row.rank} of {_ranking(row)}"


def _ranking(row: PageRow) -> str:
    return f"{markdown(row.preset)}, class {markdown(row.size_class)}"


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(str(seed) for seed in seeds)}"


def _or(texts: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(texts))


def _some(ids: Sequence[str]) -> str:
    listed = ", ".join(markdown(each) for each in ids[:LISTED])
    return f"{listed} and {len(ids) - LISTED} more" if len(ids) > LISTED else listed
