"""From a name that a user typed to the records of one row of a board."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from benchmark.errors import UserError, suggestion
from benchmark.leaderboard.board.setting import setting_of
from benchmark.results.external import AnyRecord, ExternalRecord
from benchmark.results.record import Record
from benchmark.results.store import check_folder, load_all

R = TypeVar("R", Record, ExternalRecord, AnyRecord)

CANDIDATES = 5  # at most so many are listed when a name means several rows
_HASH = re.compile(r"[0-9a-f]{4,12}")


def find_records(records: Sequence[R], name: str) -> list[R]:
    """Return the records that a name refers to, all of one row, in the order of protocols and seeds.

    Args:
        records: where to look.
        name: a run; the first four or more hex digits of its hash; a cell, that is a run's name without its last part,
            for all its seeds; or a part of a cell's name that no other cell has. Several of these, joined by commas,
            refer to their records together, which names the seeds of one row where two rows share a cell.

    Raises:
        UserError: if no record has the name, or records of several rows have it.
    """
    named = {id(record): record for part in name.split(",") for record in _matches(records, part.strip())}
    rows: dict[tuple[str, str], list[R]] = {}
    for record in sorted(named.values(), key=lambda record: (record.protocol, record.seed or 0, record.run)):
        rows.setdefault((record.protocol, setting_of(record)), []).append(record)
    cells = {cell_of(record) for record in named.values()}
    if len(cells) > 1 or len({protocol for protocol, _ in rows}) < len(rows):
        raise UserError(_ambiguous(name, rows.values()))
    for row in rows.values():
        if len({record.seed for record in row}) < len(row):
            raise UserError(_ambiguous(name, [[record] for record in row]))
    return [record for row in rows.values() for record in row]


def of_protocol(records: Sequence[R], protocol: str) -> list[R]:
    """Return the records of one protocol.

    Raises:
        UserError: if there are none.
    """
    protocols = sorted({record.protocol for record in records})
    if protocol not in protocols:
        raise UserError(
            f"there is no protocol {protocol!r} among the records; known: {', '.join(protocols)}."
            f"{suggestion(protocol, protocols)}"
        )
    return [record for record in records if record.protocol == protocol]


def find_pair(records: Sequence[R], a: str, b: str, *, protocol: str | None = None) -> tuple[list[R], list[R]]:
    """Return the records of two rows of one protocol.

    Args:
        records: where to look.
        a: name of the first row, see `find_records`.
        b: name of the second.
        protocol: id of the protocol; None: the only one that has both rows.

    Raises:
        UserError: if a name or the protocol is unknown or ambiguous, or both names refer to the same records.
    """
    protocols = _protocols(records, a), _protocols(records, b)
    shared = protocols[0] & protocols[1]
    if protocol is not None:
        shared &= {record.protocol for record in of_protocol(records, protocol)}
    if not shared:
        raise UserError(
            f"rows of different protocols are never compared: {a!r} has {_listed(protocols[0])}, "
            f"{b!r} has {_listed(protocols[1])}; evaluate both under one protocol."
        )
    if len(shared) > 1:
        raise UserError(f"both rows exist under {_listed(shared)}: choose one by its protocol.")
    records = [record for record in records if record.protocol in shared]
    rows = find_records(records, a), find_records(records, b)
    if {record.run for record in rows[0]} & {record.run for record in rows[1]}:
        raise UserError(f"{a!r} and {b!r} name the same run: give two different rows.")
    return rows


def is_known(records: Sequence[R], name: str) -> bool:
    """Return whether every part of a name, see `find_records`, is that of a record."""
    return all(_records_named(records, part.strip()) for part in name.split(","))


def _records_named(records: Sequence[R], name: str) -> list[R]:
    """Return the records that have the name in the strictest sense in which any has it; none if it is unknown."""
    senses: list[Callable[[R], bool]] = [
        lambda record: record.run == name,
        lambda record: _HASH.fullmatch(name) is not None and record.run_hash.startswith(name),
        lambda record: cell_of(record) == name,
        lambda record: name != "" and name in cell_of(record),
    ]
    for has_name in senses:
        if named := [record for record in records if has_name(record)]:
            return named
    return []


def _matches(records: Sequence[R], name: str) -> list[R]:
    """Return the records that have the name.

    Raises:
        UserError: if none has it.
    """
    if named := _records_named(records, name):
        return named
    cells = {cell_of(record) for record in records}
    names = sorted(cells | {part for cell in cells for part in cell.split("/")})
    raise UserError(
        f"no record is called {name!r}: give a run, four or more digits of its hash, or a part of a cell's name, "
        f"as the records' file names show them.{suggestion(name, names)}"
    )


def _protocols(records: Sequence[R], name: str) -> set[str]:
    return {record.protocol for part in name.split(",") for record in _matches(records, part.strip())}


def _ambiguous(name: str, rows: Iterable[list[R]]) -> str:
    cells = dict.fromkeys(
        f"{cell_of(row[0])} ({','.join(record.run_hash[:6] for record in row)}; {_trained(row[0])})" for row in rows
    )
    listed = ", ".join(list(cells)[:CANDIDATES])
    more = f" and {len(cells) - CANDIDATES} more" if len(cells) > CANDIDATES else ""
    return f"{name!r} means {len(cells)} rows, give the cell or the hashes of one: {listed}{more}."


def _named_seed(record: AnyRecord) -> str:
    return "" if record.seed is None else f"seed {record.seed}, "


def _trained(record: AnyRecord) -> str:
    return "trained elsewhere" if isinstance(record, ExternalRecord) else f"{record.training.epochs} epochs"


def _listed(names: set[str]) -> str:
    return " and ".join(sorted(names))


def cell_of(record: AnyRecord) -> str:
    """Return a run's name without its seed and hash."""
    return record.run.rpartition("/")[0]


def find_record(folder: Path, name: str, protocol: str | None) -> AnyRecord:
    """Return the record below `folder` that a name refers to, see `find_records`.

    Raises:
        UserError: if there is none, or several seeds or protocols have it.
    """
    check_folder(folder)
    records = load_all(folder)
    named = find_records(records if protocol is None else of_protocol(records, protocol), name)
    if len(named) > 1:
        listed = ", ".join(f"{record.run_hash[:6]} ({_named_seed(record)}{record.protocol})" for record in named[:5])
        raise UserError(f"{name!r} means {len(named)} records, give the hash of one, or its protocol: {listed}")
    return named[0]
