"""What a row's page shows, prepared for its template: each seed's settings as text, counts, commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup, escape
from pydantic import JsonValue

from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.formats import printable
from benchmark.leaderboard.site.board_view import BoardView, Entry
from benchmark.leaderboard.site.labels import ATTACK_WORDS
from benchmark.leaderboard.site.links import run_ids
from benchmark.results.evaluation import OPPONENT
from benchmark.results.external import AnyRecord


def settings(config: Mapping[str, JsonValue]) -> Markup:
    """Return a resolved config as indented lines "name: value"; keys in alphabetical order."""
    return escape("\n".join(_lines(config, "")))


def counts(record: AnyRecord) -> list[tuple[str, int, float]]:
    """Return for each attack, in words, how many images are classified correctly under it, and their share."""
    evaluation = record.evaluation
    shares = {
        "clean": evaluation.clean_accuracy,
        "pgd": evaluation.pgd.accuracy,
        **{name: evaluation.autoattack.attacks[name] for name in ATTACK_WORDS if name in evaluation.autoattack.attacks},
        "robust": evaluation.best_known_accuracy,
    }
    # A record is valid only if its accuracies are its verdicts' counts over n; decoding the bits again would be slow.
    return [(ATTACK_WORDS[name], round(share * evaluation.n_images), share) for name, share in shares.items()]


def broken_by_opponent(record: AnyRecord) -> int:
    """Return how many images the opponent's attacks broke; 0 where they were not run."""
    evaluation = record.evaluation
    return int((~evaluation.right(OPPONENT)).sum()) if evaluation.opposed else 0


def spelled(row: Row) -> str:
    """Return the name by which `compare` finds all seeds of a row: their ids joined by commas."""
    return ",".join(run_ids(row))


def neighbours(view: BoardView) -> dict[str, Entry]:
    """Return for each ranked row that is not alone in its ranking the one ranked above it; for the first, the next."""
    neighbour_of = {}
    for group in view.groups:
        for place, entry in enumerate(group.entries):
            if len(group.entries) > 1:
                neighbour_of[entry.anchor] = group.entries[place - 1 if place else 1]
    return neighbour_of


def _lines(value: Mapping[str, JsonValue] | Sequence[JsonValue], indent: str) -> Iterator[str]:
    items = sorted(value.items()) if isinstance(value, Mapping) else [("-", each) for each in value]
    for name, inner in items:
        label = indent + (name if name == "-" else f"{_one_line(name)}:")
        if isinstance(inner, dict | list) and inner:
            yield label
            yield from _lines(inner, f"{indent}  ")
        else:
            yield f"{label} {_plain(inner)}"


def _plain(value: JsonValue) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return _one_line(str(value))


def _one_line(text: str) -> str:
    return text if text.isprintable() else printable(text)
