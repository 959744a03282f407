"""`benchmark.load_model`: the network of a row, or of a file, as a module."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from benchmark.api.fetching import fetched_artifact
from benchmark.api.places import board_folder, checked_path, checked_protocol_id, row_name, row_record
from benchmark.artifact.unpack import Artifact, read_artifact
from benchmark.data.published import PUBLISHED
from benchmark.errors import UserError
from benchmark.leaderboard.board.find import find_records, of_protocol
from benchmark.networks.loaded import LoadedModel
from benchmark.results.addresses import load_address
from benchmark.results.record import Record
from benchmark.results.store import artifact_path, load_records
from benchmark.review.sources import artifact_of, check_artifact

ENDING = ".safetensors"


def load_model(
    row: str | PathLike[str], *, board: str | PathLike[str] | None = None, protocol: str | None = None
) -> LoadedModel:
    """Return the network of a row, exactly as it was measured.

    The file's SHA-256 is compared with the record's. An artifact that is not below the board is fetched from the
    address that the board states for it and kept in the cache.

    Args:
        row: four or more hex digits of a run's hash (column `id` of the boards), a run, or a part of its cell's name
            that fits one row only; or the path of an artifact, a Path or text that ends in ".safetensors".
        board: folder of results that holds records/; None for the project's own or, for the path of an artifact, the
            folder that it is in.
        protocol: id of the board whose record to take, where the same network is on several; None for the one with
            the most test images.

    Returns:
        A module in eval mode on float32 images in [0, 1], on the CPU, with the attributes `record` and `classes`. The
        record is None for an artifact that no record is about.

    Raises:
        UserError: if there is no such row or file, several fit, or the artifact is not the record's.
    """
    protocol = checked_protocol_id(protocol)
    if isinstance(row, PathLike) or (isinstance(row, str) and row.endswith(ENDING)):
        artifact, record = _of_file(checked_path(row, "row"), board, protocol)
    else:
        folder = board_folder(board)
        record = _record_of(row_name(row, "row"), folder, protocol)
        artifact = row_artifact(record, folder)
    return LoadedModel(artifact.network, record, class_names(artifact.dataset, artifact.plan.num_classes))


def _record_of(name: str, folder: Path, protocol: str | None) -> Record:
    records = load_records(folder)
    named = find_records(records if protocol is None else of_protocol(records, protocol), name)
    return _widest(named) if _is_one_network(named) else row_record(name, folder, protocol)  # which says why not


def _is_one_network(records: Sequence[Record]) -> bool:
    return len({(record.run, record.artifact.sha256) for record in records}) == 1


def _widest(records: Sequence[Record]) -> Record:
    """Return the record with the most test images, of several of one network."""
    return max(records, key=lambda record: (record.evaluation.n_images, record.protocol))


def row_artifact(record: Record, folder: Path) -> Artifact:
    """Read the artifact of a record, from below its board or from the address that the board states.

    Raises:
        UserError: if it is missing, cannot be fetched, or is not the file of the record.
    """
    url = None if artifact_path(folder, record.run).exists() else load_address(folder, record.run)
    if url is None:
        return artifact_of(record, folder)
    path = fetched_artifact(record, url)
    return check_artifact(read_artifact(path), record, path)


def class_names(dataset: str, num_classes: int) -> tuple[str, ...]:
    """Return the names of a data set's classes in the order of the logits; their numbers where none are known."""
    published = PUBLISHED.get(dataset)
    if published is None or len(published.class_names) != num_classes:
        return tuple(map(str, range(num_classes)))
    return published.class_names


def _of_file(path: Path, board: object, protocol: str | None) -> tuple[Artifact, Record | None]:
    """Return the artifact in a file and its record: by its place below its own folder, by its hash on another board."""
    artifact = read_artifact(path)
    if board is None:
        place = Path(os.path.abspath(path))
        folder = place.parents[1] if place.parent.name == "artifacts" else None
        if folder is None or not (folder / "records").is_dir():
            return artifact, None
        records = [record for record in load_records(folder) if artifact_path(folder, record.run) == place]
    else:
        folder = board_folder(board)
        records = [record for record in load_records(folder) if record.artifact.sha256 == artifact.sha256]
        if not records:
            raise UserError(f"no record in {folder} is about {path}, sha256 {artifact.sha256[:12]}…; leave board out")
    if not records:
        return artifact, None
    record = _widest(records if protocol is None else of_protocol(records, protocol))
    return check_artifact(artifact, record, path), record
