"""How methods are compared, from data to boards.

`benchmark.evaluate` measures any network by the rules of the boards. `benchmark.boards` and `benchmark.board` return
the boards as pandas DataFrames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.foreign.evaluating import evaluate as evaluate
    from benchmark.leaderboard.pages.frames import board as board
    from benchmark.leaderboard.pages.frames import boards as boards

__all__ = ["board", "boards", "evaluate"]


def __getattr__(name: str) -> Any:
    """Import what is asked for: torch and pandas take seconds, `--help` must not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _check_methods()
    if name == "evaluate":
        from benchmark.foreign.evaluating import evaluate

        return evaluate
    from benchmark.leaderboard.pages import frames

    return getattr(frames, name)


def __dir__() -> list[str]:
    """List what `__getattr__` imports, for tab completion."""
    return [*globals(), *__all__]


def _check_methods() -> None:
    """Refuse to go on with a package `methods` of somebody else's, which an import would find instead of this one's."""
    from importlib.util import find_spec
    from pathlib import Path

    from benchmark.errors import UserError

    spec, folder = find_spec("methods"), Path(__file__).resolve().parents[1] / "methods"
    places = [] if spec is None else [*(spec.submodule_search_locations or []), str(spec.origin)]
    if not any(Path(place).resolve() == folder for place in places):
        raise UserError(
            f"the name `methods` leads to {places[0] if places else 'nothing'}, but benchmark needs {folder}; "
            "rename the other one, or start Python in another folder"
        )
