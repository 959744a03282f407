"""Files that a stranger may have put where they lie: a name may be a link, a pipe or a folder, and a size may be a lie.

Below a folder of results nothing may be a symbolic link, or a record could be any file of this machine, and a page be
written over one. The folder itself may be reached by links: the user has named it.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from benchmark.errors import UserError
from benchmark.files.kinds import BEGINNING, kind_of_beginning

# O_NONBLOCK: a pipe that nobody writes to would otherwise be waited for.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY


def read_plain(path: Path, limit: int) -> bytes | None:
    """Return the bytes of a plain file of at most `limit` bytes; None if it is anything else, or a link."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):  # a device is not even opened
            return None
        handle = os.open(path, _READ)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            return None
        content = file.read(limit + 1)
    return content if len(content) <= limit else None


def open_below(path: Path, folder: Path, limit: int) -> BufferedReader | None:
    """Open a plain file below a folder for reading, without following a link on the way there.

    Args:
        path: of the file; it begins with `folder`.
        folder: itself free to be a link.
        limit: bytes that the file may have.

    Returns:
        None if nothing of that name is there.

    Raises:
        UserError: if it is a link or lies behind one, is no plain file, is larger, or cannot be read.
    """
    try:
        handle = _open_below(path, folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        refuse_links(path, folder)
        raise UserError(f"{path} cannot be read ({error.strerror}); check it and the folders that hold it") from None
    file = os.fdopen(handle, "rb")
    size = os.fstat(handle).st_size
    if size > limit:
        file.close()
        raise UserError(f"{path} has {size:,} bytes, at most {limit:,} are read; bring the right file, or remove it")
    return file


def _open_below(path: Path, folder: Path) -> int:
    """Open folder by folder, each inside the one before it: a name is looked up where the last check was made."""
    *folders, name = path.relative_to(folder).parts
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in folders:
            inner = os.open(part, _FOLDER, dir_fd=place)
            os.close(place)
            place = inner
        _require_plain(path, os.stat(name, dir_fd=place, follow_symlinks=False).st_mode)  # or a device would be opened
        handle = os.open(name, _READ, dir_fd=place)
    finally:
        os.close(place)
    _require_plain(path, os.fstat(handle).st_mode)
    return handle


def _require_plain(path: Path, mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise OSError  # `refuse_links` says so
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is {_kind_of_mode(mode)}, where a plain file belongs; remove it")


def read_below(path: Path, folder: Path, limit: int) -> bytes | None:
    """Return the bytes of a plain file below a folder; None if nothing is there. Otherwise as `open_below`."""
    file = open_below(path, folder, limit)
    if file is None:
        return None
    with file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise UserError(f"{path} grew beyond {limit:,} bytes while it was read; try again once nobody writes to it")
    return content


def is_below(path: Path, folder: Path, limit: int) -> bool:
    """Tell whether a file is there that `read_below` would read; raises as it does for what is there but refused."""
    file = open_below(path, folder, limit)
    if file is None:
        return False
    file.close()
    return True


def files_below(place: Path, folder: Path, ending: str) -> list[Path]:
    """Return all files of an ending in a folder and in those inside it, sorted; an absent folder holds none.

    Links whose name begins with a dot are passed over.

    Args:
        place: where to look; it begins with `folder`.
        folder: itself free to be a link.
        ending: such as ".json".

    Raises:
        UserError: if a folder on the way, or anything inside, is a link, or a folder cannot be read.
    """
    refuse_links(place, folder)
    files: list[Path] = []
    waiting = [place]
    while waiting:
        current = waiting.pop()
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        if entry.name.startswith("."):  # what editors leave beside a file that is open in them
                            continue
                        raise _link(current / entry.name, folder)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(current / entry.name)
                    elif entry.name.endswith(ending):
                        files.append(current / entry.name)
        except (FileNotFoundError, NotADirectoryError):  # a file of that name is refused where something is written
            continue
        except OSError as error:
            raise UserError(f"{current} cannot be read as a folder ({error.strerror}); check it") from None
    return sorted(files)


def refuse_links(path: Path, folder: Path) -> Path:
    """Return a path below a folder, to be read or written, unless a part of it below the folder is a symbolic link.

    What another process puts there between this check and the use of the path is not noticed.

    Raises:
        UserError: naming the link.
    """
    place = folder
    for part in path.relative_to(folder).parts:
        place = place / part
        if place.is_symlink():
            raise _link(place, folder)
    return path


def no_link(path: str, flags: int) -> int:
    """Open a file for writing as `open(..., opener=no_link)`: never through a link, and without waiting for a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def kind_of(path: Path) -> str:
    """Say what a name stands for: "a symbolic link", "a pickle", ...; "a file" for a plain one of no known kind."""
    mode = path.lstat().st_mode
    return _kind_of_content(path) if stat.S_ISREG(mode) else _kind_of_mode(mode)


def _kind_of_mode(mode: int) -> str:
    for test, what in (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return what
    return "a device"


def _kind_of_content(path: Path) -> str:
    content = None
    with suppress(OSError):
        handle = os.open(path, _READ)
        with os.fdopen(handle, "rb") as file:
            content = file.read(BEGINNING)
    if content is None:
        return "a file that cannot be read"
    kind = kind_of_beginning(content)
    return kind.what if kind is not None else "a file"


def _link(path: Path, folder: Path) -> UserError:
    return UserError(f"{path} is a symbolic link, and nothing below {folder} may be one; put there what it leads to")
