"""Whether the kernels can be had here, and what to say if not."""

from __future__ import annotations

from functools import cache
from types import ModuleType

MISSING = (
    "numba is not installed; with it (extra `fast`) a network that keeps few of its weights is attacked several times "
    "as fast on a CPU"
)


@cache
def kernels() -> ModuleType | None:
    """Return the module with the compiled kernels; None where numba is missing, too old or switched off."""
    try:
        import numba

        if numba.config.DISABLE_JIT:
            return None
        from methods.sparse import kernels as compiled
    except ImportError:
        return None
    return compiled
