"""A board as JSON: all that is needed to make its table again, one row a line.

A row a line, because git merges lines: after a merge that took the lines of both sides the rows can still be read one
by one, which is how the changelog learns what was there before.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from benchmark.leaderboard.board.reference import ReportedRow
from benchmark.leaderboard.board.reproduction import Comparison
from benchmark.leaderboard.board.rows import Row, Stat, Wide, answers_of
from benchmark.leaderboard.board.state import BoardState, row_state
from benchmark.leaderboard.formats import GENERATED, row_page
from benchmark.leaderboard.pages.csv_file import opponent_fields
from benchmark.results.challenges import Challenge
from benchmark.results.record import Record

FORMAT = 1  # changes when a reader of these files would have to


def to_json(state: BoardState) -> str:
    """Return the page: fractions in [0, 1], bytes and seconds, unrounded; None where unknown."""
    board = state.board
    wide = any(row.wide for row in (*board.rows, *board.refused))
    head: dict[str, Any] = {
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
    lists = {
        "rows": [_measured(row, state, wide=wide) for row in board.rows],
        "refused": [_measured(row, state, wide=wide) for row in board.refused],
        "reported": [_reported(row) for row in board.reported],
        "challenges": [_challenge(each) for each in board.challenges],
    }
    lines = [f"{_text(name)}: {_text(value)}" for name, value in head.items()]
    lines += [f"{_text(name)}: {_list(items)}" for name, items in lists.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _list(items: list[dict[str, Any]]) -> str:
    return "[\n" + ",\n".join(_text(item) for item in items) + "\n]" if items else "[]"


def _text(value: object) -> str:
    return json.dumps(value, allow_nan=False)


def _measured(row: Row, state: BoardState, *, wide: bool) -> dict[str, Any]:
    return {
        "kind": "refused" if row.reasons else "measured",
        **row_state(row),
        "page": row_page(state.board.protocol, row.id),
        "fronts": list(row.fronts),
        "method": row.method,
        "target": row.target,
        "options": json.loads(row.options),
        "weights": row.weights,
        "last_norm": row.last_norm,
        "architecture": row.architecture,
        "width": row.width,
        "keep_ratio": row.keep_ratio,
        "allocation": row.allocation,
        "objective": row.objective,
        **{name: _stat(getattr(row, name)) for name in ("clean", "pgd", "autoattack", "robust")},
        "interval": list(row.interval),
        **({"wide": _wide(row.wide)} if wide else {}),
        "health": row.health,
        "doubts": list(row.doubts),
        **opponent_fields(row.opponent),
        "costs": asdict(row.costs),
        "reproduces": _reproduces(row),
        "deviations": list(row.footnotes),
        "reasons": list(row.reasons),
        "seeds": [_seed(record, state.records[record.run]) for record in row.records],
    }


def _seed(record: Record, digest: str) -> dict[str, Any]:
    evaluation = record.evaluation
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
        **opponent_fields(answers_of([record])),
    }


def _reproduces(row: Row) -> dict[str, Any] | None:
    if row.reported is None:
        return None
    return {
        "autoattack": _comparison(row.against_reported),
        "clean": _comparison(row.clean_against_reported),
        "note": row.reported.note,
    }


def _comparison(found: Comparison | None) -> dict[str, Any] | None:
    return None if found is None else {**asdict(found), "interval": list(found.interval)}


def _wide(wide: Wide | None) -> dict[str, Any] | None:
    if wide is None:
        return None
    return {
        "n_images": wide.n_images,
        "clean": {**_stat(wide.clean), "interval": list(wide.clean_interval)},
        "pgd": {**_stat(wide.pgd), "interval": list(wide.pgd_interval)},
    }


def _stat(stat: Stat) -> dict[str, float | None]:
    return {"mean": stat.mean, "std": stat.std}


def _reported(row: ReportedRow) -> dict[str, Any]:
    return {"kind": "reported", **asdict(row)}


def _challenge(challenge: Challenge) -> dict[str, Any]:
    return {"kind": "challenge", **challenge.model_dump(mode="json")}
