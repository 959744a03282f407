"""A board as LaTeX tables in the style of booktabs, the one package they need."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.state import BoardState
from benchmark.leaderboard.board.tables import PRESETS
from benchmark.leaderboard.formats import (
    GENERATED,
    OPPONENT_COLUMNS,
    allocation,
    amount,
    architecture,
    percent,
    short,
)
from benchmark.leaderboard.tex import tex

LATEX_MARKER = f"% {GENERATED}"
_COLUMNS = (
    *(("rank", "r"), ("tie", "r"), ("method", "l"), ("weights", "l"), ("LBN", "l"), ("network", "l")),
    *(("keep", "r"), ("p", "r"), ("loss", "l"), ("clean", "r"), ("PGD", "r"), ("AA", "r"), ("robust", "r")),
    *(("95% interval", "r"), ("gradients", "l"), *((title, "l") for title, _ in OPPONENT_COLUMNS.values())),
    *(("size", "r"), ("seeds", "r"), ("id", "l")),
)


def to_latex(state: BoardState) -> str:
    """Return one table for each preset, its rows in classes of size; accuracies in percent."""
    board = state.board
    blocks = [
        LATEX_MARKER,
        f"% {board.protocol}\n% state {state.digest}\n% Needs \\usepackage{{booktabs}}. Accuracies are percent of "
        f"{board.n_images} test images; robust: right on the clean image and under every attack.\n"
        "% gradients: Worst verdict of the gradient health checks.\n"
        + "\n".join(f"% {title}: {meaning}" for title, meaning in OPPONENT_COLUMNS.values()),
    ]
    for preset in PRESETS:
        if rankings := board.rankings(preset):
            groups = [(size_class.title, [_cells(row) for row in rows]) for size_class, rows in rankings]
            blocks.append(f"% preset: {preset}\n" + tabular(_COLUMNS, groups))
    return "\n\n".join(blocks) + "\n"


def tabular(columns: Sequence[tuple[str, str]], groups: Sequence[tuple[str, Sequence[Sequence[str]]]]) -> str:
    """Return a table of groups of lines.

    Args:
        columns: names and alignments, "l" or "r".
        groups: title, empty for none, and lines of cells, all of them plain text.
    """
    lines = [f"\\begin{{tabular}}{{{''.join(side for _, side in columns)}}}", r"\toprule"]
    lines.append(_line([name for name, _ in columns]))
    for title, cells in groups:
        lines.append(r"\midrule")
        if title:
            lines.append(f"\\multicolumn{{{len(columns)}}}{{l}}{{\\emph{{{tex(title)}}}}} \\\\")
        lines += [_line(line) for line in cells]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _line(cells: Sequence[str]) -> str:
    return " & ".join(tex(cell) for cell in cells) + r" \\"


def _cells(row: Row) -> list[str]:
    deviation = "" if row.robust.std is None else f" ± {percent(row.robust.std)}"
    options = f" ({row.options_text})" if row.options_text else ""
    return [
        str(row.rank),
        str(row.tie),
        f"{row.method}{options}",
        row.weights,
        "yes" if row.last_norm else "no",
        architecture(row.architecture, row.width),
        short(row.keep_ratio),
        allocation(row.keep_ratio, row.allocation),
        row.objective,
        *(percent(stat.mean) for stat in (row.clean, row.pgd, row.autoattack)),
        f"{percent(row.robust.mean)}{deviation}",
        f"{percent(row.interval[0])} to {percent(row.interval[1])}",
        row.health,
        *(answer.text for answer in row.opponent.values()),
        amount(row.costs.size_bytes, "B"),
        str(len(row.seeds)),
        row.id,
    ]
