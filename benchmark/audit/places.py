"""The kind of a file below a board, by its path alone."""

from __future__ import annotations

import re
from typing import Literal

Place = (
    Literal["record", "artifact", "address", "challenge", "evaluation", "check", "citation", "speed"]
    | Literal["submission", "published", "figure", "prose", "page"]
)

_NAME = r"[A-Za-z0-9][A-Za-z0-9._=+-]*"
_PLACES: tuple[tuple[str, Place], ...] = (
    (rf"(records|external)/{_NAME}/{_NAME}\.json", "record"),
    (rf"artifacts/{_NAME}\.(safetensors|onnx)", "artifact"),
    (rf"artifacts/{_NAME}\.json", "address"),
    (rf"challenges/{_NAME}/{_NAME}/{_NAME}\.(json|safetensors)", "challenge"),
    (rf"evaluations/{_NAME}\.json", "evaluation"),
    (rf"checks/{_NAME}/{_NAME}\.json", "check"),
    (rf"citations/{_NAME}\.yaml", "citation"),
    (rf"submissions/{_NAME}/(method/)?{_NAME}", "submission"),
    (rf"reference/{_NAME}|claims\.yaml", "published"),
    (rf"site/figures/{_NAME}\.(png|svg|json)", "figure"),
    (r"README\.md", "prose"),
    (r"speed\.json", "speed"),
    # Which of these a board has, and what they say, follows from its records.
    (rf"{_NAME}\.(md|csv|json|tex|bib)|site/({_NAME}/)*{_NAME}\.(html|css|js)", "page"),
)


def place_of(name: str) -> Place | None:
    """Return the kind of the file at a path below a board, parts separated by "/"; None if a board has no such file.

    >>> place_of("records/digits-linf-32_255-aa-standard-8/digits__at__seed0-3f9a1c.json"), place_of("records/x.exe")
    ('record', None)
    """
    return next((place for pattern, place in _PLACES if re.fullmatch(pattern, name)), None)
