"""Reads the text of an `argparse.Namespace`, which several repositories write beside their checkpoints."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_START = "Namespace("


def read_namespaces(text: str) -> Iterator[dict[str, object]]:
    """Yield the settings of every namespace in a text; values that are no literals, such as paths, are left out.

    Raises:
        ValueError: if a namespace does not end, or is not written as Python writes it.
    """
    position = text.find(_START)
    while position >= 0:
        end = _end(text, position + len(_START))
        yield _settings(text[position:end])
        position = text.find(_START, end)


def _end(text: str, position: int) -> int:
    """Return the position after the parenthesis that closes the one before `position`."""
    depth, quote = 1, ""
    while position < len(text):
        character = text[position]
        if quote:
            if character == "\\":
                position += 1
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth == 0:
                return position + 1
        position += 1
    raise ValueError("it ends within a namespace")


def _settings(text: str) -> dict[str, object]:
    try:
        call = ast.parse(text, mode="eval").body
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError("its namespace is not written as Python writes it") from None
    settings: dict[str, object] = {}
    for keyword in call.keywords if isinstance(call, ast.Call) else ():
        try:
            settings[keyword.arg or ""] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue  # an object, whose text says nothing
    return settings
