"""A small set of records that fills every part of the site, and the site made from it."""

from __future__ import annotations

import hashlib
import runpy
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from benchmark.leaderboard.board.claims import Claim, RankingSpec, answers
from benchmark.leaderboard.board.find import cell_of
from benchmark.leaderboard.board.reference import ReportedRow
from benchmark.leaderboard.board.tables import Board, boards
from benchmark.leaderboard.figure_plans.list import Figure
from benchmark.leaderboard.paper.ranking import paper_ranking
from benchmark.leaderboard.paper.tables import PaperCell, PaperTable
from benchmark.leaderboard.site.pages import site_pages
from benchmark.results.record import Record

# Test folders are no packages (importmode=importlib), hence no import.
_record_fields = runpy.run_path(str(Path(__file__).parents[2] / "results" / "conftest.py"))["record_fields"]

REPORTED = ReportedRow(
    "cifar10", "8/255", "at", "pgd", "resnet34", True, None, 1.0, "fp", {}, clean=0.8099, robust=0.4326, note=None
)


def site_record(
    name: str, *, seed: int = 0, method: str = "edge_popup", weights: str = "binary", size: int = 27_100, **changes: Any
) -> Record:
    """Return a record with a hash of its own, made from `name` and the seed."""
    digits = hashlib.sha256(f"{name}{seed}".encode()).hexdigest()[:12]
    given: dict[str, Any] = {
        "run": f"cifar10/resnet34-lbn/{name}/seed{seed}-{digits[:6]}",
        "run_hash": digits,
        "compression__weights": weights,
        "artifact__size_bytes": size,
        "training__epochs": 12,
        "training__selected_epoch": 5,
    }
    return Record(**_record_fields(method=method, seed=seed, **given | changes))


def site_records() -> list[Record]:
    """Return records of ten rows in several size classes, one of them refused."""
    return [
        site_record("a", right=(80, 50, 46)),
        site_record("a", seed=1, right=(81, 51, 44)),
        site_record("b", right=(85, 55, 30), size=29_000, compression__allocation=1.0),
        site_record("c", right=(70, 40, 20), method="hydra", size=250_000, compression__allocation="global"),
        site_record("d", right=(75, 45, 41), method="hydra", weights="fp", size=280_000),
        site_record("e", right=(90, 60, 48), method="hydra", weights="binary", size=450_000),
        site_record("f", right=(92, 62, 52), method="at", weights="fp", size=85_000_000, training__passes=4e8),
        site_record("g", right=(60, 30, 12), preset="short", method__options={"rate": 0.5}),
        site_record("h", right=(61, 31, 13), preset="short", architecture__last_norm=False),
        site_record("i", right=(50, 30, 40), method="rst"),
    ]


def site_of(
    records: Sequence[Record], *, figures: Sequence[Figure] = (), question: str = "Is A ahead?", **given: Any
) -> dict[str, str]:
    """Return the site of these records, with one of the paper's tables, and a question to the first board's rows."""
    all_boards = boards(records, [REPORTED], **given)
    if not all_boards:
        return site_pages([], [], figures)
    first = next(iter(all_boards.values()))
    a, b, *_ = [*sorted({cell_of(record) for record in records}), "neither", "nor"]
    claim = Claim(question=question, protocol=first.protocol, a=a, b=b)
    spec = RankingSpec(protocol=first.protocol, published="cifar10", objective="pgd")
    answered = answers([claim, claim.model_copy(update={"b": "lacking"})], all_boards)
    return site_pages(
        list(all_boards.values()), [paper_table(first)], figures, answered, [paper_ranking(spec, first, [REPORTED])]
    )


def paper_table(board: Board) -> PaperTable:
    """Return a table of two cells, one of them not measured."""
    first = board.rows[0]
    cells = (
        PaperCell(0.4326, 0.45, 0.0174, 2, (0.4, 0.5), (board.protocol, first.id)),
        PaperCell(0.2, None, None, 0, None, None),
    )
    return PaperTable("main", "Main table", "Robust accuracy.", ("method",), ("fp", "binary"), ((("AT",), cells),))


class Parsed(HTMLParser):
    """The elements of a page, in order, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def values(self, name: str) -> list[str]:
        """Return the values of one attribute."""
        return [value for _, attributes in self.elements if (value := attributes.get(name)) is not None]


@pytest.fixture(scope="session")
def make_site_record() -> Callable[..., Record]:
    """Return the maker of records with a hash of their own."""
    return site_record


@pytest.fixture(scope="session")
def make_site() -> Callable[..., dict[str, str]]:
    """Return the maker of sites."""
    return site_of


@pytest.fixture(scope="session")
def records() -> list[Record]:
    """Return the records of the small site."""
    return site_records()


@pytest.fixture(scope="session")
def site(records: list[Record]) -> dict[str, str]:
    """Return the small site."""
    return site_of(records)


@pytest.fixture(scope="session")
def parsed() -> type[Parsed]:
    """Return the reader of pages."""
    return Parsed
