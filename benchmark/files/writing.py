"""How every file is written: whole or not at all, and with one sentence where the system refuses.

A file is first written under a temporary name beside its place. The writer holds a lock on it, which the system drops
with the process, however that ends: what carries such a name and can be locked was left by a process that was killed,
and the next process that writes into the folder removes it.
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
_ENOUGH_TO_FAIL = 2**20  # bytes; a library writes in smaller pieces than that
REMEDIES = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some of your quota there",
    errno.EFBIG: "allow larger files there, as by `ulimit -f unlimited`",
    errno.EROFS: "name a folder that can be written to",
    errno.EACCES: "allow writing there or name another folder",
    errno.EPERM: "allow writing there or name another folder",
    errno.EIO: "check that disk",
    errno.ELOOP: "it is a symbolic link, remove it",
    errno.ENXIO: "it is a pipe, remove it",
    errno.ENOTDIR: "a part of this path is a file, name another folder",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says while `path` is written into one sentence with a remedy.

    Raises:
        CannotWrite: instead of any OSError of the system.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # raised by a library for a reason of its own
            raise
        remedy = REMEDIES.get(error.errno, "name another place")
        raise CannotWrite(
            f"{path} cannot be written ({error.strerror}); {remedy}, then run the same command again, "
            "which goes on from what is on the disk"
        ) from error


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give the path of an empty temporary file; what is written to it replaces `path`, whole or not at all.

    Args:
        path: of the file, in a folder that is made if need be.
        durable: whether the new content must survive a power cut once this is left.

    Raises:
        CannotWrite: if the system refuses, also where a library that writes reports that in an error of its own.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, handle = _claimed(path.parent, _new_file)
        try:
            yield temporary
            if durable:
                os.fsync(handle)
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
    """Give the path of an empty folder in `parent`, which is made if need be; removed with all that is left in it.

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
    """Make a temporary file or folder that this process has locked, and return it with its file descriptor."""
    _remove_abandoned(parent.absolute())
    while True:
        path = parent / f".benchmark-{secrets.token_hex(8)}.tmp"
        try:
            handle = make(path)
        except FileNotFoundError:
            if not parent.is_dir():
                raise
            continue  # see below
        with suppress(OSError):  # a file system without locks: nothing is ever taken for abandoned there
            fcntl.flock(handle, fcntl.LOCK_EX)
        if path.exists():
            return path, handle
        os.close(handle)  # another process has seen it before it was locked, and removed it


@cache  # once for each process and folder: a listing for each of thousands of pages would take long
def _remove_abandoned(folder: Path) -> None:
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name):
            with suppress(OSError):  # it is locked, hence in use; or somebody else has removed it
                mode = os.O_RDONLY if path.is_dir() else os.O_RDWR
                handle = os.open(path, mode | os.O_NOFOLLOW)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                finally:
                    os.close(handle)


def _repeat_refusal(path: Path) -> None:
    """Raise the OSError that made a library fail to write `path`, if there was one: libraries do not pass it on."""
    with path.open("ab") as file:
        file.write(bytes(_ENOUGH_TO_FAIL))
