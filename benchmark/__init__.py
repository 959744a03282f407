"""How methods are compared, from data to boards.

`load_model` returns the network of a row, `evaluate` measures any network by the rules of the boards, `boards` and
`board` return the boards as pandas DataFrames. `plan`, `run`, `status`, `compare` and `reproduce` are the commands of
these names, `collect` joins results of several sites, `push` and `pull` exchange rows with the Hugging Face Hub.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.api.collecting import collect as collect
    from benchmark.api.loading import load_model as load_model
    from benchmark.api.planning import plan as plan
    from benchmark.api.rows import compare as compare
    from benchmark.api.rows import reproduce as reproduce
    from benchmark.api.running import run as run
    from benchmark.api.watching import status as status
    from benchmark.foreign.evaluating import evaluate as evaluate
    from benchmark.hub.pulling import pull as pull
    from benchmark.hub.pushing import push as push
    from benchmark.leaderboard.pages.frames import board as board
    from benchmark.leaderboard.pages.frames import boards as boards

_MODULES = {
    "board": "benchmark.leaderboard.pages.frames",
    "boards": "benchmark.leaderboard.pages.frames",
    "collect": "benchmark.api.collecting",
    "compare": "benchmark.api.rows",
    "evaluate": "benchmark.foreign.evaluating",
    "load_model": "benchmark.api.loading",
    "plan": "benchmark.api.planning",
    "pull": "benchmark.hub.pulling",
    "push": "benchmark.hub.pushing",
    "reproduce": "benchmark.api.rows",
    "run": "benchmark.api.running",
    "status": "benchmark.api.watching",
}
__all__ = [
    "board",
    "boards",
    "collect",
    "compare",
    "evaluate",
    "load_model",
    "plan",
    "pull",
    "push",
    "reproduce",
    "run",
    "status",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for: torch and pandas take seconds, `--help` must not."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _check_methods()
    return getattr(import_module(_MODULES[name]), name)


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
