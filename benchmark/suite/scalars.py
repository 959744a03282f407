"""Stricter than pydantic: a number is not a boolean, and is written in decimal digits.

Pydantic reads `true` as 1 and "012" as 12; where a number is expected, either is probably a mistake.
"""

from __future__ import annotations

import re
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

# Such as "3", "-0.5", "1e-1": no leading zero before other digits, no underscore, no colon, no other base.
_DECIMAL = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?")


def is_decimal(text: str) -> bool:
    """Return whether a text is a decimal number, with or without a fraction and an exponent.

    >>> [is_decimal(text) for text in ("3", "-.5", "1e-1", "012", "1:30", "0x10", "1_000", "inf")]
    [True, True, True, False, False, False, False, False]
    """
    return _DECIMAL.fullmatch(text) is not None


def misreading(value: Any, annotation: Any) -> str | None:
    """Return why a value, or one in a list of values, is not valid for a type; None if pydantic may parse it.

    Args:
        value: value from YAML or the command line.
        annotation: declared type of the setting.
    """
    types = _scalar_types(annotation)
    if object in types:
        return None
    values = value if isinstance(value, list | tuple) else [value]
    for item in values:
        if isinstance(item, list | tuple):
            reason = misreading(item, annotation)
        elif isinstance(item, bool):
            reason = None if bool in types else f"is not a true-or-false setting, got {item}"
        elif isinstance(item, str) and types & {int, float} and not types & {str, bool} and not is_decimal(item):
            form = "a decimal number such as 12, 0.5 or 1e-3" if float in types else "a whole number such as 12"
            reason = f"must be {form}, got {item!r}"
        else:
            reason = None
        if reason is not None:
            return reason
    return None


def declared_types(cls: type) -> dict[str, Any]:
    """Return the declared type of every annotated name of a class; {} if one of them cannot be resolved."""
    try:
        return get_type_hints(cls)
    except NameError:  # imported for type checkers only
        return {}


def _scalar_types(annotation: Any) -> set[type]:
    """Return the types that a value, or an element of it, may have, including `object` if any type is allowed."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _scalar_types(get_args(annotation)[0])
    if origin is Literal:
        return {type(value) for value in get_args(annotation)}
    if origin in (Union, UnionType, list, tuple, set, frozenset):
        return set().union(*(_scalar_types(part) for part in get_args(annotation) if part is not Ellipsis))
    return {annotation} if isinstance(annotation, type) else {object}
