"""`verify --accept`: copies an accepted submission's record and artifact to their places on the board."""

from __future__ import annotations

from pathlib import Path

from benchmark.errors import UserError
from benchmark.files.plain import read_below
from benchmark.results.addresses import ArtifactAddress, address_path
from benchmark.results.citations import citation_path
from benchmark.results.store import artifact_path, model_text, path_of, write_atomic
from benchmark.submission.external.reading import ExternalParts
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
    parts = outcome.parts
    record, url = parts.record, parts.submission.artifact.url
    address = None if url is None else model_text(ArtifactAddress(schema_version=1, url=url)).encode()
    row = path_of(board, record)
    places: list[tuple[Path, bytes | None]] = [(address_path(board, record.run), address)]
    network = artifact_path(board, record.run, record.ending)
    if isinstance(parts, ExternalParts):
        places += [(network, parts.network), (citation_path(board, record.run), parts.citation)]
    else:
        places.append((network, parts.artifact))
    places.append((row, parts.record_bytes))  # last: it makes the row
    wanted = [(path, content) for path, content in places if content is not None]
    for path, content in wanted:
        present = read_below(path, board, LIMITS[ARTIFACT])
        if present is not None and (present != content or path == row):
            raise UserError(f"{path} already exists; nothing was copied")
    for path, content in wanted:
        write_atomic(path, content)
    return [path for path, _ in wanted]
