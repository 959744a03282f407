"""The cost columns are the records' own numbers, and say what they are of."""

from __future__ import annotations

import csv
import io

from benchmark.leaderboard.board.costs import costs_of
from benchmark.leaderboard.board.tables import boards
from benchmark.leaderboard.pages.csv_file import to_csv
from benchmark.leaderboard.pages.markdown import to_markdown


def test_costs_are_means_over_the_seeds(make_record):
    one = make_record(seed=0, artifact__size_bytes=1_000, training__seconds=10.0)
    two = make_record(seed=1, artifact__size_bytes=3_000, training__seconds=30.0)
    costs = costs_of([one, two])
    assert (costs.size_bytes, costs.train_seconds) == (2_000, 20.0)
    assert costs.bits_per_weight == 8 * 2_000 / 10_000
    assert (costs.latency_1, costs.latency_64) == (0.004, 0.1)


def test_a_latency_that_one_seed_lacks_is_not_shown(make_record):
    costs = costs_of([make_record(), make_record(seed=1, cost__latency_seconds={"1": 0.1})])
    assert costs.latency_1 is not None and costs.latency_64 is None


def test_the_page_shows_the_files_exact_bytes_and_every_cost(make_record):
    (board,) = boards([make_record()]).values()
    text = to_markdown(board)
    line = (
        f"| [3f9a1c](site/rows/{board.protocol}/3f9a1c.html) | edge_popup | binary | 27,100 | 26,000 | 40.4 kB | 21.68 "
        "| float32 | 0.01 | 0.02 | 1.0 M | 10.0 k | 320.0 k | 215.6 M | 60 min | 4 ms | 100 ms | cpu, 2 threads |"
    )
    assert line in text
    (row,) = csv.DictReader(io.StringIO(to_csv(board)))
    assert (row["size_bytes"], row["entropy_bound_bytes"], row["bits_per_weight"]) == ("27100", "26000", "21.68")
    assert (row["dense_macs"], row["sparse_macs"], row["bit_operations"]) == ("1000000", "10000", "320000")
    assert (row["latency_1"], row["latency_64"], row["health"], row["id"]) == ("0.004", "0.1", "pass", "3f9a1c")


def test_a_suspect_check_marks_its_row_and_is_named(make_record, health):
    doubt = health("more_steps", "suspect", "9 of 30 images <fall>.")
    (board,) = boards([make_record(evaluation__health=doubt)]).values()
    text = to_markdown(board)
    assert "| suspect |" in text
    assert "more_steps, seed 0: 9 of 30 images &#60;fall&#62;." in text
