"""A board as JSON: all that is needed to make its table again, one row a line.

A row a line, because git merges lines: after a merge that took the lines of both sides the rows can still be read one
by one, which is how the changelog learns what was there before.
"""

from __future__ import annotations

import json
from typing import Any

from benchmark.leaderboard.board.reference import ReportedRow
from benchmark.leaderboard.board.rows import Row, answers_of
from benchmark.leaderboard.board.state import BoardState
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.formats import GENERATED
from benchmark.leaderboard.pages.column import Table
from benchmark.leaderboard.pages.columns import columns_of
from benchmark.results.external import AnyRecord

FORMAT = 2  # changes when a reader of these files would have to


def to_json(state: BoardState) -> str:
    """Return the page: fractions in [0, 1], bytes and seconds, unrounded; null where unknown.

    Rows have the keys of the CSV page. `seeds` are objects here: what each seed measured, and its record.
    """
    board = state.board
    head = {
        "about": GENERATED,
        "format": FORMAT,
        "protocol": board.protocol,
        "state": state.digest,
        "dataset": board.dataset,
        "num_classes": board.num_classes,
        "n_images": board.n_images,
        "norm": "linf",
        "epsilon": board.epsilon,
        "pgd": {"steps": board.pgd_steps, "restarts": board.pgd_restarts, "step_size": board.pgd_step},
        "autoattack": board.autoattack,
        "deviations": list(board.footnotes),
    }
    columns = columns_of(Table.JSON, board)

    def values(row: Row) -> dict[str, Any]:
        return {column.key: column.value(row, board) for column in columns} | _further(row, state)

    lists = {
        "rows": [values(row) for row in board.rows],
        "refused": [values(row) for row in board.refused],
        **({"superseded": [values(row) for row in board.superseded]} if board.superseded else {}),
        "reported": [_published(row, board) for row in board.reported],
        "challenges": [{"kind": "challenge", **each.model_dump(mode="json")} for each in board.challenges],
    }
    lines = [f"{_text(name)}: {_text(value)}" for name, value in head.items()]
    lines += [f"{_text(name)}: {_list(items)}" for name, items in lists.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _list(items: list[dict[str, Any]]) -> str:
    return "[\n" + ",\n".join(_text(item) for item in items) + "\n]" if items else "[]"


def _text(value: object) -> str:
    return json.dumps(value, allow_nan=False)


def _further(row: Row, state: BoardState) -> dict[str, Any]:
    """Return what a table has no room for."""
    return {
        "doubts": row.doubts,
        "deviations": row.footnotes,
        "reasons": row.reasons,
        "seeds": [_seed(record, state.records[record.run]) for record in row.records],
        **({} if row.external is None else {"origin": row.external.origin.model_dump(mode="json")}),
        **({} if row.superseded_by is None else {"superseded_by": row.superseded_by}),
        **({} if row.citation is None else {"citation": row.citation.model_dump(mode="json")}),
    }


def _seed(record: AnyRecord, digest: str) -> dict[str, Any]:
    evaluation = record.evaluation
    answers = answers_of([record])
    return {
        "seed": record.seed,
        "run": record.run,
        "run_hash": record.run_hash,
        "record_sha256": digest,
        "artifact_sha256": record.artifact.sha256,
        "clean": evaluation.clean_accuracy,
        "pgd": evaluation.pgd.accuracy,
        "autoattack": evaluation.autoattack.accuracy,
        "robust": evaluation.best_known_accuracy,
        **{name: answer.value for name, answer in answers.items()},
        **{f"{name}_verdict": answer.verdict for name, answer in answers.items()},
    }


def _published(row: ReportedRow, board: Board) -> dict[str, Any]:
    values = {column.key: column.value(row, board) for column in columns_of(Table.REPORTED, board)}
    return {"kind": "reported", "dataset": row.dataset, "epsilon": row.epsilon, "options": row.options, **values}
