"""`pull`: downloads a row from the Hugging Face Hub and checks it. Whoever wrote the repository is not trusted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from benchmark.api.loading import class_names
from benchmark.api.places import optional_path
from benchmark.artifact.unpack import unpack
from benchmark.errors import UserError
from benchmark.files.plain import read_below
from benchmark.hub.client import ARTIFACT, RECORD, checked_repo, checked_revision, download, hub_errors, make_api
from benchmark.networks.loaded import LoadedModel
from benchmark.results.external import ExternalRecord
from benchmark.results.record import Record
from benchmark.results.store import ARTIFACT_BYTES, RECORD_BYTES, artifact_path, make_folders, record_path, write_atomic
from benchmark.submission.reading import read_model
from benchmark.submission.texts import record_texts


@dataclass(frozen=True)
class Pulled:
    """A row of the Hub.

    Attributes:
        repo: user/name.
        commit: hash of the commit that was read; None if the Hub does not state it.
        record: the row's record.
        model: the network, see `benchmark.load_model`.
        paths: files that were written, artifact and record; empty without `out`.
    """

    repo: str
    commit: str | None
    record: Record = field(repr=False)
    model: LoadedModel = field(repr=False)
    paths: tuple[Path, ...]


def pull(repo: str, *, revision: str | None = None, out: str | PathLike[str] | None = None) -> Pulled:
    """Download a row that `push` uploaded, check it, and return it.

    Only the record and the artifact are read, both of one commit, up to the size they may have. The record must be
    valid and written as this program writes it, and the artifact must have its size and SHA-256. Nothing is executed.

    Args:
        repo: user/name.
        revision: branch, tag or commit; None for the main branch.
        out: folder of results to write record and artifact to, as `run` leaves them; None to keep them in memory.

    Raises:
        UserError: if the extra `hub` is not installed, the Hub does not answer, a file is refused, or `out` has another
            one in its place.
    """
    repo, revision, folder = checked_repo(repo), checked_revision(revision), optional_path(out, "out")
    api = make_api()
    with hub_errors(repo):
        record_bytes, commit = download(api, repo, revision, RECORD, RECORD_BYTES)
        record = _record(record_bytes, repo)
        if record.artifact.size_bytes > ARTIFACT_BYTES:
            raise UserError(f"{repo}: {RECORD} states an artifact of {record.artifact.size_bytes:,} bytes; not fetched")
        artifact_bytes, _ = download(api, repo, commit or revision, ARTIFACT, record.artifact.size_bytes)
    model = _model(artifact_bytes, record, repo)
    paths = () if folder is None else _written(record, record_bytes, artifact_bytes, folder)
    return Pulled(repo, commit, record, model, paths)


def _record(content: bytes, repo: str) -> Record:
    record, wrong = read_model(Record, RECORD, content)
    if record is not None:
        wrong = record_texts(record)
    elif read_model(ExternalRecord, RECORD, content)[0] is not None:
        raise UserError(f"{repo} holds a row that was trained elsewhere; pull takes rows that were trained here only")
    if record is None or wrong:
        raise UserError(f"{repo} is refused: {wrong[0]}")
    return record


def _model(content: bytes, record: Record, repo: str) -> LoadedModel:
    claimed = record.artifact
    if len(content) != claimed.size_bytes or hashlib.sha256(content).hexdigest() != claimed.sha256:
        raise UserError(
            f"{repo} is refused: {ARTIFACT} is not the file that its record was measured on, sha256 "
            f"{claimed.sha256[:12]}…"
        )
    try:
        artifact = unpack(content)
    except UserError as error:
        raise UserError(f"{repo} is refused: {ARTIFACT}: {error}") from None
    facts = (artifact.dataset, artifact.plan.num_classes, (artifact.plan.in_channels, *artifact.image_size))
    if facts != (record.dataset.name, record.dataset.num_classes, record.dataset.image_shape):
        raise UserError(f"{repo} is refused: {ARTIFACT} is for other images or classes than {RECORD}")
    return LoadedModel(artifact.network, record, class_names(artifact.dataset, artifact.plan.num_classes))


def _written(record: Record, record_bytes: bytes, artifact_bytes: bytes, folder: Path) -> tuple[Path, ...]:
    """Write both files, never over another content; the record last, as it makes the row."""
    places = {
        artifact_path(folder, record.run): artifact_bytes,
        record_path(folder, record.protocol, record.run): record_bytes,
    }
    if folder.is_dir():
        for path, content in places.items():
            present = read_below(path, folder, ARTIFACT_BYTES)
            if present is not None and present != content:
                raise UserError(f"{path} already exists with another content; pull into another folder by --out")
    make_folders(folder, "records", "artifacts")
    for path, content in places.items():
        write_atomic(path, content)
    return tuple(places)
