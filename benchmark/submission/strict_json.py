"""JSON from strangers: one meaning only, numbers that fit, limited depth. It knows nothing about submissions."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from benchmark.errors import UserError

MAX_DEPTH = 12  # of lists and objects; a record has six
MAX_DIGITS = 24  # of a number as written; 1.7976931348623157e+308 has as many


def parse(content: bytes) -> Any:
    """Read JSON.

    Raises:
        UserError: if it is not JSON in UTF-8, names a key twice, is nested too deeply, or holds a number that is not
            finite, negative zero or absurdly long.
    """
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_not_finite,
        )
    except UnicodeDecodeError as error:
        raise UserError(f"it is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise UserError(f"it is not JSON ({error.msg}, line {error.lineno})") from None
    except RecursionError:
        raise UserError(f"it is nested more than {MAX_DEPTH} levels deep") from None
    _check_depth(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:  # one pass: an object may have hundreds of thousands of keys
        if name in members:
            raise UserError(f"the key {ascii(name)[:60]} appears more than once in one object")
        members[name] = value
    return members


def _integer(text: str) -> int:
    _check_length(text)
    if text == "-0":
        raise UserError("it holds a negative zero")
    return int(text)


def _float(text: str) -> float:
    _check_length(text)
    value = float(text)
    if not math.isfinite(value):
        raise UserError(f"the number {text} is not finite")
    if value == 0 and text.startswith("-"):
        raise UserError("it holds a negative zero")
    return value


def _check_length(text: str) -> None:
    if len(text) > MAX_DIGITS:
        raise UserError(f"the number {text[:12]}… has {len(text)} digits, more than {MAX_DIGITS}")


def _not_finite(text: str) -> NoReturn:
    raise UserError(f"{text} is not a JSON number")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent if isinstance(parent, list) else ())
        ]
        if not level:
            return
    raise UserError(f"it is nested more than {MAX_DEPTH} levels deep")
