"""What changed between two states of a board, in sentences: rows, robust accuracies, ranks and why they moved.

A state is read from the board's JSON page, line by line: a merge may have left it with the lines of both sides.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Literal

from pydantic import AliasChoices, AliasPath, BaseModel, Field, TypeAdapter, ValidationError

from benchmark.leaderboard.formats import markdown, percent, short

LISTED = 10  # rows that a reason names


class _Seed(BaseModel, frozen=True):
    seed: int | None  # None: the network was trained elsewhere
    run: str
    record_sha256: str
    leaky_bpda_verdict: str = "not checked"  # pages from before the opponent's checks lack it


class _Challenge(BaseModel, frozen=True):
    kind: Literal["challenge"]
    run: str
    images_sha256: str
    credit: str
    date: str


class PageRow(BaseModel, frozen=True):
    """A row of a JSON page, as far as the changelog reads it."""

    kind: Literal["measured", "refused", "superseded"]
    id: str
    method: str
    weights: str
    objective: str | None  # this and the next two: None for a network that was trained elsewhere
    keep_ratio: float | None
    allocation: float | str | None
    granularity: str | None = None
    preset: str
    size_class: str
    rank: int | None  # None: refused or superseded
    robust: float = Field(validation_alias=AliasChoices(AliasPath("robust", "mean"), "robust"))  # a pair in format 1
    reasons: tuple[str, ...]
    superseded_by: str | None = None
    seeds: tuple[_Seed, ...]
    challenges: tuple[_Challenge, ...] = ()  # to any of its runs; from lines of their own

    @property
    def title(self) -> str:
        """The id and the setting in words."""
        if self.keep_ratio is None:
            return f"{self.id} ({self.method}, {self.weights}, trained elsewhere)"
        p = "" if self.keep_ratio == 1 else f", p {self.allocation}"
        p += "" if self.granularity in (None, "weight") else f", {self.granularity}"
        return f"{self.id} ({self.method}, {self.weights}, {self.objective}, keep {short(self.keep_ratio)}{p})"

    @property
    def ranking(self) -> str:
        """What it is ranked in."""
        return f"{self.preset}, class {self.size_class}"


_LINE: TypeAdapter[PageRow | _Challenge] = TypeAdapter(Annotated[PageRow | _Challenge, Field(discriminator="kind")])


def read_page(text: str) -> list[PageRow]:
    """Return the rows of a JSON page; lines that are no complete row or challenge are skipped."""
    rows: list[PageRow] = []
    challenges: dict[str, list[_Challenge]] = {}
    for line in dict.fromkeys(line.rstrip().rstrip(",") for line in text.splitlines()):
        with suppress(ValidationError):
            entry = _LINE.validate_json(line)
            if isinstance(entry, PageRow):
                rows.append(entry)
            else:
                challenges.setdefault(entry.run, []).append(entry)
    return [
        row.model_copy(
            update={"challenges": tuple(each for seed in row.seeds for each in challenges.get(seed.run, ()))}
        )
        for row in rows
    ]


def changes(before: Sequence[PageRow], after: Sequence[PageRow]) -> list[str]:
    """Return the differences as lines of Markdown: rows first, then moved ranks, grouped by the reason they share.

    Rows are the same if they share a run. A row has several predecessors if a merge left it twice or rows were joined.
    """
    old_by_run: dict[str, list[PageRow]] = {}
    for old in before:
        for seed in old.seeds:
            old_by_run.setdefault(seed.run, []).append(old)
    predecessors = {
        row: [*dict.fromkeys(old for seed in row.seeds for old in old_by_run.get(seed.run, ()))] for row in after
    }
    kept = {row: olds for row, olds in predecessors.items() if olds}
    gone = set(before).difference(*kept.values())
    lines = [_added(row) for row in after if row not in kept]
    lines += [f"Removed {row.title}" for row in before if row in gone]

    changed = {row: _own_changes(row, olds) for row, olds in kept.items()}
    unchanged = {row.id for row, texts in changed.items() if not texts}
    above_now = _above({row: row.id for row in after})
    above_then = _above({old: old.id for old in before} | {old: row.id for row, olds in kept.items() for old in olds})
    moved: dict[str, list[str]] = {}
    for row, olds in kept.items():
        moves = _moves(row, olds)
        if changed[row]:
            lines.append(f"Changed {row.title}: {'; '.join([*changed[row], *moves])}")
        elif moves:
            reason = _reason(above_now(row), [above_then(old) for old in olds], unchanged)
            moved.setdefault(reason, []).append(f"{row.id} {', '.join(moves)}")
    lines += [f"Moved because {reason}: {'; '.join(texts)}" for reason, texts in moved.items()]
    lines = lines or ["No row differs from the page that was there; only its entry was missing"]
    return [markdown(f"{line.rstrip('.')}.") for line in lines]


def _added(row: PageRow) -> str:
    if row.superseded_by is not None:
        return f"Added {row.title}, superseded by {row.superseded_by}"
    if row.rank is None:
        return f"Refused {row.title}: {'; '.join(row.reasons)}"
    return f"Added {row.title}: robust {percent(row.robust)}, rank {row.rank} of {row.ranking}"


def _own_changes(row: PageRow, olds: Sequence[PageRow]) -> list[str]:
    """Return what changed in the row itself, its rank apart, in words."""
    old_seeds = {seed.run: seed for old in olds for seed in old.seeds}
    old_hashes = {seed.record_sha256 for old in olds for seed in old.seeds}
    old_checked = {seed.run for old in olds for seed in old.seeds if seed.leaky_bpda_verdict != "not checked"}
    checked = {seed.run for seed in row.seeds if seed.leaky_bpda_verdict != "not checked"}
    kept = [seed for seed in row.seeds if seed.run in old_seeds]
    seeds = {
        "{} added": [seed for seed in row.seeds if seed.run not in old_seeds],
        "{} removed": [old_seeds[run] for run in old_seeds.keys() - {seed.run for seed in row.seeds}],
        "record of {} changed": [seed for seed in kept if seed.record_sha256 not in old_hashes],
        "opponent's checks added for {}": [seed for seed in kept if seed.run in checked - old_checked],
        "opponent's checks removed for {}": [seed for seed in kept if seed.run in old_checked - checked],
    }
    texts = [text.format(_seeds(listed)) for text, listed in seeds.items() if listed]
    challenges = dict.fromkeys(each for old in olds for each in old.challenges)
    texts += [f"challenge by {each.credit} of {each.date}" for each in row.challenges if each not in challenges]
    texts += [f"challenge by {each.credit} withdrawn" for each in challenges if each not in row.challenges]
    if row.superseded_by is not None:
        texts += [] if any(old.superseded_by for old in olds) else [f"superseded by {row.superseded_by}"]
    elif row.rank is None and all(old.rank is not None for old in olds):
        texts.append(f"refused, {'; '.join(row.reasons)}")
    elif row.rank is not None and any(old.rank is None for old in olds):
        texts.append("no longer refused")
    texts += _from_to("id", (old.id for old in olds), row.id)
    return texts + _from_to("robust", (percent(old.robust) for old in olds), percent(row.robust))


def _moves(row: PageRow, olds: Sequence[PageRow]) -> list[str]:
    """Return in words how its place changed, which other rows may have caused; a refused row has none."""
    ranked = [old for old in olds if old.rank is not None and row.rank is not None]
    moves = _from_to("from", (old.ranking for old in ranked), row.ranking)
    return moves + _from_to("rank", (str(old.rank) for old in ranked), str(row.rank))


def _from_to(label: str, before: Iterable[str], now: str) -> list[str]:
    """Return "label before to now" if they differ; a merge may have left several values."""
    texts = dict.fromkeys(before)
    return [f"{label} {' or '.join(texts)} to {now}"] if texts.keys() - {now} else []


def _reason(now: set[str], then: Sequence[set[str]], unchanged: set[str]) -> str:
    """Return why the rank of a row moved that did not change itself.

    Two unchanged rows keep their order: where the old page disagrees, its ranks are those of two branches.

    Args:
        now: rows that rank above it.
        then: rows that ranked above it, for each of its predecessors.
        unchanged: rows of which at most the rank changed.
    """
    risen, fallen = now.difference(*then), set.intersection(*then) - now - unchanged
    texts = [
        f"{_some(ids)} {verb}{'s' if len(ids) == 1 else ''} above"
        for ids, verb in ((risen, "now rank"), (fallen, "no longer rank"))
        if ids
    ]
    return " and ".join(texts) or "two branches were merged"


def _above(names: Mapping[PageRow, str]) -> Callable[[PageRow], set[str]]:
    """Return a function that returns the names of the rows that rank above a ranked row."""
    rankings: dict[str, list[tuple[int, str]]] = {}
    for row, name in names.items():
        if row.rank is not None:
            insort(rankings.setdefault(row.ranking, []), (row.rank, name))

    def above(row: PageRow) -> set[str]:
        ranked = rankings.get(row.ranking, [])
        return {name for _, name in ranked[: bisect_left(ranked, (row.rank or 0, ""))]}

    return above


def _seeds(seeds: Iterable[_Seed]) -> str:
    numbers = sorted({seed.seed for seed in seeds if seed.seed is not None})
    if not numbers:
        return "its network"
    return f"seed{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _some(ids: set[str]) -> str:
    more = f" and {len(ids) - LISTED} more" if len(ids) > LISTED else ""
    return f"{', '.join(sorted(ids)[:LISTED])}{more}"
