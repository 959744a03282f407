"""numba's compiler with a cache of its own, in which no program meets a kernel that was compiled from another one.

numba looks at the file of a function alone. Here the folder of the cache bears a digest of everything that a kernel
depends on: all files beside its own, numba, llvmlite, Python and the processor. What a kernel calls or reads must
therefore lie in its folder.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import llvmlite
import numba
from llvmlite import binding
from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile a function when it is first called, without the interpreter's lock; later processes read the cache."""
    folder = cache_folder(Path(function.__code__.co_filename).parent)
    if folder is None:
        return njit(nogil=True)(function)  # type: ignore[no-any-return]
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)  # read by the decorator alone
    try:
        return njit(nogil=True, cache=True)(function)  # type: ignore[no-any-return]
    finally:
        numba.config.CACHE_DIR = before


@cache
def cache_folder(sources: Path) -> Path | None:
    """Return where the kernels of a folder of sources are kept, compiled; None if no such folder can be made.

    It is below `NUMBA_CACHE_DIR` or the user's cache.
    """
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "robust-compression-benchmark-kernels" / digest(sources)[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


@cache
def digest(sources: Path) -> str:
    """Return the SHA-256 of everything that the kernels of a folder of sources depend on."""
    features = binding.get_host_cpu_features().flatten()
    facts = [numba.__version__, llvmlite.__version__, platform.python_version(), binding.get_host_cpu_name(), features]
    texts = [path.read_bytes() for path in sorted(sources.glob("*.py"))]
    return hashlib.sha256(b"\0".join([*(fact.encode() for fact in facts), *texts])).hexdigest()
