"""From a name that a user typed to the one record that `reproduce` or `challenge` is about."""

from __future__ import annotations

from pathlib import Path

from benchmark.errors import UserError
from benchmark.leaderboard.find import find_records, of_protocol
from benchmark.results.record import Record
from benchmark.results.store import check_folder, load_records


def find_record(folder: Path, name: str, protocol: str | None) -> Record:
    """Return the record below `folder` that a name means, see `leaderboard.find.find_records`.

    Raises:
        UserError: if there is none, or several seeds or protocols have it.
    """
    check_folder(folder)
    records = load_records(folder)
    found = find_records(records if protocol is None else of_protocol(records, protocol), name)
    if len(found) > 1:
        told = ", ".join(f"{record.run_hash[:6]} (seed {record.seed}, {record.protocol})" for record in found[:5])
        raise UserError(f"{name!r} means {len(found)} records, give the hash of one, or --protocol: {told}")
    return found[0]
