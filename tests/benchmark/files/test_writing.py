"""Files are written completely or not at all; system errors are one sentence; killed writers leave nothing behind."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from benchmark.artifact.pack import write_artifact
from benchmark.errors import UserError
from benchmark.files import writing as module
from benchmark.files.writing import replacing, temporary_folder, writing
from benchmark.results.store import write_atomic
from benchmark.training.checkpoint import TrainingKey, save_checkpoint, save_network
from benchmark.training.history import truncate

ROOT = Path(__file__).resolve().parents[3]
LARGE = 100_000  # bytes
WRITERS = {
    "text": lambda path: write_atomic(path, "x" * LARGE),
    "page": lambda path: write_atomic(path, "x" * LARGE, durable=False),
    "artifact": lambda path: write_artifact(path, bytes(LARGE)),
    "checkpoint": lambda path: save_checkpoint(path, {"weight": torch.zeros(LARGE)}),
    "network": lambda path: save_network(path, {"weight": torch.zeros(LARGE)}, {}, TrainingKey("run", "data")),
}


@contextmanager
def file_limit(size):
    """Limit the size of files that this process writes: simulates a full disk without root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", [0, 1, LARGE - 1])
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_without_room_one_sentence_names_file_and_remedy_and_the_old_file_stays(tmp_path, write, limit):
    path = tmp_path / "file"
    path.write_text("old")

    with file_limit(limit), pytest.raises(UserError) as refusal:
        write(path)

    assert str(refusal.value) == (
        f"{path} cannot be written (File too large); allow larger files there, for example by "
        "`ulimit -f unlimited`, then run the same command again to continue from what was saved"
    )
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_file_where_a_folder_should_be_is_one_sentence(tmp_path, write):
    (tmp_path / "folder").write_text("no folder")

    with pytest.raises(UserError, match=r"folder/file cannot be written \(.+\); name another path"):
        write(tmp_path / "folder" / "file")


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_folders_are_made_and_nothing_but_the_file_is_left(tmp_path, write):
    write(tmp_path / "new" / "folder" / "file")

    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["file"]
    assert (tmp_path / "new" / "folder" / "file").stat().st_size >= LARGE


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, r"\(No space left on device\); free some space there, then"),
        (errno.EDQUOT, r"\(Disk quota exceeded\); free some of your quota there, then"),
        (errno.EROFS, r"\(Read-only file system\); name a writable folder, then"),
        (errno.EACCES, r"\(Permission denied\); make it writable or name another folder, then"),
    ],
)
def test_each_refusal_has_its_remedy(number, remedy):
    with pytest.raises(UserError, match=f"/there cannot be written {remedy}"), writing(Path("/there")):
        raise OSError(number, os.strerror(number))


def test_a_bug_is_not_reported_as_a_refusal(tmp_path):
    with pytest.raises(AttributeError):
        save_checkpoint(tmp_path / "file", {"local": lambda: None})
    with pytest.raises(ConnectionError), writing(tmp_path):
        raise ConnectionError("from a library, without an errno")

    assert list(tmp_path.iterdir()) == []


def test_a_history_that_cannot_be_shortened_keeps_all_its_lines(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text("1\n2\n3\n")

    with file_limit(1), pytest.raises(UserError, match=r"history\.jsonl cannot be written"):
        truncate(path, 2)

    assert path.read_text() == "1\n2\n3\n"


CHILD = """
import os, signal, sys
from pathlib import Path
from benchmark.files.writing import replacing, temporary_folder
with {context} as temporary:
    (temporary / "part" if temporary.is_dir() else temporary).write_text("half")
    print(temporary.name, flush=True)
    sys.stdin.read()
    temporary.is_dir() or temporary.write_text("whole")
"""


@contextmanager
def writer(context, folder):
    """Start a process that has written half of a file in `folder`, and continues when its input ends."""
    code = CHILD.format(context=context)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=environment, **pipes) as process:
        yield process, folder / process.stdout.readline().strip()


@pytest.mark.parametrize("context", ["replacing(Path('file'))", "temporary_folder(Path('.'))"], ids=["file", "folder"])
def test_the_next_write_removes_files_of_a_killed_process_but_not_of_a_running_one(tmp_path, context):
    (tmp_path / ".benchmark-notes.tmp").write_text("the user's")
    with writer(context, tmp_path) as (running, kept), writer(context, tmp_path) as (killed, left):
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert kept.exists() and left.exists()

        write_atomic(tmp_path / "other", "text")

        assert kept.exists() and not left.exists()
        running.stdin.close()
        assert running.wait() == 0
    names = {"other", ".benchmark-notes.tmp"} | ({"file"} if "file" in context else set())
    assert {path.name for path in tmp_path.iterdir()} == names
    assert "file" not in names or (tmp_path / "file").read_text() == "whole"


def test_a_file_that_is_removed_before_it_is_locked_is_created_again(tmp_path, monkeypatch):
    lock, seen = fcntl.flock, []

    def late(handle, operation):
        seen.append(handle)
        if len(seen) == 1:  # another process was faster, and has removed the file
            next(tmp_path.glob(".benchmark-*.tmp")).unlink()
        return lock(handle, operation)

    monkeypatch.setattr(module.fcntl, "flock", late)
    write_atomic(tmp_path / "file", "text")

    assert len(seen) == 2 and (tmp_path / "file").read_text() == "text"


def test_without_locks_files_are_written_and_nothing_is_removed(tmp_path, monkeypatch):
    def refuse(handle, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(module.fcntl, "flock", refuse)
    other = tmp_path / ".benchmark-0123456789abcdef.tmp"
    other.write_text("unknown owner")
    with temporary_folder(tmp_path) as folder, replacing(tmp_path / "file") as temporary:
        temporary.write_text("text")

    assert other.exists() and not folder.exists() and (tmp_path / "file").read_text() == "text"
