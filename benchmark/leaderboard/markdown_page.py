"""A board, and the index of boards, as GitHub Markdown. Text from a record passes `markdown` first."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.leaderboard.reference import ReportedRow
from benchmark.leaderboard.tables import PRESETS, Board, Row
from benchmark.leaderboard.text import allocation, amount, architecture, markdown, percent, short

MARKDOWN_MARKER = "<!-- Generated from records by `python -m benchmark leaderboard`. Do not edit. -->"

_PRESET_TITLES = {
    "paper": "Ranking (full preset of the paper)",
    "short": "Short preset: fewer epochs, not comparable with the ranking",
    "own": "Own settings, not comparable with the ranking",
    "smoke": "Smoke preset: shows that the code runs, says nothing about the methods",
}
_SETTING = ("method", "precision", "LBN", "architecture", "keep ratio", "p", "objective")
_MEASURED = (
    *("rank", *_SETTING, "clean", "PGD", "AutoAttack", "robust", "95% interval or ± std"),
    *("density", "size", "training passes", "seeds", "preset"),
)
_LEGEND = (
    "Accuracies are percent of the images. *robust*: right on the clean image and under every attack run. "
    "The interval is Wilson's for *robust*; with several seeds, means and the sample standard deviation of "
    "*robust* are shown. *LBN*: batch norm after the last layer. *p*: layer budgets are proportional to "
    "(layer size)^p. *density*: weights kept over prunable weights, counted in the exported network. "
    "*training passes*: images sent forward and backward."
)
_INDEX_TEXT = (
    "Results share a table only if they have the same protocol: data set, norm, epsilon, attacks and number "
    "of images. The protocol id says all of these, as in `cifar10-linf-8_255-aa-standard-10000`: CIFAR10, "
    "L-infinity ball of radius 8/255, standard AutoAttack, 10,000 test images. PGD has 50 steps of epsilon/4 "
    "and one restart unless the id says otherwise: `pgd20x2-step1_255` are 20 steps of 1/255, two restarts."
)


def to_markdown(board: Board) -> str:
    """Return the page of one board: rankings by preset, reported numbers, refused records, footnotes."""
    restarts = "1 restart" if board.pgd_restarts == 1 else f"{board.pgd_restarts} restarts"
    blocks = [
        MARKDOWN_MARKER,
        f"# {markdown(board.protocol)}",
        f"Data set {markdown(board.dataset)}, {board.n_images} test images, {board.num_classes} classes "
        f"(chance {percent(1 / board.num_classes)}%). L-infinity, epsilon {board.epsilon}. "
        f"PGD: {board.pgd_steps} steps of {board.pgd_step}, {restarts}. AutoAttack: {board.autoattack}.",
        _LEGEND,
    ]
    for preset in PRESETS:
        if rows := board.section(preset):
            blocks += [f"## {_PRESET_TITLES[preset]}", _table(_MEASURED, [_measured(row) for row in rows])]
    if board.reported:
        blocks += [
            "## Reported by the paper's authors (not measured here)",
            "Quoted from the source that `reference/SOURCES.md` names; full test set.",
            _table((*_SETTING, "clean", "AutoAttack", "note"), [_reported(row) for row in board.reported]),
        ]
    if board.refused:
        refused = [[markdown(row.runs[0]), markdown("; ".join(row.reasons))] for row in board.refused]
        blocks += ["## Refused", _table(("run", "reason"), refused)]
    if board.footnotes:
        notes = [f"{number}. {markdown(text)}" for number, text in enumerate(board.footnotes, start=1)]
        blocks += ["## Deviations from the methods' papers", "\n".join(notes)]
    return "\n\n".join(blocks) + "\n"


def index_page(boards: Sequence[Board]) -> str:
    """Return the page that lists the boards and explains the protocol id."""
    blocks = [MARKDOWN_MARKER, "# Boards", _INDEX_TEXT]
    if boards:
        header = (
            "board",
            "data set",
            "epsilon",
            "images",
            *(f"{preset} rows" for preset in PRESETS),
            "refused",
        )
        blocks.append(_table(header, [_index_line(board) for board in boards]))
    else:
        blocks.append("There are no records yet.")
    return "\n\n".join(blocks) + "\n"


def _index_line(board: Board) -> list[str]:
    link = f"[{markdown(board.protocol)}]({board.protocol}.md) ([csv]({board.protocol}.csv))"
    counts = [len(board.section(preset)) for preset in PRESETS]
    numbers = [board.n_images, *counts, len(board.refused)]
    return [link, markdown(board.dataset), board.epsilon, *(str(number) for number in numbers)]


def _measured(row: Row) -> list[str]:
    notes = ",".join(str(number) for number in row.footnotes)
    if row.interval:
        spread = f"{percent(row.interval[0])} to {percent(row.interval[1])}"
    else:
        spread = f"± {percent(row.robust.std or 0.0)}"
    method, *setting = _setting(row)
    options = f" ({markdown(row.options_text)})" if row.options_text else ""
    return [
        str(row.rank),
        f"{method}<sup>{notes}</sup>{options}" if notes else f"{method}{options}",
        *setting,
        *(percent(stat.mean) for stat in (row.clean, row.pgd, row.autoattack, row.robust)),
        spread,
        short(row.density),
        f"{amount(row.size_bytes, 'B')} ({markdown(row.size_kind)})",
        amount(row.passes),
        str(len(row.seeds)),
        row.preset,
    ]


def _reported(row: ReportedRow) -> list[str]:
    clean = "-" if row.clean is None else percent(row.clean)
    return [*_setting(row), clean, percent(row.robust), markdown(row.note or "")]


def _setting(row: Row | ReportedRow) -> list[str]:
    width = row.width if isinstance(row, Row) else 1.0
    return [
        markdown(row.method),
        row.weights,
        "yes" if row.last_norm else "no",
        markdown(architecture(row.architecture, width)),
        short(row.keep_ratio),
        allocation(row.keep_ratio, row.allocation),
        markdown(row.objective),
    ]


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
