"""From the options of `submit` to a request for a network that was trained elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.errors import UserError
from benchmark.submission.external.writing import ExternalRequest

NEEDED = ("evaluation", "method", "architecture", "authors", "licence", "link", "converted")


def external_request(
    network: Path, about: Mapping[str, Any], *, row: str | None, package: str | None, **others: Any
) -> ExternalRequest:
    """Return the request, complete.

    Args:
        network: the ONNX file.
        about: what was typed about it, by the names of the options; None for what was not.
        row: the argument ROW, which is for rows that were trained here.
        package: likewise.
        others: further fields of the request.

    Raises:
        UserError: if an option is missing, or does not go with --external.
    """
    if row is not None or package is not None:
        what = "ROW" if row is not None else "--package"
        raise UserError(f"{what} is for networks that were trained here; leave it out with --external")
    if missing := [_option(name) for name in NEEDED if about[name] is None]:
        raise UserError(f"--external also needs {', '.join(missing)}; `submit --help` explains them")
    authors = tuple(name.strip() for name in about["authors"].split(","))
    if not all(authors):
        raise UserError(f"--authors takes names separated by commas, got {about['authors']!r}")
    return ExternalRequest(network=network, **{**about, "authors": authors}, **others)


def without_external(row: str | None, about: Mapping[str, Any]) -> str:
    """Return the row that was named.

    Raises:
        UserError: if none was, or there are options that only go with --external.
    """
    if odd := [_option(name) for name, value in about.items() if value is not None]:
        raise UserError(
            f"{odd[0]} is for networks that were trained elsewhere; give their ONNX file by --external FILE"
        )
    if row is None:
        raise UserError("name a row to submit, or the ONNX file of a network that was trained elsewhere by --external")
    return row


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
