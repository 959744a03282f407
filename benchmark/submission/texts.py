"""Every string of a submission, before any of it reaches a page: no markup, no hidden characters, plain names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from benchmark.architectures import SHAPES
from benchmark.results.record import Record
from benchmark.submission.schema import Submission
from methods import BUILT_IN

MAX_TEXT = 4000  # characters of a command or a deviation
MAX_NAME = 200
# What may be prose: everything else is a name, a number or a hash.
_PROSE = ("provenance.command", "method.deviations", "evaluation.health", "credit")
_OPAQUE = ("evaluation.verdicts", "evaluation.wide.verdicts")  # base64 of any length, read by the schema
_MARKUP = re.compile(r"<\s*[a-z!/?]|&#|&[a-z]{2,8};|javascript:|data:text|\]\(", re.IGNORECASE)

_WORD = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}"
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,59}|[1-9]\d{0,5}")  # numbers: batch sizes of the latencies
_NAMES = {
    "method.name": r"(?=.{1,40}$)[a-z][a-z0-9]*(_[a-z0-9]+)*",
    "method.target": r"([A-Za-z_][A-Za-z0-9_]{0,59}\.py|[A-Za-z_][A-Za-z0-9_.]{0,119}):[A-Za-z_][A-Za-z0-9_]{0,99}",
    "suite": _WORD,
    "dataset.name": _WORD,
    "architecture.name": "|".join(SHAPES),
    "method.objective": r"[a-z_]{1,20}",
    "compression.layers.name": r"[A-Za-z0-9_.]{1,100}",
    "training.phases.name": r"[A-Za-z0-9][A-Za-z0-9 ._/+-]{0,59}",
    "training.history.phase": r"[A-Za-z0-9][A-Za-z0-9 ._/+-]{0,59}",
    "evaluation.autoattack.package": r"pyautoattack",
    "evaluation.autoattack.package_version": r"\d{1,4}(\.\d{1,4}){1,3}",
    "provenance.git_commit": r"[0-9a-f]{40}",
    "provenance.python": r"\d{1,2}(\.\d{1,3}){1,2}[A-Za-z0-9.+-]{0,20}",
    "provenance.torch": r"\d{1,2}(\.\d{1,4}){1,3}[A-Za-z0-9.+-]{0,40}",
}
_NAMES |= {f"provenance.trained.{name}": _NAMES[f"provenance.{name}"] for name in ("git_commit", "python", "torch")}


def check_texts(record: Record, submission: Submission) -> list[str]:
    """Return why a string of the two files may not reach a page; empty if all may."""
    return record_texts(record) + strings_refusals(submission.model_dump())


def strings_refusals(fields: dict[str, Any]) -> list[str]:
    """Return why a string of a file may not reach a page; empty if all may."""
    places = ((place, text_refusal(place, text)) for place, text in _strings(fields, ""))
    return [f"{place}: {reason}" for place, reason in places if reason]


def record_texts(record: Record) -> list[str]:
    """Return why a string of a record may not reach a page; empty if all may."""
    reasons = strings_refusals(record.model_dump(mode="json"))
    taken = BUILT_IN.get(record.method.name, record.method.target)
    if taken != record.method.target:
        reasons.append(f"method.name: {record.method.name} is the built-in method {taken}; choose another name")
    return reasons


def check_source(content: bytes) -> list[str]:
    """Return why people could not read a method's file as Python would; empty if they can."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        return [f"the method's file is not UTF-8 (byte {error.start})"]
    odd = [char for char in text.replace("\r\n", "\n") if not char.isprintable() and char not in "\n\t"]
    if odd:
        return [f"the method's file holds the character U+{ord(odd[0]):04X}, a control, direction or invisible one"]
    return []


def _strings(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yield every string with its place; a list's index is left out, a key is checked under its parent's name."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list):
        for child in value:
            yield from _strings(child, place)
    elif isinstance(value, dict):
        for key, child in value.items():
            known = place in (*_OPAQUE, "evaluation.autoattack.attacks")  # keys that the schema names
            if not known and not _KEY.fullmatch(key):
                yield f"{place} (a key)", key
            yield from _strings(child, f"{place}.{_shown(key)}" if place else _shown(key))


def _shown(text: str) -> str:
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text)[:60]


def text_refusal(place: str, text: str) -> str:
    """Return what is wrong with the string at a place of the two files; empty if nothing is."""
    shown = ascii(text)[:80]
    if place.endswith("(a key)"):
        return f"{shown} is no plain name"
    if place.startswith(_OPAQUE):
        return ""
    prose = place.startswith(_PROSE)
    if len(text) > (MAX_TEXT if prose else MAX_NAME):
        return f"it has {len(text):,} characters, at most {MAX_TEXT if prose else MAX_NAME} are allowed"
    if _MARKUP.search(text):
        return f"{shown} holds markup, which no page may carry"
    if not text.isprintable():
        odd = next(char for char in text if not char.isprintable())
        return f"{shown} holds the character U+{ord(odd):04X}, a control, direction or invisible one"
    if not prose and not text.isascii():
        return f"{shown} holds characters other than ASCII, which may look like others"
    pattern = _NAMES.get(place)
    if pattern is not None and not re.fullmatch(pattern, text):
        return f"{shown} is no plain name of this field"
    return ""
