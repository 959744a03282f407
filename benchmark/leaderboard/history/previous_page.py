"""Reads a board's JSON page back line by line, also one that a merge has left with the lines of both sides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PageRow:
    """What a changelog needs to know of a row."""

    id: str
    label: str  # the setting in words
    records: tuple[tuple[str, str], ...]  # run and SHA-256 of its record, one per seed
    seeds: tuple[int, ...]
    preset: str
    size_class: str
    rank: int | None  # None: refused
    robust: float  # fraction
    reasons: tuple[str, ...]
    checked: frozenset[str]  # runs that have the checks that came later

    @property
    def runs(self) -> frozenset[str]:
        """The runs of its seeds."""
        return frozenset(run for run, _ in self.records)


@dataclass(frozen=True)
class PageChallenge:
    """What a changelog needs to know of a challenge."""

    run: str
    images_sha256: str
    credit: str
    date: str


@dataclass(frozen=True)
class Page:
    """The rows and challenges of a JSON page; after a merge a row may be there twice, as either side had it."""

    rows: tuple[PageRow, ...]
    challenges: tuple[PageChallenge, ...]


def read_page(text: str) -> Page:
    """Return the rows and challenges of a JSON page; lines that hold neither, whole, are passed over."""
    rows: dict[PageRow, None] = {}
    challenges: dict[PageChallenge, None] = {}
    for line in text.splitlines():
        if not line.startswith('{"kind": '):
            continue
        try:
            told = json.loads(line.rstrip().rstrip(","))
            if told["kind"] in ("measured", "refused"):
                rows[_row(told)] = None
            elif told["kind"] == "challenge":
                challenges[_challenge(told)] = None
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return Page(tuple(rows), tuple(challenges))


def _row(told: Mapping[str, Any]) -> PageRow:
    rank, robust = told["rank"], told["robust"]
    p = "" if told["keep_ratio"] == 1 else f", p {told['allocation']}"
    return PageRow(
        id=str(told["id"]),
        label=f"{told['method']}, {told['weights']}, {told['objective']}, keep {told['keep_ratio']:.4g}{p}",
        records=tuple((str(each["run"]), str(each["record_sha256"])) for each in told["seeds"]),
        seeds=tuple(int(each["seed"]) for each in told["seeds"]),
        preset=str(told["preset"]),
        size_class=str(told["size_class"]),
        rank=None if rank is None else int(rank),
        robust=float(robust["mean"] if isinstance(robust, dict) else robust),  # a pair in format 1
        reasons=tuple(str(each) for each in told["reasons"]),
        # Pages from before these checks do not name them.
        checked=frozenset(
            str(each["run"]) for each in told["seeds"] if each.get("leaky_bpda_verdict", "not checked") != "not checked"
        ),
    )


def _challenge(told: Mapping[str, Any]) -> PageChallenge:
    return PageChallenge(*(str(told[name]) for name in ("run", "images_sha256", "credit", "date")))
