"""The published numbers are read exactly, all of them, and the doubtful pair is marked."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections import Counter
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.leaderboard.board.reference import load_reported

TABLE = Path(__file__).parents[4] / "leaderboards" / "reference" / "reported_tables.csv"
ABLATIONS = TABLE.with_name("reported_ablations.csv")


def rows_of(**settings):
    return [row for row in load_reported(TABLE) if all(getattr(row, key) == settings[key] for key in settings)]


def test_all_56_filled_cells_are_read():
    rows = load_reported(TABLE)
    assert len(rows) == 56
    assert {(row.dataset, row.epsilon) for row in rows} == {("cifar10", "8/255"), ("cifar100", "4/255")}
    assert {row.method: len(rows_of(method=row.method)) for row in rows} == {
        "at": 8,
        "hydra": 16,
        "atmc": 24,
        "edge_popup": 8,
    }


def test_the_headline_row_is_read_exactly():
    (row,) = rows_of(method="edge_popup", dataset="cifar10", objective="pgd", allocation=0.1)
    assert (row.robust, row.clean, row.keep_ratio) == (0.4506, 0.7659, 0.01)
    assert (row.weights, row.last_norm, row.architecture, row.note) == ("binary", True, "resnet34", None)


def test_the_fast_rows_differ_from_the_others_in_their_objective_only():
    assert {row.objective for row in rows_of(method="edge_popup")} == {"pgd", "fast"}
    assert [row.robust for row in rows_of(objective="fast", dataset="cifar100")] == [0.3445, 0.2497]


def test_dense_rows_keep_everything_and_allocate_nothing():
    assert {(row.keep_ratio, row.allocation) for row in rows_of(method="at")} == {(1.0, None)}
    assert {row.allocation for row in rows_of(method="atmc")} == {"global", 0.1, 1.0}


def test_only_the_transposed_pair_carries_a_note_and_only_it_needs_one():
    noted = [row for row in load_reported(TABLE) if row.note]
    assert [(row.method, row.last_norm, row.weights, row.dataset, row.allocation) for row in noted] == [
        ("hydra", True, "fp", "cifar100", 0.1),
        ("hydra", True, "fp", "cifar100", 1.0),
    ]
    assert [row for row in load_reported(TABLE) if row.robust > row.clean] == [noted[1]]
    assert all("swapped" in str(row.note) for row in noted)


def test_the_ablations_are_three_tables_of_robust_accuracy_alone():
    with ABLATIONS.open(encoding="utf-8", newline="") as file:
        tables = Counter(line["ablation"] for line in csv.DictReader(file))
    rows = load_reported(ABLATIONS)

    assert tables == {"rate and p": 49, "score scale": 8, "initialisation": 28}
    assert len(rows) == 85
    assert {(row.clean, row.method, row.objective, row.weights) for row in rows} == {
        (None, "edge_popup", "pgd", "binary")
    }


def test_a_cell_in_several_tables_has_one_number():
    cells = {}
    for row in [*load_reported(TABLE), *load_reported(ABLATIONS)]:
        cell = dataclasses.replace(row, clean=None, robust=0.0, note=None)
        cells.setdefault(json.dumps(dataclasses.asdict(cell)), []).append(row.robust)

    assert {tuple(numbers) for numbers in cells.values() if len(numbers) > 1} == {
        *{(0.4506,) * 3, (0.4101,) * 2},  # the best score scale with and without LBN
        *{(0.4488,) * 2, (0.3457,) * 2},  # the default score scale at p=0.1 and p=1.0
    }
    assert len(cells) == 56 + 80


def test_a_table_that_is_not_understood_is_refused_by_name(tmp_path):
    broken = tmp_path / "reported_tables.csv"
    texts = [
        "a,b\n1,2\n",
        TABLE.read_text(encoding="utf-8").replace("43.26", "many"),
        ABLATIONS.read_text(encoding="utf-8").replace("p=0.8", "most"),
    ]
    for text in texts:
        broken.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=r"reported_tables\.csv"):
            load_reported(broken)
    with pytest.raises(UserError, match="absent"):
        load_reported(tmp_path / "absent.csv")
