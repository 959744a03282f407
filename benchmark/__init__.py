"""How methods are compared, from data to boards; `benchmark.evaluate` measures any network by the same rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.evaluation.evaluate import evaluate as evaluate


def __getattr__(name: str) -> Any:
    """Import `evaluate` when it is asked for: torch takes seconds, `--help` must not."""
    if name == "evaluate":
        from benchmark.evaluation.evaluate import evaluate

        return evaluate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
