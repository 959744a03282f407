"""Reads untrusted files, which may be links, pipes or folders, or larger than they claim.

Symbolic links are refused below a folder of results: a record could otherwise be any file on this machine, and a page
could overwrite one. The path of the folder itself may contain links, as the user has chosen it.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from benchmark.errors import UserError
from benchmark.files.kinds import BEGINNING, kind_of_beginning

# O_NONBLOCK: opening a pipe without a writer would otherwise block.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY


def read_plain(path: Path, limit: int) -> bytes | None:
    """Return the content of a regular file of at most `limit` bytes; None if it is larger or anything else."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):  # checked first, as opening a device has effects
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
    """Open a regular file below a folder for reading, without following links below that folder.

    Args:
        path: path of the file, which starts with `folder`.
        folder: the folder, which may itself be a link.
        limit: maximum size of the file in bytes.

    Returns:
        None if there is no file of that name.

    Raises:
        UserError: if it is a link or behind one, is not a regular file, is too large, or cannot be read.
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
        raise UserError(f"{path} has {size:,} bytes, but at most {limit:,} are allowed; replace or remove it")
    return file


def _open_below(path: Path, folder: Path) -> int:
    """Open folder by folder, each relative to the previous one, so that a checked folder cannot be swapped."""
    *folders, name = path.relative_to(folder).parts
    parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in folders:
            child = os.open(part, _FOLDER, dir_fd=parent)
            os.close(parent)
            parent = child
        # Checked first, as opening a device has effects.
        _require_plain(path, os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
        handle = os.open(name, _READ, dir_fd=parent)
    finally:
        os.close(parent)
    _require_plain(path, os.fstat(handle).st_mode)
    return handle


def _require_plain(path: Path, mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise OSError  # `refuse_links` reports it
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is {_kind_of_mode(mode)}, not a regular file; remove it")


def read_below(path: Path, folder: Path, limit: int) -> bytes | None:
    """Return the content of a regular file below a folder; None if there is none. Raises as `open_below` does."""
    file = open_below(path, folder, limit)
    if file is None:
        return None
    with file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise UserError(f"{path} grew beyond {limit:,} bytes while it was read; try again when nothing writes to it")
    return content


def is_below(path: Path, folder: Path, limit: int) -> bool:
    """Return whether a file exists that `read_below` would read; raises as `open_below` does."""
    file = open_below(path, folder, limit)
    if file is None:
        return False
    file.close()
    return True


def files_below(place: Path, folder: Path, ending: str) -> list[Path]:
    """Return all files with an ending in a folder and its subfolders, sorted; [] if the folder does not exist.

    Links whose name starts with a dot are ignored.

    Args:
        place: the folder to search, whose path starts with `folder`.
        folder: the folder below which links are refused; it may itself be a link.
        ending: such as ".json".

    Raises:
        UserError: if anything on the way or inside is a link, or a folder cannot be read.
    """
    refuse_links(place, folder)
    files: list[Path] = []
    queue = [place]
    while queue:
        current = queue.pop()
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        if entry.name.startswith("."):  # such as the lock file of an editor
                            continue
                        raise _link(current / entry.name, folder)
                    if entry.is_dir(follow_symlinks=False):
                        queue.append(current / entry.name)
                    elif entry.name.endswith(ending):
                        files.append(current / entry.name)
        except (
            FileNotFoundError,
            NotADirectoryError,
        ):  # a file in place of a folder is refused when something is written
            continue
        except OSError as error:
            raise UserError(f"{current} cannot be read as a folder ({error.strerror}); check it") from None
    return sorted(files)


def refuse_links(path: Path, folder: Path) -> Path:
    """Return a path below a folder, unless a part of it below the folder is a symbolic link.

    Changes between this check and the use of the path go unnoticed.

    Raises:
        UserError: naming the link.
    """
    current = folder
    for part in path.relative_to(folder).parts:
        current = current / part
        if current.is_symlink():
            raise _link(current, folder)
    return path


def no_link(path: str, flags: int) -> int:
    """Open a file for writing, as `open(..., opener=no_link)`: never through a link, and never blocking on a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def kind_of(path: Path) -> str:
    """Return what a path is: "a symbolic link", "a pickle", ...; "a file" if its content is not recognised."""
    mode = path.lstat().st_mode
    return _kind_of_content(path) if stat.S_ISREG(mode) else _kind_of_mode(mode)


def _kind_of_mode(mode: int) -> str:
    for test, name in (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return name
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
    return kind.name if kind is not None else "a file"


def _link(path: Path, folder: Path) -> UserError:
    return UserError(f"{path} is a symbolic link, which is not allowed below {folder}; replace it by its target")
