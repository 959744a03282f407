"""Where to fetch an artifact that is not below its board: artifacts/<run>.json, beside where the artifact would be.

The record has the artifact's hash and size, so an address can be corrected without touching the record.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from benchmark.files.plain import is_below
from benchmark.results.fields import Url
from benchmark.results.parts import Part
from benchmark.results.store import RECORD_BYTES, artifact_path, load_placed


class ArtifactAddress(Part):
    """The content of such a file."""

    schema_version: Literal[1]
    url: Url


def address_path(folder: Path, run: str) -> Path:
    """Return the path of the address of a run's artifact.

    Raises:
        UserError: if the name could lead outside the folder or be mistaken for another run, or the path is a link.
    """
    return artifact_path(folder, run).with_suffix(".json")


def load_address(folder: Path, run: str) -> str | None:
    """Return the https address of a run's artifact; None if the board states none.

    Raises:
        UserError: if the file is a link or not a valid address.
    """
    path = address_path(folder, run)
    if not is_below(path, folder, RECORD_BYTES):
        return None
    address, _ = load_placed(path, folder, ArtifactAddress, lambda _: path, remedy="write the address again")
    return address.url
