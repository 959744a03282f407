"""The texts of a network that was trained elsewhere, before any of them reaches a page."""

from __future__ import annotations

from benchmark.results.challenges import is_credit
from benchmark.results.citations import Citation
from benchmark.results.external import ExternalRecord
from benchmark.results.parts import Part
from benchmark.submission.schema import ExternalSubmission
from benchmark.submission.texts import part_texts
from methods import BUILT_IN


def external_texts(record: ExternalRecord, submission: ExternalSubmission | None = None) -> list[str]:
    """Return why a string of a record, and of its submission, may not reach a page; empty if all may."""
    origin = record.origin
    reasons = part_texts(record) + ([] if submission is None else part_texts(submission))
    for what, names in (("authors", origin.authors), ("credit", [origin.credit])):
        reasons += [
            f"origin.{what}: {ascii(name)[:80]} is not a printable name" for name in names if not is_credit(name)
        ]
    if origin.method in BUILT_IN:
        reasons.append(
            f"origin.method: {origin.method} is the name of a built-in method, whose networks are trained here; write "
            "it as its authors do"
        )
    if "\n" in origin.conversion or origin.conversion != origin.conversion.strip():
        reasons.append("origin.conversion: it is not one line of text")
    return reasons


def citation_texts(citation: Citation) -> list[str]:
    """Return why a string of a citation may not reach a page; empty if all may."""
    return part_texts(_Cited(citation=citation))


class _Cited(Part):
    """Gives the fields of a citation their place."""

    citation: Citation
