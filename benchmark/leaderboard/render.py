"""Boards as text: a Markdown and a CSV page for each protocol, an index, and a table for the terminal.

Pages lie directly in the leaderboard folder, next to records/ and reference/. `write_pages` brings them up to
date, `check_pages` says where they are not.
"""

from __future__ import annotations

from pathlib import Path

from benchmark.leaderboard.csv_page import CSV_MARKER, to_csv
from benchmark.leaderboard.markdown_page import MARKDOWN_MARKER, index_page, to_markdown
from benchmark.leaderboard.reference import load_reported
from benchmark.leaderboard.tables import boards
from benchmark.leaderboard.terminal import to_terminal
from benchmark.results.challenges import load_challenges
from benchmark.results.store import artifact_problem, load_records, write_atomic

__all__ = ["check_pages", "pages", "to_csv", "to_markdown", "to_terminal", "write_pages"]

INDEX = "boards.md"
_REMEDY = "run `python -m benchmark leaderboard`"


def pages(folder: Path) -> dict[str, str]:
    """Return the text of every page by file name, made from folder/records and folder/reference.

    Raises:
        UserError: if a record or the table of reported results cannot be read.
    """
    reference = folder / "reference" / "reported_tables.csv"
    records = load_records(folder)
    damaged = {record.run: problem for record in records if (problem := artifact_problem(folder, record))}
    found = boards(
        records,
        load_reported(reference) if reference.exists() else (),
        challenges=load_challenges(folder),
        damaged=damaged,
    )
    texts = {INDEX: index_page(list(found.values()))}
    for protocol, board in found.items():
        texts[f"{protocol}.md"] = to_markdown(board)
        texts[f"{protocol}.csv"] = to_csv(board)
    return texts


def write_pages(folder: Path) -> list[Path]:
    """Write the pages that differ from their records, delete those without records, return what changed.

    Raises:
        UserError: if a record or the table of reported results cannot be read.
    """
    texts = pages(folder)
    stale = _stale(folder, texts)
    changed = [folder / name for name, text in texts.items() if _read(folder / name) != text]
    folder.mkdir(parents=True, exist_ok=True)
    for path in changed:
        write_atomic(path, texts[path.name])
    for path in stale:
        path.unlink()
    return sorted(changed + stale)


def check_pages(folder: Path) -> list[str]:
    """Return one sentence for every page that is missing, edited or left over; empty if all agree.

    Raises:
        UserError: if a record or the table of reported results cannot be read.
    """
    texts = pages(folder)
    problems = []
    for name, text in sorted(texts.items()):
        current = _read(folder / name)
        if current is None:
            problems.append(f"{name} is missing: {_REMEDY}")
        elif current != text:
            problems.append(f"{name} differs from its records: {_REMEDY}")
    return problems + [f"{path.name} has no records: {_REMEDY}" for path in _stale(folder, texts)]


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else None


def _stale(folder: Path, texts: dict[str, str]) -> list[Path]:
    # Only files that begin as ours do: anything else beside them was written by hand.
    markers = {".md": MARKDOWN_MARKER, ".csv": CSV_MARKER}
    return [
        path
        for path in sorted(folder.glob("*"))
        if path.suffix in markers and path.name not in texts and (_read(path) or "").startswith(markers[path.suffix])
    ]
