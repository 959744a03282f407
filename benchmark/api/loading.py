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
from benchmark.evaluation.fast import sparse_form
from benchmark.foreign.onnx_artifact import OnnxArtifact, read_onnx_artifact
from benchmark.leaderboard.board.find import find_records, of_protocol
from benchmark.networks.loaded import LoadedModel
from benchmark.results.addresses import load_address
from benchmark.results.external import FOLDER, AnyRecord, ExternalRecord
from benchmark.results.record import Record
from benchmark.results.store import artifact_path, load_all
from benchmark.review.sources import artifact_at, artifact_of, check_artifact

RUNTIMES = ("torch", "sparse")
ENDINGS = (Record.ending, ExternalRecord.ending)


def load_model(
    row: str | PathLike[str],
    *,
    board: str | PathLike[str] | None = None,
    protocol: str | None = None,
    runtime: str = "torch",
) -> LoadedModel:
    """Return the network of a row, exactly as it was measured.

    The file's SHA-256 is compared with the record's. The ONNX file of a row that was trained elsewhere must also keep
    the rules for such files; nothing but its operators is executed. An artifact that is not below the board is fetched
    from the address that the board states for it and kept in the cache.

    Args:
        row: four or more hex digits of a run's hash (column `id` of the boards), a run, or a part of its cell's name
            that fits one row only; or the path of an artifact, a Path or text that ends in ".safetensors" or ".onnx".
        board: folder of results that holds records/; None for the project's own or, for the path of an artifact, the
            folder that it is in.
        protocol: id of the board whose record to take, where the same network is on several; None for the one with
            the most test images.
        runtime: "torch" computes the network as it was measured. "sparse" visits only its weights that are not zero
            (extra `fast`), on the CPU: the same logits up to rounding, several times as fast where few weights are
            kept; its `network` has no layers.

    Returns:
        A module in eval mode on float32 images in [0, 1], on the CPU, with the attributes `record` and `classes`. The
        record is None for an artifact in the compressed format that no record is about.

    Raises:
        UserError: if there is no such row or file, several fit, or the artifact is not the record's; for another
            runtime, or if the network or this installation has none that is sparse.
    """
    protocol = checked_protocol_id(protocol)
    if runtime not in RUNTIMES:
        raise UserError(f"runtime takes {' or '.join(map(repr, RUNTIMES))}; got {runtime!r}")
    if isinstance(row, PathLike) or (isinstance(row, str) and row.endswith(ENDINGS)):
        artifact, record = _of_file(checked_path(row, "row"), board, protocol)
    else:
        folder = board_folder(board)
        record = _record_of(row_name(row, "row"), folder, protocol)
        artifact = row_artifact(record, folder)
    if isinstance(artifact, Artifact):
        classes = class_names(artifact.dataset, artifact.plan.num_classes)
    else:
        assert record is not None, "an ONNX file without one is refused"
        classes = class_names(record.dataset.name, record.dataset.num_classes)
    network = sparse_form(artifact.network.eval()) if runtime == "sparse" else artifact.network
    return LoadedModel(network, record, classes)


def _record_of(name: str, folder: Path, protocol: str | None) -> AnyRecord:
    records = load_all(folder)
    named = find_records(records if protocol is None else of_protocol(records, protocol), name)
    return _widest(named) if _is_one_network(named) else row_record(name, folder, protocol)  # which says why not


def _is_one_network(records: Sequence[AnyRecord]) -> bool:
    return len({(record.run, record.artifact.sha256) for record in records}) == 1


def _widest(records: Sequence[AnyRecord]) -> AnyRecord:
    """Return the record with the most test images, of several of one network."""
    return max(records, key=lambda record: (record.evaluation.n_images, record.protocol))


def row_artifact(record: AnyRecord, folder: Path) -> Artifact | OnnxArtifact:
    """Read the artifact of a record, from below its board or from the address that the board states.

    Raises:
        UserError: if it is missing, cannot be fetched, or is not the file of the record.
    """
    url = None if artifact_path(folder, record.run, record.ending).exists() else load_address(folder, record.run)
    return artifact_of(record, folder) if url is None else artifact_at(fetched_artifact(record, url), record)


def class_names(dataset: str, num_classes: int) -> tuple[str, ...]:
    """Return the names of a data set's classes in the order of the logits; their numbers where none are known."""
    published = PUBLISHED.get(dataset)
    if published is None or len(published.class_names) != num_classes:
        return tuple(map(str, range(num_classes)))
    return published.class_names


def _of_file(path: Path, board: object, protocol: str | None) -> tuple[Artifact | OnnxArtifact, AnyRecord | None]:
    """Return the artifact in a file and its record: by its place below its own folder, by its hash on another board."""
    artifact = read_onnx_artifact(path) if path.suffix == ExternalRecord.ending else read_artifact(path)
    records = list[AnyRecord]()
    if board is None:
        place = Path(os.path.abspath(path))
        folder = place.parents[1]
        if place.parent.name == "artifacts" and any((folder / name).is_dir() for name in ("records", FOLDER)):
            records = [each for each in load_all(folder) if artifact_path(folder, each.run, each.ending) == place]
    else:
        folder = board_folder(board)
        records = [record for record in load_all(folder) if record.artifact.sha256 == artifact.sha256]
        if not records:
            raise UserError(f"no record in {folder} is about {path}, sha256 {artifact.sha256[:12]}…; leave board out")
    if not records and isinstance(artifact, OnnxArtifact):
        raise UserError(
            f"{path} is the ONNX file of no row here; name the board that has the row, or measure the file by "
            "`benchmark.evaluate`"
        )
    if not records:
        return artifact, None
    record = _widest(records if protocol is None else of_protocol(records, protocol))
    return check_artifact(artifact, record, path), record
