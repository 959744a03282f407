"""Which values a setting takes literally: a number is not a truth value, and is written in decimal digits.

Pydantic reads `true` as 1 and "012" as 12. Neither is what somebody meant who wrote it where a number belongs.
"""

from __future__ import annotations

import re
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

# As in "3", "-0.5", "1e-1": no leading zero before other digits, no underscore, no colon, no other base.
_DECIMAL = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?")


def is_decimal(text: str) -> bool:
    """Return whether text is a number in decimal digits, with or without a fraction and an exponent.

    >>> [is_decimal(text) for text in ("3", "-.5", "1e-1", "012", "1:30", "0x10", "1_000", "inf")]
    [True, True, True, False, False, False, False, False]
    """
    return _DECIMAL.fullmatch(text) is not None


def misreading(value: Any, annotation: Any) -> str | None:
    """Return why a value, or one in a list of values, must not be read as a type; None if it may be tried.

    Args:
        value: as YAML or the command line gave it.
        annotation: the declared type of the setting.
    """
    types = _scalar_types(annotation)
    if object in types:  # anything goes
        return None
    values = value if isinstance(value, list | tuple) else [value]
    for each in values:
        if isinstance(each, list | tuple):
            reason = misreading(each, annotation)
        elif isinstance(each, bool):
            reason = None if bool in types else f"is not a yes-or-no setting, got {each}"
        elif isinstance(each, str) and types & {int, float} and not types & {str, bool} and not is_decimal(each):
            reason = f"is a number and takes decimal digits, as 12, 0.5 or 1e-3, got {each!r}"
        else:
            reason = None
        if reason is not None:
            return reason
    return None


def declared_types(cls: type) -> dict[str, Any]:
    """Return the declared type of every annotated name of a class; nothing if one of them cannot be found."""
    try:
        return get_type_hints(cls)
    except NameError:  # imported for type checkers only
        return {}


def _scalar_types(annotation: Any) -> set[type]:
    """Return the types that a value, or an element of it, may have; `object` among them if that is left open."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _scalar_types(get_args(annotation)[0])
    if origin is Literal:
        return {type(value) for value in get_args(annotation)}
    if origin in (Union, UnionType, list, tuple, set, frozenset):
        return set().union(*(_scalar_types(part) for part in get_args(annotation) if part is not Ellipsis))
    return {annotation} if isinstance(annotation, type) else {object}
