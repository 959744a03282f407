"""`verify --accept`: copies an accepted submission's record and artifact to their places on the board."""

from __future__ import annotations

from pathlib import Path

from benchmark.errors import UserError
from benchmark.files.plain import read_below
from benchmark.results.addresses import ArtifactAddress, address_path
from benchmark.results.store import artifact_path, model_text, record_path, write_atomic
from benchmark.submission.files import ARTIFACT, LIMITS
from benchmark.submission.verifying import Outcome


def accept_submission(outcome: Outcome, board: Path) -> list[Path]:
    """Copy the verified bytes, never overwriting a file, and return the new paths; the pages are not touched.

    An artifact at an address stays there: the record has its hash, and the address is kept beside where it would be.

    Raises:
        UserError: if the submission was refused, or a path on the board is taken or leads through a link.
    """
    if not outcome.accepted or outcome.parts is None:
        raise UserError("only an accepted submission can be copied to the board")
    record, url = outcome.parts.record, outcome.parts.submission.artifact.url
    address = None if url is None else model_text(ArtifactAddress(schema_version=1, url=url)).encode()
    row = record_path(board, record.protocol, record.run)
    # The record last: it makes the row.
    places = [
        (artifact_path(board, record.run), outcome.parts.artifact),
        (address_path(board, record.run), address),
        (row, outcome.parts.record_bytes),
    ]
    wanted = [(path, content) for path, content in places if content is not None]
    for path, content in wanted:
        present = read_below(path, board, LIMITS[ARTIFACT])
        if present is not None and (present != content or path == row):
            raise UserError(f"{path} already exists; nothing was copied")
    for path, content in wanted:
        write_atomic(path, content)
    return [path for path, _ in wanted]
