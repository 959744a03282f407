"""What to cite for a row: a file beside its record, which may be corrected without touching the record.

It is in folder/citations/<run, "/" written as "__">.yaml, for rows of any kind.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, Field, ValidationError

from benchmark.errors import UserError
from benchmark.files.mistakes import first_mistake
from benchmark.files.plain import files_below, read_below, refuse_links
from benchmark.files.text import concealed
from benchmark.files.yaml_file import parse_mapping
from benchmark.results.external import MAX_AUTHORS, AuthorName
from benchmark.results.fields import Link
from benchmark.results.parts import Part
from benchmark.results.store import artifact_path

CITATIONS_FOLDER = "citations"  # below a folder of results
CITATION_BYTES = 2**14
KEYS = "title, authors and year, and where there is one venue and link"


def _one_line(text: str) -> str:
    if (reason := concealed(text)) or text != " ".join(text.split()):
        raise ValueError(f"must be one line of visible characters{f', not {reason}' if reason else ''}")
    return text


Line = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_one_line)]


class Citation(Part):
    """A publication about the network of a row."""

    title: Line
    authors: Annotated[
        list[Annotated[AuthorName, AfterValidator(_one_line)]], Field(min_length=1, max_length=MAX_AUTHORS)
    ]
    year: Annotated[int, Field(strict=True, ge=1950, le=2100)]
    venue: Line | None = None
    link: Link | None = None


def citation_path(folder: Path, run: str) -> Path:
    """Return the path of the citation of a run.

    Raises:
        UserError: if the name could lead outside the folder, or the path is a link.
    """
    return refuse_links(folder / CITATIONS_FOLDER / artifact_path(folder, run, ".yaml").name, folder)


def citation_text(citation: Citation) -> str:
    """Return the content of a citation's file."""
    fields = citation.model_dump(exclude_none=True)
    return yaml.safe_dump(fields, allow_unicode=True, sort_keys=False, width=100)


def parse_citation(content: bytes, name: str) -> Citation:
    """Read the content of a citation's file; `name` is for messages.

    Raises:
        UserError: if it is not a citation.
    """
    if len(content) > CITATION_BYTES:
        raise UserError(f"{name} has {len(content):,} bytes, at most {CITATION_BYTES:,} are allowed")
    mapping = parse_mapping(content, name, KEYS)
    try:
        return Citation.model_validate(mapping)
    except ValidationError as error:
        raise UserError(f"{name}: {first_mistake(error)}; it holds {KEYS}") from None


def load_citations(folder: Path, runs: Collection[str]) -> dict[str, Citation]:
    """Read all citations below `folder`, by run.

    Args:
        folder: of results.
        runs: of all records there.

    Raises:
        UserError: if a file is not a citation, or belongs to no record.
    """
    names: Mapping[str, str] = {citation_path(folder, run).name: run for run in runs}
    citations = {}
    for path in files_below(folder / CITATIONS_FOLDER, folder, ".yaml"):
        run = names.get(path.name)
        if run is None or path.parent != folder / CITATIONS_FOLDER:
            raise UserError(f"{path} cites a run that has no record; name it after the record's file, or delete it")
        citations[run] = parse_citation(read_below(path, folder, CITATION_BYTES + 1) or b"", str(path))
    return citations
