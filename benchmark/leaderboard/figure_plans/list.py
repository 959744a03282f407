"""The list of drawn figures, site/figures/figures.json: read, and checked against the records, without drawing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from benchmark.errors import UserError
from benchmark.files.mistakes import first_mistake
from benchmark.files.plain import files_below, is_below, read_below, refuse_links
from benchmark.leaderboard.board.reference import has_reported, load_reported
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.figure_plans.boards import plan_figures
from benchmark.leaderboard.figure_plans.data import MaskData, Plan
from benchmark.results.evaluated import load_evaluated
from benchmark.results.fields import Sha256
from benchmark.results.parts import Part
from benchmark.results.store import RECORD_BYTES, artifact_path

FIGURES = Path("site") / "figures"  # below the folder of results
LIST = "figures.json"
PICTURE_BYTES = 2**26
ENDINGS = (".png", ".svg")
_REMEDY = "run `python -m benchmark figures`"


@dataclass(frozen=True)
class Figure:
    """A drawn figure. All texts are plain and untrusted: escape them for the page they go to."""

    name: str
    title: str
    caption: str
    protocol: str | None
    run: str | None
    numbers: tuple[tuple[str, str], ...]  # label, value: shown beside the picture
    png: str  # file names in site/figures/; twice the resolution of the SVG's nominal size
    svg: str
    source: str  # SHA-256 of the canonical JSON of the data that were drawn
    outdated: bool = False  # drawn from other results than those there now


class FigureEntry(Part):
    """A figure as figures.json holds it: with the hashes of its files."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,149}$")]
    title: str
    caption: str
    protocol: str | None
    run: str | None
    numbers: tuple[tuple[str, str], ...]
    png: str
    svg: str
    png_sha256: Sha256
    svg_sha256: Sha256
    source: Sha256

    @model_validator(mode="after")
    def _files_are_its_own(self) -> Self:
        for file, ending in zip((self.png, self.svg), ENDINGS, strict=True):
            if file != self.name + ending:
                raise ValueError(f"the file {file!r} is not {self.name + ending!r}")
        return self

    @property
    def files(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Name and SHA-256 of both files."""
        return (self.png, self.png_sha256), (self.svg, self.svg_sha256)


class FigureList(Part):
    """The content of figures.json, in the order in which figures are shown."""

    schema_version: Literal[1]
    figures: tuple[FigureEntry, ...]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [entry.name for entry in self.figures]
        if len(set(names)) < len(names):
            raise ValueError("two figures have one name")
        return self


def load_figures(folder: Path) -> list[Figure]:
    """Return the figures below a folder of results, in the order in which they are shown; none without figures.json.

    Raises:
        UserError: if the list is damaged, or one of its files is a link.
    """
    shown = [entry.model_dump(exclude={"png_sha256", "svg_sha256"}) for entry in load_entries(folder) or ()]
    return [Figure(**fields) for fields in shown]


def load_entries(folder: Path) -> tuple[FigureEntry, ...] | None:
    """Return the entries of figures.json below a folder of results; None if there is no such file.

    Raises:
        UserError: if the list is damaged, or one of its files is a link.
    """
    path = folder / FIGURES / LIST
    content = read_below(path, folder, RECORD_BYTES)
    if content is None:
        return None
    try:
        entries = FigureList.model_validate_json(content).figures
    except ValidationError as error:
        raise UserError(f"{path}: {first_mistake(error)}; delete the file and {_REMEDY}.") from None
    for entry in entries:
        for name, _ in entry.files:
            refuse_links(folder / FIGURES / name, folder)
    return entries


def plan_all(folder: Path, boards: Mapping[str, Board]) -> tuple[list[Plan], list[str]]:
    """Return the figures that a folder of results allows, and a sentence for each that is left out.

    Args:
        folder: with evaluations/, artifacts/ and reference/, as far as they are there.
        boards: its boards by protocol.

    Raises:
        UserError: if one of these files cannot be read.
    """
    place = folder / "evaluations"
    stored = [path for path in files_below(place, folder, ".json") if path.parent == place]
    evaluated = [load_evaluated(path) for path in stored if is_below(path, folder, RECORD_BYTES)]
    ablations = folder / "reference" / "reported_ablations.csv"
    return plan_figures(boards, evaluated, load_reported(ablations) if has_reported(ablations) else ())


def intact(folder: Path, entry: FigureEntry) -> bool:
    """Return whether both files of a figure are there and are those that were drawn."""
    return not list(_file_problems(folder, entry))


@dataclass(frozen=True)
class Compared:
    """The drawn figures of a folder against its results."""

    outdated: Mapping[str, str]  # by the figure's name, why the present results give another one, or one more
    problems: tuple[str, ...]  # a sentence for every picture or text that was edited, is missing or was left over


def compare_figures(folder: Path, boards: Mapping[str, Board]) -> Compared:
    """Compare the figures that were drawn with those that the results give now.

    A folder without figures.json has no figures and no problem. Nothing is drawn: the data and texts of a figure are
    computed again and compared; for a mask only which layers of which artifact were drawn.

    Args:
        folder: of results.
        boards: its boards by protocol.

    Raises:
        UserError: if figures.json or a file that the figures are made of cannot be read.
    """
    entries = load_entries(folder)
    if entries is None:
        return Compared({}, ())
    plans = {plan.name: plan for plan in plan_all(folder, boards)[0]}
    drawn = {entry.name: entry for entry in entries}
    outdated, problems = {}, []
    for name in sorted({*plans, *drawn}):
        if name not in plans:
            outdated[name] = f"figure {name} has no results any more"
        elif name not in drawn:
            if drawable(folder, plans[name]):
                outdated[name] = f"figure {name} was never drawn"
        elif drawn[name].source != plans[name].source:
            outdated[name] = f"figure {name} was drawn from other results than those there now"
        elif not has_same_text(drawn[name], plans[name]):
            problems.append(f"figure {name} has other words than its results give: {_REMEDY}")
    problems += [problem for _, entry in sorted(drawn.items()) for problem in _file_problems(folder, entry)]
    problems += [
        f"{path.name} belongs to no figure: {_REMEDY}, or move the file if it is yours"
        for path in leftovers(folder, entries)
    ]
    return Compared(outdated, tuple(problems))


def outdated_note(outdated: Mapping[str, str]) -> str:
    """Return the note about outdated figures, of which there is at least one."""
    first, more = next(iter(outdated.values())), len(outdated) - 1
    others = f" (and {more} more)" if more else ""
    return f"note: {first}{others}: {_REMEDY}; until then the site says that it shows an earlier state"


def has_same_text(entry: FigureEntry, plan: Plan) -> bool:
    """Return whether a drawn figure has the texts and the data of a plan; the numbers of a mask are unknown here."""
    numbers = entry.numbers if isinstance(plan.data, MaskData) else plan.numbers
    drawn = (entry.title, entry.caption, entry.protocol, entry.run, entry.numbers, entry.source)
    return drawn == (plan.title, plan.caption, plan.protocol, plan.run, numbers, plan.source)


def drawable(folder: Path, plan: Plan) -> bool:
    """Return whether everything that a figure needs is there: for a mask, its artifact."""
    return not isinstance(plan.data, MaskData) or artifact_path(folder, plan.run or "").exists()


def leftovers(folder: Path, entries: Iterable[FigureEntry]) -> list[Path]:
    """Return the pictures in the folder of figures that belong to none of the entries."""
    named = {name for entry in entries for name, _ in entry.files}
    pictures = [path for path in (folder / FIGURES).glob("*") if re.fullmatch(r".*\.(png|svg)", path.name)]
    return sorted(path for path in pictures if path.name not in named)


def _file_problems(folder: Path, entry: FigureEntry) -> Iterable[str]:
    for name, sha256 in entry.files:
        content = read_below(folder / FIGURES / name, folder, PICTURE_BYTES)
        if content is None:
            yield f"figure {name} is missing: {_REMEDY}"
        elif hashlib.sha256(content).hexdigest() != sha256:
            yield f"figure {name} is another file than the one drawn: {_REMEDY}"
