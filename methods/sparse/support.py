"""Whether the kernels can be had here, and what to say if not."""

from __future__ import annotations

from functools import cache
from types import ModuleType

VERSION = 2  # of the arithmetic: the order of sums, what is fused
MISSING = (
    "numba is not installed, or switched off; with it (extra `fast`) a network that keeps few of its weights is "
    "attacked several times as fast on a CPU"
)


def compiles() -> bool:
    """Return whether numba can be had here; False where it is missing or switched off."""
    try:
        import numba
    except ImportError:
        return False
    return not numba.config.DISABLE_JIT


@cache
def kernels() -> ModuleType | None:
    """Return the module with the compiled kernels; None where numba is missing, too old or switched off."""
    if not compiles():
        return None
    try:
        from methods.sparse import kernels as compiled
    except ImportError:
        return None
    return compiled


@cache
def kernel_name() -> str | None:
    """Return what identifies the kernels here, on whose rounding results depend; None where there are none."""
    compiled = kernels()
    if compiled is None:
        return None
    import numba

    return f"sparse {VERSION}, {compiled.LANES} lanes, numba {numba.__version__}"
