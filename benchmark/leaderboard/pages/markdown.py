"""A board, and the index of boards, as GitHub Markdown. Text from a record passes `markdown` first."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.leaderboard.board.reference import ReportedRow
from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.tables import PRESETS, Board
from benchmark.leaderboard.formats import (
    GENERATED,
    OPPONENT_COLUMNS,
    amount,
    markdown,
    percent,
    row_page,
    short,
    table,
)
from benchmark.leaderboard.pages.markdown_costs import cost_blocks
from benchmark.leaderboard.pages.markdown_reproduction import SETTING, reproduction_blocks, setting_cells
from benchmark.leaderboard.pages.markdown_wide import wide_blocks, with_deviation


def _begun(sentence: str) -> str:
    """Return a sentence as it goes on after a colon."""
    return sentence[0].lower() + sentence[1:]


MARKDOWN_MARKER = f"<!-- {GENERATED} -->"

_PRESET_TITLES = {
    "paper": "Ranking (full preset of the paper)",
    "short": "Short preset: fewer epochs, not comparable with the ranking",
    "own": "Own settings, not comparable with the ranking",
    "smoke": "Smoke preset: shows that the code runs, says nothing about the methods",
}
_FORMATS = (("csv", "csv"), ("json", "json"), ("LaTeX", "tex"), ("BibTeX", "bib"))
_MEASURED = (
    *("rank", "tie", "id", *SETTING, "clean", "PGD", "AutoAttack", "robust", "95% interval", "gradients"),
    *(title for title, _ in OPPONENT_COLUMNS.values()),
    *("density", "size", "training passes", "Pareto", "seeds"),
)
_LEGEND = (
    "Rows are ranked by *robust* within classes of size. Accuracies are percent of the images. *robust*: right on "
    "the clean image and under every attack run. Several seeds are shown by their mean, *robust* with ± the sample "
    "standard deviation. The interval is that of *robust*: Wilson's for one seed; for several a bootstrap over seeds "
    "and images, too narrow while seeds are few. *tie*: rows of a class with the same number do not differ from the "
    "first of them as far as these images show (exact McNemar test, p >= 0.05, seeds paired in order and pooled); "
    "`python -m benchmark compare` tests any two rows. *LBN*: batch norm after the last layer. *p*: layer budgets "
    "are proportional to (layer size)^p. *gradients*: worst verdict of the gradient health checks. "
    + " ".join(f"*{title}*: {_begun(meaning)}" for title, meaning in OPPONENT_COLUMNS.values())
    + " *density*: weights kept "
    "over prunable weights, counted in the network. *size*: of the artifact's file. *training passes*: images sent "
    "forward and backward. *Pareto*: no row of the preset, of whatever class, is at least as robust at no more bytes "
    "(size), or no more training passes (passes), and better in one of the two. *id*: names a row in `compare`, "
    "`reproduce` and `challenge`, and leads to its page on the site."
)
_INDEX_TEXT = (
    "Results share a table only if they have the same protocol: data set, norm, epsilon, attacks and number "
    "of images. The protocol id says all of these, as in `cifar10-linf-8_255-aa-standard-10000`: CIFAR10, "
    "L-infinity ball of radius 8/255, standard AutoAttack, 10,000 test images. PGD has 50 steps of epsilon/4 "
    "and one restart unless the id says otherwise: `pgd20x2-step1_255` are 20 steps of 1/255, two restarts."
)

_OTHERS = "[Changes of the boards](CHANGELOG.md)."
_PAPER = (
    " The paper's tables, reported and measured: [Markdown](paper_tables.md), [csv](paper_tables.csv), "
    "[LaTeX](paper_tables.tex)."
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
        if rankings := board.rankings(preset):
            blocks.append(f"## {_PRESET_TITLES[preset]}")
        for size_class, rows in rankings:
            lines = [_measured(row, board.protocol) for row in rows]
            blocks += [f"### {size_class.title[0].upper()}{size_class.title[1:]}", table(_MEASURED, lines)]
    blocks += wide_blocks(board)
    blocks += reproduction_blocks(board)
    blocks += cost_blocks(board)
    if board.reported:
        blocks += [
            "## Reported by the paper's authors (not measured here)",
            "Quoted from the source that `reference/SOURCES.md` names; full test set.",
            table((*SETTING, "clean", "AutoAttack", "note"), [_reported(row) for row in board.reported]),
        ]
    if board.refused:
        refused = [[markdown(row.runs[0]), markdown("; ".join(row.reasons))] for row in board.refused]
        blocks += ["## Refused", table(("run", "reason"), refused)]
    if board.footnotes:
        notes = [f"{number}. {markdown(text)}" for number, text in enumerate(board.footnotes, start=1)]
        blocks += ["## Deviations from the methods' papers", "\n".join(notes)]
    return "\n\n".join(blocks) + "\n"


def index_page(boards: Sequence[Board], *, paper: bool = False) -> str:
    """Return the page that lists the boards and explains the protocol id.

    Args:
        boards: all boards.
        paper: whether there are pages of the paper's tables.
    """
    blocks = [MARKDOWN_MARKER, "# Boards", _INDEX_TEXT, _OTHERS + (_PAPER if paper else "")]
    if boards:
        header = (
            "board",
            "data set",
            "epsilon",
            "images",
            *(f"{preset} rows" for preset in PRESETS),
            "refused",
        )
        blocks.append(table(header, [_index_line(board) for board in boards]))
    else:
        blocks.append("There are no records yet.")
    return "\n\n".join(blocks) + "\n"


def _index_line(board: Board) -> list[str]:
    formats = ", ".join(f"[{name}]({board.protocol}.{ending})" for name, ending in _FORMATS)
    link = f"[{markdown(board.protocol)}]({board.protocol}.md) ({formats})"
    counts = [len(board.section(preset)) for preset in PRESETS]
    numbers = [board.n_images, *counts, len(board.refused)]
    return [link, markdown(board.dataset), board.epsilon, *(str(number) for number in numbers)]


def _measured(row: Row, protocol: str) -> list[str]:
    notes = ",".join(str(number) for number in row.footnotes)
    method, *setting = setting_cells(row)
    options = f" ({markdown(row.options_text)})" if row.options_text else ""
    return [
        str(row.rank),
        str(row.tie),
        f"[{row.id}]({row_page(protocol, row.id)})",
        f"{method}<sup>{notes}</sup>{options}" if notes else f"{method}{options}",
        *setting,
        *(percent(stat.mean) for stat in (row.clean, row.pgd, row.autoattack)),
        with_deviation(row.robust),
        f"{percent(row.interval[0])} to {percent(row.interval[1])}",
        row.health,
        *(answer.text for answer in row.opponent.values()),
        short(row.costs.density),
        amount(row.costs.size_bytes, "B"),
        amount(row.costs.passes),
        ", ".join(row.fronts),
        str(len(row.seeds)),
    ]


def _reported(row: ReportedRow) -> list[str]:
    clean = "-" if row.clean is None else percent(row.clean)
    return [*setting_cells(row), clean, percent(row.robust), markdown(row.note or "")]
