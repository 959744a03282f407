"""From a name that a user typed to the one record that `reproduce` or `challenge` is about."""

from __future__ import annotations

from pathlib import Path

from benchmark.errors import UserError, suggestion
from benchmark.leaderboard.find import find_records
from benchmark.results.record import Record
from benchmark.results.store import load_records


def find_record(folder: Path, name: str, protocol: str | None) -> Record:
    """Return the record below `folder` that a name means, see `leaderboard.find.find_records`.

    Raises:
        UserError: if there is none, or several seeds or protocols have it.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give --out the folder that holds records/")
    records = load_records(folder)
    known = sorted({record.protocol for record in records})
    if protocol is not None and protocol not in known:
        raise UserError(
            f"there is no protocol {protocol!r} among the records; known: {', '.join(known)}."
            f"{suggestion(protocol, known)}"
        )
    records = [record for record in records if protocol in (None, record.protocol)]
    found = find_records(records, name)
    if len(found) > 1:
        told = ", ".join(f"{record.run_hash[:6]} (seed {record.seed}, {record.protocol})" for record in found[:5])
        raise UserError(f"{name!r} means {len(found)} records, give the hash of one, or --protocol: {told}")
    return found[0]
