"""Writes files completely or not at all, and turns system errors into one sentence.

A file is first written under a temporary name in the same folder. The writer holds a lock on it, which the system
releases when the process ends. A temporary file that can be locked was therefore left by a killed process; the next
process that writes into the folder removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from benchmark.errors import CannotWrite

_TEMPORARY = re.compile(r"\.benchmark-[0-9a-f]{16}\.tmp")
_ENOUGH_TO_FAIL = 2**20  # bytes; libraries write in smaller pieces
REMEDIES = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some of your quota there",
    errno.EFBIG: "allow larger files there, for example by `ulimit -f unlimited`",
    errno.EROFS: "name a writable folder",
    errno.EACCES: "make it writable or name another folder",
    errno.EPERM: "make it writable or name another folder",
    errno.EIO: "check the disk",
    errno.ELOOP: "it is a symbolic link, remove it",
    errno.ENXIO: "it is a pipe, remove it",
    errno.ENOTDIR: "a part of this path is a file, name another folder",
}


_guards: list[Callable[[], None]] = []


def guard_writing(check: Callable[[], None]) -> None:
    """Let `check` be called before each write from here on; it raises OSError or ends the process to prevent it."""
    _guards.append(check)


def unguard_writing(check: Callable[[], None]) -> None:
    """Call `check` no more."""
    _guards.remove(check)


def _check_guards() -> None:
    for check in list(_guards):
        check()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn system errors while `path` is written into one sentence with a remedy.

    Raises:
        CannotWrite: instead of any OSError of the system.
    """
    try:
        _check_guards()
        yield
    except OSError as error:
        if error.errno is None:  # not from the system but from a library
            raise
        remedy = REMEDIES.get(error.errno, "name another path")
        raise CannotWrite(
            f"{path} cannot be written ({error.strerror}); {remedy}, then run the same command again "
            "to continue from what was saved"
        ) from error


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield the path of an empty temporary file; its content replaces `path` on exit, completely or not at all.

    Args:
        path: path of the file; missing folders are created.
        durable: whether the new content must survive a power cut after exit.

    Raises:
        CannotWrite: if the system refuses, even if a library raises an error of its own instead.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, handle = _claimed(path.parent, _new_file)
        try:
            yield temporary
            if durable:
                os.fsync(handle)
            _check_guards()
            os.replace(temporary, path)
        except OSError:
            raise
        except Exception:
            _repeat_refusal(temporary)
            raise
        finally:
            temporary.unlink(missing_ok=True)
            os.close(handle)


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield the path of an empty folder in `parent`, which is created if missing; removed with its content on exit.

    Raises:
        OSError: if the system refuses.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder, handle = _claimed(parent, _new_folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _new_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


def _new_folder(path: Path) -> int:
    path.mkdir()
    return os.open(path, os.O_RDONLY)


def _claimed(parent: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """Create a temporary file or folder, lock it, and return its path and file descriptor."""
    _remove_abandoned(parent.absolute())
    while True:
        path = parent / f".benchmark-{secrets.token_hex(8)}.tmp"
        try:
            handle = make(path)
        except FileNotFoundError:
            if not parent.is_dir():
                raise
            continue  # see below
        with suppress(OSError):  # a file system without locks, on which nothing counts as abandoned
            fcntl.flock(handle, fcntl.LOCK_EX)
        if path.exists():
            return path, handle
        os.close(handle)  # another process has removed it before it was locked


@cache  # once per process and folder: listing it for each of thousands of pages would be slow
def _remove_abandoned(folder: Path) -> None:
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name):
            with suppress(OSError):  # it is locked, hence in use, or another process has removed it
                mode = os.O_RDONLY if path.is_dir() else os.O_RDWR
                handle = os.open(path, mode | os.O_NOFOLLOW)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                finally:
                    os.close(handle)


def _repeat_refusal(path: Path) -> None:
    """Raise the OSError that made a library fail to write `path`, if there was one; libraries hide it."""
    with path.open("ab") as file:
        file.write(bytes(_ENOUGH_TO_FAIL))
