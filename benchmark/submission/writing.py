"""`submit`: writes a finished row into one folder that anyone can check, and reports the place it would get."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from benchmark.errors import UserError
from benchmark.evaluation.accuracy import prepare
from benchmark.files.mistakes import first_mistake
from benchmark.files.plain import read_plain
from benchmark.files.writing import temporary_folder, writing
from benchmark.results.record import Record
from benchmark.results.store import artifact_path, write_atomic, write_model
from benchmark.review.sources import artifact_of, test_data_of
from benchmark.submission.files import (
    ADVERSARIAL,
    ARTIFACT,
    METHOD_FOLDER,
    RECORD,
    SOURCE_LIMIT,
    SUBMISSION,
)
from benchmark.submission.placing import Placement, check_board, place
from benchmark.submission.reading import is_built_in
from benchmark.submission.sample import Sample, make_sample
from benchmark.submission.schema import ArtifactClaim, Labels, SourceClaim, Submission
from benchmark.submission.texts import check_source, record_texts, text_refusal
from methods import is_file_target


@dataclass(frozen=True)
class SubmitRequest:
    """What the user asked for, as typed."""

    out: Path  # holds the record and the artifact
    to: Path  # the new folder
    board: Path
    url: str | None  # of the artifact, if it is not to be in the folder
    data_dir: Path | None
    credit: str
    method: str | None  # path/to/file.py:Class
    package: str | None


def submit(record: Record, request: SubmitRequest, say: Callable[[str], None]) -> Placement:
    """Write the submission of a record, whole or not at all, and return the place the row would get.

    Raises:
        UserError: for a mistake in the request, a missing artifact or data other than the record's.
    """
    check_empty(request.to)
    check_board(request.board)
    _check_options(request)
    if wrong := record_texts(record):
        raise UserError(
            f"the record of {record.run} cannot be submitted: {wrong[0]}; correct the cause and run it again"
        )
    source = _source(record, request)
    artifact = artifact_of(record, request.out)
    data = test_data_of(record, request.data_dir, record.evaluation.n_images)
    say(f"artifact   {artifact.size_bytes:,} bytes, sha256 {artifact.sha256}")
    prepare(artifact.network, "cpu")
    sample = make_sample(record, artifact, data.test, say)
    content = None if request.url else artifact_path(request.out, record.run).read_bytes()
    with filled_at_once(request.to) as folder:
        _write(folder, record, request, sample, content, source)
    say(f"written    {request.to}")
    return place(record, request.board)


def git_name() -> str:
    """Return the user's name in git.

    Raises:
        UserError: if there is none.
    """
    try:
        configured = subprocess.run(
            ["git", "config", "user.name"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        raise UserError('git has no user.name; name who made the result by --credit "Your Name"') from None
    return " ".join(configured.stdout.split())


def _check_options(request: SubmitRequest) -> None:
    """Refuse what submission.json cannot hold, before the attacks are run."""
    try:
        Labels(credit=request.credit, url=request.url, package=request.package)
    except ValidationError as error:
        raise UserError(f"the submission cannot hold {first_mistake(error)}; correct that option") from None
    if wrong := text_refusal("credit", request.credit):
        raise UserError(f"--credit {wrong}; give a plain name")


@contextmanager
def filled_at_once(to: Path) -> Iterator[Path]:
    """Yield the name of a folder to make and fill, which becomes `to` at the end of the block, whole or not at all.

    Args:
        to: a new folder or an empty one, see `check_empty`.

    Raises:
        UserError: if the system refuses.
    """
    with writing(to), temporary_folder(to.parent) as temporary:
        folder = temporary / "submission"
        yield folder
        if to.exists():
            to.rmdir()
        folder.rename(to)


def check_empty(folder: Path) -> None:
    """Raise UserError unless a folder is new or empty and can be made."""
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise UserError(f"--to {folder} already exists; name a new or empty folder")
    above = next(place for place in folder.absolute().parents if place.exists())
    if not above.is_dir():
        raise UserError(f"--to {folder} is below {above.name}, which is a file; name another folder")


def _source(record: Record, request: SubmitRequest) -> tuple[SourceClaim, bytes] | None:
    """Return the file of the user's own method, which must be the one that was run; None if the method is no file."""
    target = record.method.target
    if is_built_in(record):
        if (request.method, request.package) != (None, None):
            raise UserError(f"{record.method.name} is a built-in method; leave --method and --package out")
        return None
    if not is_file_target(target):
        if request.method or not request.package:
            raise UserError(f"the method {target} is an installed module; give the name of its package by --package")
        return None
    if request.package or not request.method:
        raise UserError(f"the method is a file of your own; give it by --method path/to/{target}")
    path = Path(request.method.rpartition(":")[0] or request.method).expanduser()
    content = read_plain(path.resolve(), SOURCE_LIMIT)
    if content is None:
        raise UserError(f"--method {request.method}: there is no such file of at most {SOURCE_LIMIT:,} bytes")
    digest = hashlib.sha256(content).hexdigest()
    if digest != record.method.source_sha256:
        raise UserError(
            f"{path} has sha256 {digest[:12]}…, the record was made by {record.method.source_sha256[:12]}…; "
            "give the file as it was, or run the method again"
        )
    if wrong := check_source(content):
        raise UserError(f"--method {request.method}: {wrong[0]}; change it and run the method again")
    try:
        return SourceClaim(file=target.rpartition(":")[0], sha256=digest), content
    except ValidationError as error:
        raise UserError(
            f"the method's file cannot have this name: {first_mistake(error)}; rename it and run again"
        ) from None


def _write(
    folder: Path,
    record: Record,
    request: SubmitRequest,
    sample: Sample,
    artifact: bytes | None,
    source: tuple[SourceClaim, bytes] | None,
) -> None:
    """Fill a folder with the files of a submission, submission.json last."""
    write_model(folder / RECORD, record)
    record_bytes = (folder / RECORD).read_bytes()
    submission = Submission(
        schema_version=1,
        kind="result" if is_built_in(record) else "method",
        run=record.run,
        protocol=record.protocol,
        record_sha256=hashlib.sha256(record_bytes).hexdigest(),
        artifact=ArtifactClaim(sha256=record.artifact.sha256, size_bytes=record.artifact.size_bytes, url=request.url),
        sample=sample.claim,
        source=source[0] if source else None,
        package=request.package,
        credit=request.credit,
    )
    if artifact is not None:
        write_atomic(folder / ARTIFACT, artifact)
    if sample.content is not None:
        write_atomic(folder / ADVERSARIAL, sample.content)
    if source is not None:
        write_atomic(folder / METHOD_FOLDER / source[0].file, source[1])
    write_model(folder / SUBMISSION, submission)
