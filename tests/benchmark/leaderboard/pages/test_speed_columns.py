"""Measured times on the pages: means over seeds, ratios of them, nothing stale, nothing that ranks."""

from __future__ import annotations

import csv
import io
import json

import pytest

from benchmark.leaderboard.board.state import state_of
from benchmark.leaderboard.board.tables import boards
from benchmark.leaderboard.pages.frames import board as frame_of
from benchmark.leaderboard.render import check_pages, pages, to_csv, to_markdown, write_pages
from benchmark.results.speed import FILE, load_speed, save_speed
from benchmark.results.store import save_record


def board_of(records, speed=None):
    (board,) = boards(records, speed=speed).values()
    return board


def lines_of(board):
    return list(csv.DictReader(io.StringIO(to_csv(board))))


def digest(board):
    runs = [(board.protocol, run) for row in board.every_row for run in row.runs]
    return state_of(board, dict.fromkeys(runs, "0" * 64)).digest


@pytest.fixture
def seeds(make_record):
    return [make_record(seed=0), make_record(seed=1)]


def test_a_row_shows_the_means_over_its_seeds_and_their_ratio(seeds, make_speed):
    (slow,), (fast,) = make_speed(seeds[0]).rows, make_speed(seeds[1], torch=0.004, sparse=0.001).rows
    speed = make_speed().with_row(slow).with_row(fast)

    (line,) = lines_of(board_of(seeds, speed))

    assert float(line["torch_1"]) == pytest.approx(0.006)
    assert float(line["sparse_64"]) == pytest.approx(0.01)
    assert float(line["speedup_1"]) == pytest.approx(6.0)
    assert line["onnxruntime_1"] == ""  # one of the seeds was not measured in it
    assert float(line["sparse_memory"]) == 300_000_000


def test_a_row_needs_times_of_all_its_seeds_and_of_their_present_artifacts(seeds, make_speed, make_record):
    other = make_record(method="masked")
    changed = seeds[1].model_copy(update={"artifact": seeds[1].artifact.model_copy(update={"sha256": "d" * 64})})
    measured = make_speed(*seeds, other)

    rows = {line["method"]: line for line in lines_of(board_of([seeds[0], changed, other], measured))}

    assert rows["masked"]["sparse_1"] == "0.001"
    assert [rows[other]["sparse_1"] for other in rows if other != "masked"] == [""]
    assert [row.speed for row in board_of(seeds, make_speed(seeds[0])).rows] == [None]


def test_without_times_no_page_has_the_columns(seeds, make_speed):
    assert "sparse_1" not in to_csv(board_of(seeds))
    assert "## Speed" not in to_markdown(board_of(seeds))
    assert "## Speed" in to_markdown(board_of(seeds, make_speed(*seeds)))


def test_times_change_no_rank_and_no_state(seeds, make_record, make_speed):
    records = [*seeds, make_record(method="masked", right=(82, 52, 46))]
    without, timed = board_of(records), board_of(records, make_speed(*records, torch=1.0, sparse=9.0))

    places = [[(row.id, row.rank, row.tie, row.fronts) for row in board.rows] for board in (without, timed)]
    assert places[0] == places[1]
    assert digest(without) == digest(timed)


@pytest.fixture
def folder(seeds, make_speed, tmp_path):
    for record in seeds:
        save_record(record, tmp_path)
    save_speed(make_speed(*seeds), tmp_path)
    write_pages(tmp_path)
    return tmp_path


def test_every_format_has_the_times(folder, seeds):
    texts = pages(folder)
    protocol = seeds[0].protocol

    assert "| 8 ms | 4 ms | 1 ms | 8.00 |" in texts[f"{protocol}.md"]
    (row,) = json.loads(texts[f"{protocol}.json"])["rows"]
    assert (row["torch_1"], row["speedup_64"]) == (0.008, pytest.approx(8.0))
    assert "sparse, batch 1" in texts[f"{protocol}.tex"] and "1 ms" in texts[f"{protocol}.tex"]
    assert "Sparse, batch 1" in texts[f"site/{protocol}.html"]
    (page,) = (text for name, text in texts.items() if name.startswith("site/rows/") and "<h2" in text)
    assert "500 us" not in page and "0.5 ms to 2 ms" in page and "cpu (some), 1 thread, AVX2" in page
    assert frame_of(protocol, folder).sparse_1.tolist() == [0.001]


def test_check_reports_times_that_no_page_shows_and_pages_with_other_times(folder, seeds, make_speed, make_record):
    assert check_pages(folder) == []
    faster = make_speed(*seeds, torch=0.008, sparse=0.0005)
    save_speed(faster, folder)
    assert any("md differs from its records" in problem for problem in check_pages(folder))

    gone = make_record(method="masked")
    save_speed(make_speed(*seeds, gone), folder)
    (problem,) = check_pages(folder)
    assert problem == f"{FILE} has times of {gone.run}, which has no record: run `python -m benchmark speed`"


def test_a_file_of_times_is_no_page_to_be_deleted(folder):
    write_pages(folder)
    assert load_speed(folder) is not None
