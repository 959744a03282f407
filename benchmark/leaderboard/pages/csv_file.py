"""A board as CSV: raw fractions, one line a row, `kind` tells measured, reported and refused rows apart."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import fields

from benchmark.leaderboard.board.costs import Costs
from benchmark.leaderboard.board.reference import ReportedRow
from benchmark.leaderboard.board.rows import Answer, Row, Wide
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.formats import csv_cell
from benchmark.results.evaluation import OPPONENT_CHECKS

CSV_MARKER = "kind,protocol,preset,rank,"  # how every generated page begins, also those of earlier versions
_STATS = ("clean", "pgd", "autoattack", "robust")
OPPONENT = tuple(key for name in OPPONENT_CHECKS for key in (name, f"{name}_verdict"))
_COLUMNS = (
    *(
        "kind",
        "protocol",
        "preset",
        "rank",
        "tie",
        "id",
        "method",
        "target",
        "weights",
        "last_norm",
        "architecture",
        "width",
    ),
    *("keep_ratio", "allocation", "objective", "options"),
    *(column for stat in _STATS for column in (stat, f"{stat}_std")),
    *("robust_low", "robust_high", "health", *OPPONENT, "size_class", "fronts"),
    *("reported", "difference", "reported_clean", "difference_clean"),
    *(field.name for field in fields(Costs)),
    *("n_seeds", "seeds", "n_images", "runs", "note"),
)
_WIDE = (
    "wide_images",
    *(f"wide_{stat}{end}" for stat in ("clean", "pgd") for end in ("", "_std", "_low", "_high")),
)  # the last columns, of boards where some row has them

CSV_HEADERS = (",".join(_COLUMNS), ",".join((*_COLUMNS, *_WIDE)))  # the first line of a page

_Cells = dict[str, str | int | float | None]


def to_csv(board: Board) -> str:
    """Return the board as CSV with a header line; fractions in [0, 1] unrounded, empty where unknown."""
    wide = any(row.wide for row in (*board.rows, *board.refused))
    lines = [_measured(row, board) for row in board.rows]
    lines += [_reported(row, board) for row in board.reported]
    lines += [_measured(row, board) for row in board.refused]
    text = io.StringIO()
    writer = csv.DictWriter(text, (*_COLUMNS, *_WIDE) if wide else _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({key: csv_cell(cell) if isinstance(cell, str) else cell for key, cell in line.items()})
    return text.getvalue()


def opponent_fields(answers: Mapping[str, Answer]) -> dict[str, str | float | None]:
    """Return the numbers and verdicts of the checks that came later, by the names of CSV and JSON."""
    values = (value for name in OPPONENT_CHECKS for value in (answers[name].value, answers[name].verdict))
    return dict(zip(OPPONENT, values, strict=True))


def _measured(row: Row, board: Board) -> _Cells:
    cells: _Cells = {
        "kind": "refused" if row.reasons else "measured",
        "protocol": board.protocol,
        "preset": row.preset,
        "rank": row.rank,
        "tie": row.tie,
        "id": row.id,
        "method": row.method,
        "target": row.target,
        "weights": row.weights,
        "last_norm": str(row.last_norm).lower(),
        "architecture": row.architecture,
        "width": row.width,
        "keep_ratio": row.keep_ratio,
        "allocation": row.allocation,
        "objective": row.objective,
        "options": row.options,
        "robust_low": row.interval[0],
        "robust_high": row.interval[1],
        "health": row.health,
        **opponent_fields(row.opponent),
        "size_class": row.size_class.name,
        "fronts": " ".join(row.fronts),
        **vars(row.costs),
        "n_seeds": len(row.seeds),
        "seeds": " ".join(str(seed) for seed in row.seeds),
        "n_images": board.n_images,
        "runs": " ".join(row.runs),
        "note": "; ".join(row.reasons) or " ".join(board.footnotes[number - 1] for number in row.footnotes),
    }
    for name in _STATS:
        stat = getattr(row, name)
        cells |= {name: stat.mean, f"{name}_std": stat.std}
    for suffix, found in (("", row.against_reported), ("_clean", row.clean_against_reported)):
        if found is not None:
            cells |= {f"reported{suffix}": found.reported, f"difference{suffix}": found.difference}
    return cells if row.wide is None else cells | _wide(row.wide)


def _wide(wide: Wide) -> _Cells:
    return dict(
        zip(
            _WIDE,
            (
                *(wide.n_images, wide.clean.mean, wide.clean.std, *wide.clean_interval),
                *(wide.pgd.mean, wide.pgd.std, *wide.pgd_interval),
            ),
            strict=True,
        )
    )


def _reported(row: ReportedRow, board: Board) -> _Cells:
    return {
        "kind": "reported",
        "protocol": board.protocol,
        "method": row.method,
        "weights": row.weights,
        "last_norm": str(row.last_norm).lower(),
        "architecture": row.architecture,
        "width": 1.0,
        "keep_ratio": row.keep_ratio,
        "allocation": row.allocation,
        "objective": row.objective,
        "clean": row.clean,
        "autoattack": row.robust,
        "note": row.note,
    }
