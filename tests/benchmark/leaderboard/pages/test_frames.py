"""Boards as DataFrames: numbers are numbers, what is unknown is NaN, and a wrong name is one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import benchmark
from benchmark.errors import UserError
from benchmark.results.store import load_records, save_record

PROTOCOL = "cifar10-linf-8_255-aa-standard-100"
ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def folder(make_record, tmp_path_factory):
    """Make a folder with two boards: one of three rows, one of them refused, and one of a row over two seeds."""
    folder = tmp_path_factory.mktemp("boards")
    unmeasured = {"cost__latency_seconds": {}, "compression__weights": "fp", "compression__allocation": "global"}
    for record in (
        make_record(right=(80, 50, 45)),
        make_record(method="at", right=(90, 60, 50), artifact__size_bytes=50_000, **unmeasured),
        make_record(method="masked", right=(80, 45, 46)),
        *(make_record(dataset="svhn", seed=seed, right=(80, 50, 40 + seed)) for seed in (0, 1)),
    ):
        save_record(record, folder)
    return folder


def test_boards_are_listed_with_what_their_protocol_says(folder):
    listed = benchmark.boards(folder)

    assert list(listed.protocol) == [PROTOCOL, PROTOCOL.replace("cifar10", "svhn")]
    assert listed[["rows", "refused", "n_images", "num_classes"]].values.tolist() == [[2, 1, 100, 10], [1, 0, 100, 10]]
    assert list(listed.url) == [f"site/{protocol}.html" for protocol in listed.protocol]


def test_a_row_has_numbers_truth_values_and_gaps(folder):
    rows = benchmark.board(PROTOCOL, folder)

    assert list(rows.method) == ["edge_popup", "at"]
    kinds = {"rank": "int64", "size_bytes": "int64", "robust": "float64", "latency_1": "float64", "last_norm": "bool"}
    assert {key: str(rows[key].dtype) for key in kinds} == kinds
    assert list(rows.robust) == [0.45, 0.5] and list(rows.allocation) == [0.1, "global"]
    assert rows.latency_1.isna().tolist() == [False, True] and rows.robust_std.isna().all()
    assert rows.wide_images.isna().all() and rows.wide_pgd.dtype == "float64"
    assert rows.options[0] == {"layers": [1, 2], "scale": 0.01} and rows.fronts[0] == ("size",)


def test_a_row_leads_to_its_page_and_its_runs(folder):
    rows = benchmark.board(PROTOCOL.replace("cifar10", "svhn"), folder)

    records = load_records(folder)
    assert list(rows.runs) == [tuple(record.run for record in records if record.dataset.name == "svhn")]
    assert list(rows.seeds) == [(0, 1)] and list(rows.n_seeds) == [2]
    assert list(rows.url) == [f"site/rows/{rows.protocol[0]}/{rows.id[0]}.html"]


def test_rows_can_be_sorted_filtered_and_grouped(folder):
    rows = benchmark.board(PROTOCOL, str(folder))

    assert list(rows.sort_values("robust", ascending=False).method) == ["at", "edge_popup"]
    assert list(rows[rows.last_norm & (rows.size_bytes < 30_000)].method) == ["edge_popup"]
    assert rows.groupby("weights").robust.max().to_dict() == {"binary": 0.45, "fp": 0.5}


def test_a_board_whose_rows_are_all_refused_has_the_columns_of_any_other(make_record, tmp_path):
    save_record(make_record(right=(80, 45, 46)), tmp_path)
    empty, other = benchmark.board(PROTOCOL, tmp_path), benchmark.board(benchmark.boards().protocol[0])

    assert len(empty) == 0 and list(empty.columns) == list(other.columns)
    assert len(pd.concat([empty, other])) == len(other)


@pytest.mark.parametrize(
    ("protocol", "place", "sentence"),
    [
        (PROTOCOL.replace("100", "10"), "", rf"there is no board '.*-10' in .*\. Did you mean {PROTOCOL}\? Boards: "),
        (PROTOCOL, "lacking", r"there is no folder .*lacking; give the folder of results that holds records/\."),
    ],
)
def test_a_wrong_name_is_one_sentence(folder, protocol, place, sentence):
    with pytest.raises(UserError, match=f"^{sentence}"):
        benchmark.board(protocol, folder / place)


def test_the_boards_of_the_project_are_found_from_any_folder_and_without_torch(tmp_path):
    code = (
        "import sys, benchmark; assert 'pandas' not in sys.modules\n"
        "for protocol in benchmark.boards().protocol: assert len(benchmark.board(protocol)) > 0\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=tmp_path)
