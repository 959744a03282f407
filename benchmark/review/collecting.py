"""`collect`: brings results of several sites into one folder. Nothing is replaced there, contradictions are refused.

Everything is read and compared before anything is written. An artifact is written before the record that names it, so
that a kill leaves no row without the network it was measured on; the same command continues.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.errors import UserError
from benchmark.files.plain import open_below, read_below
from benchmark.files.writing import replacing
from benchmark.leaderboard.render import check_place, write_pages
from benchmark.results.addresses import address_path
from benchmark.results.external import AnyRecord, ExternalRecord
from benchmark.results.store import (
    ARTIFACT_BYTES,
    RECORD_BYTES,
    artifact_path,
    artifact_problem,
    check_folder,
    load_hashed_external,
    load_hashed_records,
    make_folders,
    path_of,
    record_digest,
    write_atomic,
)


@dataclass(frozen=True)
class Collected:
    """What `collect` did.

    Attributes:
        new: records that were copied, in the order of the sites.
        known: number of records that the folder, or an earlier site, had already.
        refused: one sentence for each record that was not copied, because it contradicts another or its artifact.
        without_artifact: runs of new records whose site has no artifact.
    """

    new: tuple[AnyRecord, ...] = field(repr=False)
    known: int
    refused: tuple[str, ...]
    without_artifact: tuple[str, ...]


def collect(sites: Sequence[Path], out: Path) -> Collected:
    """Copy records and artifacts of some output folders into one, and write its pages.

    Args:
        sites: output folders of `run`; of contradicting records the first one counts, those in `out` before all.
        out: folder to copy into.

    Raises:
        UserError: if a site does not exist, a record or a link in one of the folders is refused, or writing fails.
    """
    for site in sites:
        check_folder(site, "the site")
    check_place(out)
    chosen = _Chosen(out)
    for site in sites:
        for record, digest in _hashed(site):
            chosen.add(site, record, digest)
    if chosen.new:
        make_folders(out, "records", "artifacts")
    without = [record.run for site, record, digest in chosen.new if not _copy(site, out, record, digest)]
    write_pages(out)
    new = tuple(record for _, record, _ in chosen.new)
    return Collected(new, chosen.known, tuple(chosen.refused), tuple(dict.fromkeys(without)))


class _Chosen:
    """The records that will lie in the folder, and where each comes from."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.new: list[tuple[Path, AnyRecord, str]] = []
        self.known = 0
        self.refused: list[str] = []
        self._digests: dict[Path, tuple[str, Path]] = {}  # by the record's path below its folder
        self._artifacts: dict[Path, tuple[str, Path]] = {}  # likewise
        for record, digest in _hashed(out) if out.is_dir() else ():
            self._note(out, record, digest)

    def add(self, site: Path, record: AnyRecord, digest: str) -> None:
        """Choose a record of a site, unless it is known or contradicts what was chosen before."""
        name = f"{record.run} under {record.protocol}"
        present, where = self._digests.get(_record_place(record), (None, site))
        artifact, artifact_where = self._artifacts.get(_artifact_place(record), (record.artifact.sha256, site))
        if present == digest:
            self.known += 1
        elif present is not None:
            self.refused.append(
                f"{name}: the record in {site} is another one than in {where}, which stays; the same experiment was "
                "measured at both sites, so remove one of the two records"
            )
        elif artifact != record.artifact.sha256:
            self.refused.append(
                f"{name}: the record in {site} is of another network than that of this run in {artifact_where}; the "
                "same experiment was trained at both sites, so remove the results of one of them"
            )
        elif problem := artifact_problem(site, record) or artifact_problem(self.out, record):
            self.refused.append(f"{name}: {problem}; restore that file below {site} or {self.out}")
        else:
            self.new.append((site, record, digest))
            self._note(site, record, digest)

    def _note(self, folder: Path, record: AnyRecord, digest: str) -> None:
        self._digests[_record_place(record)] = digest, folder
        self._artifacts.setdefault(_artifact_place(record), (record.artifact.sha256, folder))


def _hashed(folder: Path) -> Iterator[tuple[AnyRecord, str]]:
    yield from load_hashed_records(folder)
    yield from load_hashed_external(folder)


def _record_place(record: AnyRecord) -> Path:
    return path_of(Path(), record)


def _artifact_place(record: AnyRecord) -> Path:
    return artifact_path(Path(), record.run, record.ending)


def _copy(site: Path, out: Path, record: AnyRecord, digest: str) -> bool:
    """Copy a record and what belongs to it; return whether its artifact is in `out` now.

    Raises:
        UserError: if a file has changed since it was checked.
    """
    has_artifact = _copy_artifact(site, out, record)
    address = (
        None if isinstance(record, ExternalRecord) else read_below(address_path(site, record.run), site, RECORD_BYTES)
    )
    if address is not None and not address_path(out, record.run).exists():
        write_atomic(address_path(out, record.run), address)
    content = read_below(path_of(site, record), site, RECORD_BYTES)
    if content is None or record_digest(content) != digest:
        raise _changed(path_of(site, record))
    write_atomic(path_of(out, record), content)
    return has_artifact


def _copy_artifact(site: Path, out: Path, record: AnyRecord) -> bool:
    source = artifact_path(site, record.run, record.ending)
    target = artifact_path(out, record.run, record.ending)
    if target.exists():  # and is the right one, see `_Chosen.add`
        return True
    file = open_below(source, site, ARTIFACT_BYTES)
    if file is None:
        return False
    with file, replacing(target) as temporary:
        with open(temporary, "wb") as copy:
            shutil.copyfileobj(file, copy)
        with open(temporary, "rb") as copy:
            if hashlib.file_digest(copy, "sha256").hexdigest() != record.artifact.sha256:
                raise _changed(source)
    return True


def _changed(path: Path) -> UserError:
    return UserError(f"{path} changed while it was copied; try again when nothing writes to it")
