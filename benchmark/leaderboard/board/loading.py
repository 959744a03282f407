"""Reads everything below a folder of results that boards are made of, and builds the boards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.leaderboard.board.reference import ABLATIONS, TABLES, has_reported, load_reported
from benchmark.leaderboard.board.tables import Board, boards
from benchmark.results.challenges import load_challenges
from benchmark.results.citations import load_citations
from benchmark.results.external import AnyRecord
from benchmark.results.rechecks import load_rechecks
from benchmark.results.speed import load_speed
from benchmark.results.store import artifact_problem, load_hashed_external, load_hashed_records


@dataclass(frozen=True)
class Results:
    """The boards of a folder, and the SHA-256 of each record's file by protocol and run."""

    boards: Mapping[str, Board]  # by protocol, in alphabetical order
    digests: Mapping[tuple[str, str], str]
    published: bool  # whether the folder has published numbers
    stale: Sequence[str]  # sentences about measured times that no page shows


def load_results(folder: Path) -> Results:
    """Read records, artifacts' hashes, later checks, challenges, citations, times and published numbers below a folder.

    Raises:
        UserError: if a record, its later checks, a challenge or a table of reported results cannot be read.
    """
    hashed: list[tuple[AnyRecord, str]] = [*load_hashed_records(folder), *load_hashed_external(folder)]
    records = [record for record, _ in hashed]
    reference = folder / "reference"
    published = {
        path: load_reported(reference / path) for path in (TABLES, ABLATIONS) if has_reported(reference / path)
    }
    speed = load_speed(folder)
    by_protocol = boards(
        records,
        published.get(TABLES, ()),
        ablations=published.get(ABLATIONS, ()),
        challenges=load_challenges(folder),
        rechecks=load_rechecks(folder),
        damaged={record.run: problem for record in records if (problem := artifact_problem(folder, record))},
        citations=load_citations(folder, {record.run for record in records}),
        speed=speed,
    )
    digests = {(record.protocol, record.run): digest for record, digest in hashed}
    return Results(by_protocol, digests, bool(published), [] if speed is None else speed.problems(records))
