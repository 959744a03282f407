"""What `compare` prints: two rows side by side, and whether the same test images show that one of them is better."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean

import numpy as np

from benchmark.errors import UserError
from benchmark.leaderboard.board.comparison import Comparison, MeasureComparison
from benchmark.leaderboard.board.conclusion import conclusion_of, p_text
from benchmark.leaderboard.board.find import cell_of
from benchmark.leaderboard.formats import amount, percent, printable, short
from benchmark.results.evaluation import wide_parts
from benchmark.results.external import AnyRecord
from benchmark.results.invariants import violations
from benchmark.results.record import Record
from benchmark.results.statistics import (
    PairedTest,
    accuracy_interval,
    mcnemar,
    pair_seeds,
)
from benchmark.results.verdicts import Verdicts

WIDTH = 118
LISTED = 20  # images of each side that are listed
_MEASURES = {"clean": "clean", "pgd": "PGD", "autoattack": "AutoAttack", "robust": "robust"}
_COLUMNS = (7, 16, 7, 16, 7, 16, 8)


def compare_rows(a: Sequence[AnyRecord], b: Sequence[AnyRecord]) -> Comparison:
    """Compare two rows image by image; lines of the text have at most 118 characters, its end is the conclusion.

    Args:
        a: records of one row that differ in their seeds only.
        b: those of another row. The k-th seed is paired with the k-th; seeds beyond the other's number are left out.

    Raises:
        UserError: if the rows have different protocols or were measured on different test images.
    """
    everything = [*a, *b]
    if len({record.protocol for record in everything}) > 1:
        raise UserError("rows of different protocols are never compared; evaluate both under one protocol.")
    if len({record.dataset.test_sha256 for record in everything}) > 1:
        raise UserError("the rows were measured on different test images; evaluate both on the same data.")
    seeds = min(len(a), len(b))
    blocks = [_names(a, b), *_notes(a, b)]
    a, b = a[:seeds], b[:seeds]
    wide = [_wrapped(text)] if (text := wide_text(a, b)) else []
    measures = {name: _measure(name, a, b) for name in _MEASURES}
    only = _only(a, b), _only(b, a)
    test = measures["robust"].test
    conclusion = conclusion_of(test, _robust(a), _robust(b))
    blocks += [_accuracies(measures, seeds), _images(a, only, test), _costs(a, b), *wide, _wrapped(_caveat(seeds))]
    return Comparison(
        protocol=a[0].protocol,
        a=tuple(a),
        b=tuple(b),
        measures=measures,
        only_a=only[0],
        only_b=only[1],
        conclusion=conclusion,
        text="\n\n".join([*blocks, _wrapped(conclusion)]) + "\n",
    )


def _measure(name: str, a: Sequence[AnyRecord], b: Sequence[AnyRecord]) -> MeasureComparison:
    rows = [[record.evaluation.right(name) for record in row] for row in (a, b)]
    return MeasureComparison(
        accuracy_a=_accuracy(rows[0]),
        interval_a=accuracy_interval(rows[0]),
        accuracy_b=_accuracy(rows[1]),
        interval_b=accuracy_interval(rows[1]),
        test=mcnemar(*pair_seeds(*rows)),
    )


def _only(row: Sequence[AnyRecord], other: Sequence[AnyRecord]) -> tuple[int, ...]:
    """Return the positions of the images that are robust for every seed of a row and for none of the other."""
    mine, theirs = np.stack(_robust(row)), np.stack(_robust(other))
    return tuple(np.flatnonzero(mine.all(axis=0) & ~theirs.any(axis=0)).tolist())


def _names(a: Sequence[AnyRecord], b: Sequence[AnyRecord]) -> str:
    lines = [f"{side}: {cell_of(row[0])}, {_seeds(row)}" for side, row in (("A", a), ("B", b))]
    lines.append(f"Protocol: {a[0].protocol}, {a[0].evaluation.n_images} test images, the same for both")
    return "\n".join(_wrapped(line) for line in lines)


def _notes(a: Sequence[AnyRecord], b: Sequence[AnyRecord]) -> list[str]:
    """Return what a reader must know before the numbers; usually nothing."""
    lines = [
        f"The board refuses {side}, {_seeds([record])}: {'; '.join(reasons)}."
        for side, row in (("A", a), ("B", b))
        for record in row
        if (reasons := violations(record))
    ]
    if a[0].preset != b[0].preset:
        origins = [
            f"the preset {row[0].preset}" if isinstance(row[0], Record) else "a network trained elsewhere"
            for row in (a, b)
        ]
        lines.append(f"A is of {origins[0]}, B of {origins[1]}: boards rank them apart.")
    attacked = [all(record.evaluation.opposed for record in row) for row in (a, b)]
    if attacked[0] != attacked[1]:
        one, other = ("A", "B") if attacked[0] else ("B", "A")
        lines.append(
            f"The opponent's attacks were run on {one} and not on {other}, whose robust accuracy is without them: "
            "`python -m benchmark recheck` runs them."
        )
    if len({record.dataset.train_sha256 for record in (*a, *b) if isinstance(record, Record)}) > 1:
        lines.append("The rows were trained on different images or labels: a board ranks one of them only.")
    if len(a) != len(b):
        few = min(len(a), len(b))
        lines.append(
            f"The rows have different numbers of seeds. Compared below: A, {_seeds(a[:few])}; B, {_seeds(b[:few])}."
        )
    return ["\n".join(_wrapped(line) for line in lines)] if lines else []


def _accuracies(measures: Mapping[str, MeasureComparison], seeds: int) -> str:
    lines = [_line("% correct", ["A", "95% interval", "B", "95% interval", "A - B", "95% interval", "p"])]
    for name, title in _MEASURES.items():
        each = measures[name]
        cells = [percent(each.accuracy_a), _interval(each.interval_a, "")]
        cells += [percent(each.accuracy_b), _interval(each.interval_b, "")]
        cells += [f"{100 * each.test.difference:+.2f}", _interval(each.test.interval, "+"), p_text(each.test.p_value)]
        lines.append(_line(title, cells))
    kind = "Wilson's" if seeds == 1 else "a bootstrap over seeds and images"
    legend = (
        "robust: correct on the clean image and under every attack. p: exact McNemar test. Intervals of A and B: "
        f"{kind}; of the difference: Newcombe's for pairs, slightly narrower than the exact test implies."
    )
    return "\n".join([*lines, _wrapped(legend)])


def _images(a: Sequence[AnyRecord], only: tuple[tuple[int, ...], tuple[int, ...]], test: PairedTest) -> str:
    unit = "images" if len(a) == 1 else f"pairs of image and seed ({len(a)} x {a[0].evaluation.n_images})"
    lines = [f"Robust {unit}: both {test.both}, only A {test.only_a}, only B {test.only_b}, neither {test.neither}."]
    for name, other, indices in (("A", "B", only[0]), ("B", "A", only[1])):
        who = f"only {name}" if len(a) == 1 else f"every seed of {name} and none of {other}"
        lines.append(f"Robust for {who}: {_some(indices)}")
    lines.append("Numbers are positions in the protocol's fixed order of test images, from 0.")
    return "\n".join(_wrapped(line) for line in lines)


def wide_text(a: Sequence[AnyRecord], b: Sequence[AnyRecord]) -> str:
    """Return the test for PGD on more images than the protocol's of as many seeds of either row, as one paragraph.

    Empty if a record has no such verdicts, or they are of other images.
    """
    parts = wide_parts(record.evaluation for record in (*a, *b))
    if not parts:
        return ""
    correct = [part.right("pgd") for part in parts[: len(a)]], [part.right("pgd") for part in parts[len(a) :]]
    accuracies = [
        f"{name} {percent(_accuracy(row))} ({_interval(accuracy_interval(row), '')})"
        for name, row in zip("AB", correct, strict=True)
    ]
    conclusion = conclusion_of(mcnemar(*pair_seeds(*correct)), *correct)
    return f"PGD on {parts[0].n_images:,} images, percent correct: {', '.join(accuracies)}. {conclusion}"


def _costs(a: Sequence[AnyRecord], b: Sequence[AnyRecord]) -> str:
    cells: list[tuple[str, Callable[[Sequence[AnyRecord]], str]]] = [
        ("preset", lambda row: row[0].preset),
        ("size", _size),
        ("density", lambda row: short(mean(record.density for record in row))),
        ("training passes", _passes),
    ]
    if len(a) > 1:
        cells.append(("robust by seed", _by_seed))
    lines = [f"{'':<16}  {'A':<48}  B"] + [f"{name:<16}  {text(a):<48}  {text(b)}" for name, text in cells]
    return "\n".join(printable(line)[:WIDTH].rstrip() for line in lines)


def _size(row: Sequence[AnyRecord]) -> str:
    return f"{round(mean(record.artifact.size_bytes for record in row)):,} bytes"


def _robust(row: Sequence[AnyRecord]) -> list[Verdicts]:
    return [record.evaluation.right("robust") for record in row]


def _by_seed(row: Sequence[AnyRecord]) -> str:
    return ", ".join(percent(record.evaluation.best_known_accuracy) for record in row)


def _caveat(seeds: int) -> str:
    if seeds == 1:
        return "The test is about these two networks, one seed of each: a second training of either may differ."
    return (
        f"The test pools {seeds} seeds as if every pair of image and seed were independent. Where the seeds of one row "
        "differ as much as the rows do, it is overconfident."
    )


def _accuracy(row: Sequence[Verdicts]) -> float:
    return sum(int(np.count_nonzero(bits)) for bits in row) / sum(bits.size for bits in row)


def _interval(ends: tuple[float, float], sign: str) -> str:
    return " to ".join(f"{100 * end:{sign}.2f}" for end in ends)


def _line(name: str, cells: Iterable[str]) -> str:
    return "  ".join([f"{name:<14}", *(cell.rjust(width) for cell, width in zip(cells, _COLUMNS, strict=True))])


def _some(indices: Sequence[int]) -> str:
    if not indices:
        return "none"
    more = f" and {len(indices) - LISTED} more" if len(indices) > LISTED else ""
    return ", ".join(str(index) for index in indices[:LISTED]) + more


def _passes(row: Sequence[AnyRecord]) -> str:
    passes = [record.training.passes for record in row if isinstance(record, Record)]
    return amount(mean(passes)) if passes else "unknown, trained elsewhere"


def _seeds(row: Sequence[AnyRecord]) -> str:
    if any(record.seed is None for record in row):
        return "trained elsewhere"
    return f"seed{'s' if len(row) > 1 else ''} {', '.join(str(record.seed) for record in row)}"


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(printable(text), WIDTH, subsequent_indent="  "))
