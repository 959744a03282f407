"""All generated pages of a leaderboard folder: what they should be, bringing them up to date, and checking them.

Pages lie directly in the folder, next to records/ and reference/, and in site/ below it. `write_pages` brings them up
to date, `check_pages` reports where they are not.
"""

from __future__ import annotations

import gc
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.errors import UserError
from benchmark.files.plain import files_below, read_below, refuse_links
from benchmark.leaderboard.board.claims import Answer, answers, load_claims
from benchmark.leaderboard.board.loading import load_results
from benchmark.leaderboard.board.reference import TABLES, load_reported
from benchmark.leaderboard.board.state import state_of
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.figure_plans.list import Compared, compare_figures, load_figures, outdated_note
from benchmark.leaderboard.history.changelog import CHANGELOG, changelog_page, missing_entries, read_changelog
from benchmark.leaderboard.pages.bibtex import to_bibtex
from benchmark.leaderboard.pages.claims import claims_page
from benchmark.leaderboard.pages.csv_file import to_csv
from benchmark.leaderboard.pages.json_file import to_json
from benchmark.leaderboard.pages.latex import to_latex
from benchmark.leaderboard.pages.markdown import index_page, to_markdown
from benchmark.leaderboard.pages.own_pages import PAGE_BYTES, may_delete, may_replace
from benchmark.leaderboard.pages.paper import paper_csv, paper_latex, paper_markdown
from benchmark.leaderboard.pages.readme import README, readme_page
from benchmark.leaderboard.pages.terminal import to_terminal
from benchmark.leaderboard.paper.ranking import PaperRanking, paper_ranking
from benchmark.leaderboard.paper.tables import paper_tables
from benchmark.leaderboard.site.pages import site_pages
from benchmark.results.store import write_atomic

__all__ = ["check_pages", "pages", "to_csv", "to_markdown", "to_terminal", "write_pages"]

INDEX = "boards.md"
REMEDY = "run `python -m benchmark leaderboard`"
_SITE = "site"
_FIGURES = "figures"  # below the site; written by a command of its own


def pages(folder: Path) -> dict[str, str]:
    """Return the text of every page by its name relative to `folder`, made from folder/records and folder/reference.

    Among them is the README beside the folder, if it holds tables of these boards. The changelog also depends on what
    is there: a new state of a board gets an entry.

    Raises:
        UserError: if a record, its later checks, a challenge or a table of reported results cannot be read.
    """
    return _build(folder).texts


@dataclass(frozen=True)
class _Built:
    """All pages, what the figures show compared with them, and what is measured but on no page."""

    texts: dict[str, str]
    drawn: Compared
    stale: Sequence[str]


def _build(folder: Path) -> _Built:
    results = load_results(folder)
    boards = results.boards
    states = {protocol: state_of(board, results.digests) for protocol, board in boards.items()}
    texts = {
        CHANGELOG: changelog_page(folder, states),
        INDEX: index_page(list(boards.values()), paper=results.published),
    }
    for protocol, state in states.items():
        texts[f"{protocol}.md"] = to_markdown(state.board)
        texts[f"{protocol}.csv"] = to_csv(state.board)
        texts[f"{protocol}.json"] = to_json(state)
        texts[f"{protocol}.tex"] = to_latex(state)
        texts[f"{protocol}.bib"] = to_bibtex(state)
    tables = paper_tables(boards, folder / "reference")
    if tables:
        texts["paper_tables.md"] = paper_markdown(tables)
        texts["paper_tables.csv"] = paper_csv(tables)
        texts["paper_tables.tex"] = paper_latex(tables)
    answered = _answered(folder, boards)
    if any(answered):
        texts["claims.md"] = claims_page(*answered)
    drawn = compare_figures(folder, boards)
    figures = [replace(figure, outdated=figure.name in drawn.outdated) for figure in load_figures(folder)]
    texts |= site_pages(list(boards.values()), tables, figures, *answered)
    return _Built(texts | readme_page(folder, boards, answered[0]), drawn, results.stale)


def changelog_from(former: Path, folder: Path) -> str:
    """Return the changelog that the present records of a folder give to the pages that another folder has.

    Raises:
        UserError: if a record, its later checks, a challenge or a table of reported results cannot be read.
    """
    results = load_results(folder)
    states = {protocol: state_of(board, results.digests) for protocol, board in results.boards.items()}
    return changelog_page(former, states)


def _answered(folder: Path, boards: Mapping[str, Board]) -> tuple[list[Answer], list[PaperRanking]]:
    claims = load_claims(folder)
    published = load_reported(folder / "reference" / TABLES) if claims.rankings else []
    rankings = [
        paper_ranking(spec, boards[spec.protocol], published) for spec in claims.rankings if spec.protocol in boards
    ]
    return answers(claims.claims, boards), rankings


def write_pages(folder: Path, note: Callable[[str], None] = lambda _: None) -> list[Path]:
    """Write the pages that differ from their records, delete those without records, return what changed.

    The changelog is written first: it is derived from the pages that the others replace. Figures are drawn by a
    command of their own; the site says which of them are outdated.

    Args:
        folder: of results.
        note: receives a sentence if figures are outdated.

    Raises:
        UserError: if a record, its later checks, a challenge or a table of reported results cannot be read.
    """
    with _no_collection():
        built = _build(folder)
    texts, drawn = built.texts, built.drawn
    stale = list(_leftovers(folder, texts))
    changed = [name for name, text in texts.items() if _read(folder, name) != text]
    _check_names(folder, [name for name in changed if name not in (CHANGELOG, README)])
    for name in sorted(changed, key=lambda name: (name != CHANGELOG, name)):
        # Not synced to disk: a page is generated again in a second, and there are thousands.
        write_atomic(folder / name, texts[name], durable=False)
    for path in stale:
        path.unlink()
        _remove_empty(path.parent, folder)
    if drawn.outdated:
        note(outdated_note(drawn.outdated))
    return sorted([*(folder / name for name in changed), *stale])


def check_place(folder: Path) -> None:
    """Check that pages can be written into a folder without harming other files.

    Raises:
        UserError: if a name that the pages need is taken, or leads through a link.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give --out a folder")
    read_changelog(folder)
    files_below(folder / _SITE, folder, "")  # refuses links, through which a page would be written elsewhere
    _check_names(folder, [INDEX, *site_pages([], [], [])])


def _check_names(folder: Path, names: Iterable[str]) -> None:
    """Refuse to overwrite a file that is not a generated page; an empty one may be what a crash left of a page."""
    for path in (folder / name for name in names):
        wrong = [path.parent] if path.parent.exists() and not path.parent.is_dir() else []
        refuse_links(path, folder)
        if path.exists() and not (path.is_file() and (path.stat().st_size == 0 or may_replace(path, folder))):
            wrong.append(path)
        if wrong:
            raise UserError(
                f"{wrong[0]} is not a page of the boards and would be overwritten: move it, or give another --out"
            )


def check_pages(folder: Path, note: Callable[[str], None] = lambda _: None) -> list[str]:
    """Return one sentence for every page or picture that is missing, edited or left over; empty if all agree.

    See `inspect_pages`.
    """
    return inspect_pages(folder, note)[1]


def inspect_pages(folder: Path, note: Callable[[str], None] = lambda _: None) -> tuple[dict[str, str], list[str]]:
    """Return the text of every page by its name, and one sentence for each that is missing, edited or left over.

    Args:
        folder: of results.
        note: receives a sentence if figures are outdated, which is not an error: the site says so.

    Raises:
        UserError: if a record, its later checks, a challenge or a table of reported results cannot be read.
    """
    with _no_collection():
        built = _build(folder)
    texts, problems = built.texts, list(built.stale)
    for name, text in sorted(texts.items()):
        current = _read(folder, name)
        if current is None:
            problems.append(f"{name} is missing: {REMEDY}")
        elif current != text and name == CHANGELOG:
            problems.append(f"{name} {missing_entries(current, text)}: {REMEDY}")
        elif current != text:
            problems.append(f"{name} differs from its records: {REMEDY}")
    problems += [
        f"{path.relative_to(folder).as_posix()} has no records: {REMEDY}" for path in _leftovers(folder, texts)
    ]
    if built.drawn.outdated:
        note(outdated_note(built.drawn.outdated))
    return texts, [*problems, *built.drawn.problems]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Switch the garbage collector off: it would walk through a million objects again and again, all of them in use."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read(folder: Path, name: str) -> str | None:
    around = folder.absolute().parent if name == README else folder
    content = read_below(around / Path(name).name if name == README else folder / name, around, PAGE_BYTES)
    return None if content is None else content.decode("utf-8", errors="replace")


def _leftovers(folder: Path, texts: dict[str, str]) -> Iterator[Path]:
    """Yield the generated files that are no longer pages; any other file was written by hand."""
    candidates = sorted(folder.glob("*")) + [
        path
        for path in files_below(folder / _SITE, folder, "")
        if path.relative_to(folder / _SITE).parts[0] != _FIGURES
    ]
    for path in candidates:
        plain = stat.S_ISREG(path.lstat().st_mode)
        if plain and path.relative_to(folder).as_posix() not in texts and may_delete(path, folder):
            yield path


def _remove_empty(place: Path, folder: Path) -> None:
    while place != folder and not any(place.iterdir()):
        place.rmdir()
        place = place.parent
