"""How much text a record may hold: pages show it, and a browser must open a board of hundreds of rows.

The longest committed record has 4,600 characters by `characters`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

MAX_RECORD = 20_000  # characters of a record's text, see `characters`
MAX_CHOSEN = 14_000  # of these, from a method and its settings; a run adds the rest
MAX_TEXT = 4_000  # characters of one string
MAX_NAME = 300  # characters of a name, and of a key
MAX_ITEMS = 256  # of a list or mapping that a method or a user fills
MAX_DEVIATIONS = 32  # of a method from its paper
MAX_LINES = 10_000  # layers of a network, epochs of a training
MAX_INTEGER = 2**63 - 1
MAX_DEPTH = 8  # nested lists and mappings in a setting
# Bounded on their own: verdict bits, and an entry for each layer and epoch.
_APART = frozenset({"verdicts", "layers", "history"})


def characters(value: Any) -> int:
    """Count the characters of all strings in a record or a part of it; a mapping counts with its length as JSON.

    Verdict bits, layers and the training history do not count: each has its own bound.
    """
    if isinstance(value, str):
        return len(value)
    if isinstance(value, BaseModel):
        return sum(characters(part) for name, part in vars(value).items() if name not in _APART)
    if isinstance(value, dict):
        return len(json.dumps(value, ensure_ascii=False))
    return sum(map(characters, value)) if isinstance(value, list | tuple) else 0


def check_characters(part: BaseModel) -> None:
    """Check that a file's content holds at most MAX_RECORD characters of text.

    Raises:
        ValueError: if it holds more.
    """
    if (size := characters(part)) > MAX_RECORD:
        raise ValueError(f"its texts have {size:,} characters, at most {MAX_RECORD:,} are allowed")


def check_chosen(config: dict[str, Any], deviations: list[str], phases: Sequence[Any]) -> None:
    """Check before a training what its record will say about the method and its settings.

    Args:
        config: the resolved experiment.
        deviations: of the method from its paper.
        phases: of the training, see `methods.base.Phase`.

    Raises:
        ValueError: if it does not fit into a record.
    """
    options = config["method"]["options"]
    fields = [{**vars(phase), "trains": sorted(phase.trains)} for phase in phases]
    for what, value in (("settings", config), ("phases", fields)):
        try:
            check_setting(value)
        except ValueError as error:
            raise ValueError(f"its {what} do not fit into a record: {error}; make them shorter") from None
    names = (config["suite"], config["dataset"], *(phase.name for phase in phases))
    if longest := max((len(name) for name in names if len(name) > MAX_NAME), default=0):
        raise ValueError(f"one of its names has {longest:,} characters, a record holds {MAX_NAME}; make it shorter")
    if (epochs := config["training"]["epochs"]) > MAX_LINES:
        raise ValueError(f"it trains for {epochs:,} epochs, a record holds {MAX_LINES:,}; train for fewer")
    if len(deviations) > MAX_DEVIATIONS:
        raise ValueError(f"it has {len(deviations)} deviations, a record holds {MAX_DEVIATIONS}; combine some")
    if longest := max((len(text) for text in deviations if len(text) > MAX_TEXT), default=0):
        raise ValueError(f"a deviation has {longest:,} characters, a record holds {MAX_TEXT:,}; make it shorter")
    if (size := characters([config, options, deviations, fields])) > MAX_CHOSEN:
        raise ValueError(
            f"its settings, phases and deviations have {size:,} characters, a record holds {MAX_CHOSEN:,}; "
            "make them shorter"
        )


def check_setting(value: Any, depth: int = 0) -> None:
    """Check a value that a method or a user chose freely: JSON with finite numbers.

    Raises:
        ValueError: if a number is not finite, a string or key is too long, or a list or mapping is too large or too
            deeply nested.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("numbers must be finite")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise ValueError(f"a text has {len(value):,} characters, at most {MAX_TEXT:,} are allowed")
    if not isinstance(value, dict | list | tuple):
        return
    if depth == MAX_DEPTH:
        raise ValueError(f"lists and mappings are nested more than {MAX_DEPTH} deep")
    if len(value) > MAX_ITEMS:
        raise ValueError(f"a list or mapping has {len(value):,} items, at most {MAX_ITEMS} are allowed")
    if isinstance(value, dict) and (long := next((key for key in value if len(str(key)) > MAX_NAME), None)):
        raise ValueError(f"a key has {len(long):,} characters, at most {MAX_NAME} are allowed")
    for child in value.values() if isinstance(value, dict) else value:
        check_setting(child, depth + 1)
