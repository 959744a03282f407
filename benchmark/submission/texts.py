"""Every string of a submission, before any of it reaches a page: no markup, no hidden characters, plain names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from benchmark.files.text import ascii_forms, concealed
from benchmark.networks.shapes import SHAPES
from benchmark.results.bounds import MAX_NAME, MAX_TEXT
from benchmark.results.parts import Part
from benchmark.results.record import Record
from benchmark.submission.command import is_run_command
from benchmark.submission.schema import Submission
from benchmark.submission.source_text import source_reason
from methods import BUILT_IN

# These may be prose; everything else is a name, a number or a hash.
_PROSE = (
    *("provenance.command", "method.deviations", "evaluation.health", "evaluation.notes", "checks", "credit"),
    *("origin.authors", "origin.credit", "origin.conversion", "citation.title", "citation.authors", "citation.venue"),
)
_OPAQUE = ("evaluation.verdicts", "evaluation.wide.verdicts", "verdicts")  # base64 of any length, checked by the schema
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
    "graph.layers.name": r"(conv|gemm|matmul)[1-9]\d{0,5}",
    "graph.operators": r"[A-Za-z]{1,40}",
    "measured.torch": r"\d{1,2}(\.\d{1,4}){1,3}[A-Za-z0-9.+-]{0,40}",
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
    return record_texts(record) + part_texts(submission)


def record_texts(record: Record) -> list[str]:
    """Return why a string of a record may not reach a page; empty if all may."""
    reasons = part_texts(record)
    taken = BUILT_IN.get(record.method.name, record.method.target)
    if taken != record.method.target:
        reasons.append(f"method.name: {record.method.name} is the built-in method {taken}; choose another name")
    return reasons


def check_source(content: bytes) -> list[str]:
    """Return why people could not read a method's file as Python would; empty if they can."""
    reason = source_reason(content)
    return [reason] if reason else []


def part_texts(part: Part) -> list[str]:
    """Return why a string of a file's content may not reach a page; empty if all may."""
    texts = _strings(part.model_dump(mode="json"), "")
    return [f"{place}: {reason}" for place, text in texts if (reason := text_refusal(place, text))]


def _strings(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yield every string with its place; list indices are left out, a key is checked under its parent's name."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list):
        for child in value:
            yield from _strings(child, place)
    elif isinstance(value, dict):
        for key, child in value.items():
            fixed = place in (*_OPAQUE, "evaluation.autoattack.attacks")  # the schema checks these keys
            if not fixed and not _KEY.fullmatch(key):
                yield f"{place} (a key)", key
            yield from _strings(child, f"{place}.{_shown(key)}" if place else _shown(key))


def _shown(text: str) -> str:
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text)[:60]


def text_refusal(place: str, text: str) -> str:
    """Return what is wrong with the string at a place of the two files; empty if nothing is."""
    shown = ascii(text)[:80]
    if place.endswith("(a key)"):
        return f"{shown} is not a plain name"
    if place.startswith(_OPAQUE):
        return ""
    prose = place.startswith(_PROSE)
    if len(text) > (MAX_TEXT if prose else MAX_NAME):
        return f"it has {len(text):,} characters, at most {MAX_TEXT if prose else MAX_NAME} are allowed"
    if _MARKUP.search(ascii_forms(text)):
        return f"{shown} holds markup, which no page may carry"
    if not prose and text.isprintable() and not text.isascii():
        return f"{shown} holds characters other than ASCII, which may look like others"
    if reason := concealed(text):
        return f"{shown} holds {reason}"
    if place == "provenance.command" and not is_run_command(text):
        return f"{shown} is not `python -m benchmark run` with its own options, each word quoted where a shell needs it"
    pattern = _NAMES.get(place)
    if pattern is not None and not re.fullmatch(pattern, text):
        return f"{shown} is not a plain name of this field"
    return ""
