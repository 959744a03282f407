"""Keeps freed memory for the next tensor. glibc hands large blocks back to the system and asks for them again.

A training step frees and allocates the same feature maps over and over; every page that was handed back is cleared and
mapped anew when it is first touched. Measured on ResNet18, one thread, batches of 128: 340,000 page faults a step, and
1.05 to 1.1 times as fast without them, for a tenth more memory.
"""

from __future__ import annotations

import ctypes
import sys

# Names and numbers of <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
NEVER = 2**31 - 1  # bytes at the heap's end from which glibc would hand them back


def keep_freed_memory() -> bool:
    """Tell this process's allocator to keep what is freed; results stay the same bits.

    For processes that train and then end: their memory does not shrink again.

    Returns:
        Whether it was done; False where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and mallopt(M_MMAP_MAX, 0) == 1 and mallopt(M_TRIM_THRESHOLD, NEVER) == 1
