"""A row is set beside a published number only if it was trained in every respect as the number says."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from benchmark.leaderboard.board.reference import load_reported
from benchmark.leaderboard.board.state import state_of
from benchmark.leaderboard.board.tables import boards
from benchmark.leaderboard.pages.csv_file import to_csv
from benchmark.leaderboard.pages.json_file import to_json
from benchmark.leaderboard.pages.markdown import to_markdown
from benchmark.leaderboard.pages.paper import paper_csv, paper_latex, paper_markdown
from benchmark.leaderboard.paper.tables import paper_tables
from benchmark.results.statistics import accuracy_interval
from benchmark.results.verdicts import pack_verdicts
from benchmark.suite.experiment import Experiment

REFERENCE = Path(__file__).parents[4] / "leaderboards" / "reference"
COMPARISON = load_reported(REFERENCE / "reported_tables.csv")
ABLATIONS = load_reported(REFERENCE / "reported_ablations.csv")
HEADLINE = {"name": "edge_popup", "target": "methods.edge_popup:EdgePopup", "options": {"score_scale": 0.001}}


@pytest.fixture
def reproducing(make_record):
    """Return a maker of records whose every part says what their resolved experiment does."""

    def make(*, config=(), right=(80, 50, 45), n=100, **changes):
        settings = {
            "suite": "cifar10",
            "preset": "paper",
            "dataset": "cifar10",
            "epsilon": "8/255",
            "architecture": {},
            "method": HEADLINE,
            "weights": "binary",
            "keep_ratio": 0.01,
            "allocation": 0.1,
            "training": {"epochs": 400, "batch_size": 256},
            "evaluation": {},
            "seed": 0,
        } | dict(config)
        experiment = Experiment.model_validate(settings)
        fields = {
            "run": experiment.run,
            "run_hash": experiment.run_hash,
            "method__target": experiment.method.target,
            "method__options": experiment.method.options,
            "method__objective": experiment.objective,
            "architecture__last_norm": experiment.architecture.last_norm,
            "architecture__width": experiment.architecture.width,
            "compression__weights": experiment.weights,
            "compression__keep_ratio": experiment.keep_ratio,
            "compression__allocation": experiment.allocation,
            "training__epochs": experiment.training.epochs,
            "training__selected_epoch": experiment.training.epochs,
            "training__batch_size": experiment.training.batch_size,
            "provenance__config": experiment.model_dump(mode="json"),
        }
        names = {
            "method": experiment.method.name,
            "dataset": experiment.dataset,
            "epsilon": experiment.epsilon,
            "preset": experiment.preset,
            "seed": experiment.seed,
        }
        return make_record(right=right, n=n, **names, **(fields | changes))

    return make


def only_board(records):
    (board,) = boards(records, COMPARISON, ablations=ABLATIONS).values()
    return board


def reported(record):
    (row,) = only_board([record]).rows
    return row.reported


def test_the_headline_is_reproduced_and_shown_with_its_difference(reproducing):
    records = [reproducing(config={"seed": seed}, right=(80, 50, count)) for seed, count in enumerate((43, 46))]
    board = only_board(records)
    (row,) = board.rows

    assert (row.reported.robust, row.reported.clean) == (0.4506, 0.7659)
    against = row.against_reported
    assert (against.measured, against.difference, against.n_seeds) == (0.445, -0.0056, 2)
    assert against.interval == accuracy_interval([record.evaluation.right("autoattack") for record in records])
    section = to_markdown(board).partition("## Reproduces the paper")[2].partition("\n## ")[0]
    assert "| 80.00 | 44.50 | 45.06 | -0.56 | 35.00 to 54.00 | 76.59 | +3.41 | 72.00 to 88.00 |" in section
    assert "on 100 of the 10,000 test images" in section
    (cells, *_) = csv.DictReader(io.StringIO(to_csv(board)))
    assert [cells[name] for name in ("reported", "difference", "reported_clean", "difference_clean")] == [
        *("0.4506", "-0.0056", "0.7659", "0.0341")
    ]
    digests = {(record.protocol, record.run): "0" * 64 for record in records}
    reported = json.loads(to_json(state_of(board, digests)))["rows"][0]
    assert (reported["difference"], reported["reported_clean"]) == (-0.0056, 0.7659)
    assert (reported["autoattack_low"], reported["autoattack_high"]) == against.interval


def test_what_is_compared_is_autoattack_and_not_the_best_known_accuracy(reproducing):
    verdicts = reproducing(right=(80, 44, 44)).evaluation.verdicts
    pgd = pack_verdicts([index < 40 or 76 <= index < 80 for index in range(100)])
    record = reproducing(
        right=(80, 44, 44), evaluation__verdicts=verdicts | {"pgd": pgd}, evaluation__best_known_accuracy=0.4
    )
    (row,) = only_board([record]).rows

    assert (row.robust.mean, row.against_reported.measured) == (0.4, 0.44)


@pytest.mark.parametrize(
    "config",
    [
        {"preset": "own"},
        {"architecture": {"width": 0.5}},
        {"train_images": 16_000},
        {"allocation": 0.3},
        {"training": {"epochs": 40, "batch_size": 256}},
        {"training": {"epochs": 400, "batch_size": 256, "precision": "bf16"}},
        {"method": HEADLINE | {"options": {"score_scale": 0.001, "lr": 0.2}}},
        {"method": HEADLINE | {"source_sha256": "f" * 64}},
        {"method": HEADLINE | {"target": "mine.py:EdgePopup"}},
        {"objective": "trades"},
    ],
    ids=str,
)
def test_a_row_that_was_trained_otherwise_reproduces_nothing(reproducing, config):
    board = only_board([reproducing(config=config)])

    assert [row.reported for row in board.rows] == [None]
    assert "Reproduces the paper" not in to_markdown(board)
    assert next(csv.DictReader(io.StringIO(to_csv(board))))["difference"] == ""


@pytest.mark.parametrize(
    "change",
    [
        {"run": "cifar10/resnet34-lbn/edge_popup/binary-keep0.01-p0.1-pgd/seed0-3f9a1c", "run_hash": "3f9a1c000000"},
        {"method__options": {}},
        {"compression__keep_ratio": 0.02},
        {"architecture__width": 0.25},
        {"training__batch_size": 128},
        {"dataset__train_images": 16_000},
        {"artifact__statistics": "float16"},
        {"provenance__config": {}},
        {"training__first_phase": {"run": "a/seed0-aaaaaa", "run_hash": "a" * 12, "weights_sha256": "a" * 64}},
    ],
    ids=str,
)
def test_a_record_that_contradicts_its_experiment_reproduces_nothing(reproducing, change):
    assert reported(reproducing()) is not None
    assert reported(reproducing(**change)) is None


def test_an_ablation_is_reproduced_too_and_takes_no_place_among_the_comparison(reproducing):
    record = reproducing(config={"allocation": 0.5, "method": HEADLINE | {"options": {}}})

    assert reported(record).robust == 0.4245
    assert len(only_board([record]).reported) == 28


def full(reproducing, **changes):
    """Return a record of all 10,000 test images."""
    return reproducing(n=10_000, right=(7_700, 4_600, 4_500), **changes)


def cells_of(tables):
    return [(each.name, keys, cell) for each in tables for keys, cells in each.lines for cell in cells if cell.row]


def test_the_papers_tables_have_their_shape_and_are_blank_where_nothing_is_measured():
    tables = paper_tables({}, REFERENCE)

    assert [(each.name, len(each.lines), len(each.columns), len(each.cells)) for each in tables] == [
        *(("comparison", 16, 8, 112), ("rate-and-p", 7, 7, 49)),
        *(("score-scale", 2, 4, 8), ("initialisation", 7, 4, 28)),
    ]
    assert all((cell.measured, cell.n_seeds, cell.row) == (None, 0, None) for each in tables for cell in each.cells)
    assert tables[0].lines[12][0] == ("Ours", "RN34-LBN", "p=0.1", "0.99")
    assert [cell.reported for cell in tables[0].lines[12][1]] == [
        None,
        0.4506,
        None,
        0.3483,
        None,
        0.7659,
        None,
        0.6016,
    ]
    assert "swapped" in tables[0].caption
    assert paper_tables({}, REFERENCE / "absent") == []


def test_a_reproduced_cell_is_measured_in_every_table_it_is_in(reproducing):
    record = full(reproducing)
    by_protocol = boards([record], COMPARISON, ablations=ABLATIONS)
    tables = paper_tables(by_protocol, REFERENCE)

    measured = cells_of(tables)
    assert [(name, keys[-1], cell.reported, cell.difference) for name, keys, cell in measured] == [
        ("comparison", "0.99", 0.4506, -0.0006),
        ("comparison", "0.99", 0.7659, 0.0041),
        ("score-scale", "RN34-LBN", 0.4506, -0.0006),
        ("initialisation", "p=0.1", 0.4506, -0.0006),
    ]
    assert {cell.row for _, _, cell in measured} == {(record.protocol, record.run_hash[:6])}
    text = paper_markdown(tables)
    assert f"45.06<br>[**45.00**](site/rows/{record.protocol}/{record.run_hash[:6]}.html)<br>-0.06<br>1 seed" in text
    assert "Measured: 2 of 112 cells." in text
    assert r"45.06 / 45.00 (-0.06, 1 seed, 44.03 to 45.98)" in paper_latex(tables)
    lines = list(csv.DictReader(io.StringIO(paper_csv(tables))))
    assert len(lines) == 112 + 49 + 8 + 28
    assert [line["measured"] for line in lines if line["measured"]] == ["0.45", "0.77", "0.45", "0.45"]


def test_a_subset_of_the_test_images_fills_no_cell(reproducing):
    by_protocol = boards([reproducing(n=9_999, right=(7_700, 4_600, 4_500))], COMPARISON, ablations=ABLATIONS)
    assert [row.reported is None for board in by_protocol.values() for row in board.rows] == [False]
    assert cells_of(paper_tables(by_protocol, REFERENCE)) == []


def test_of_several_rows_for_a_cell_the_one_with_most_seeds_counts_and_never_the_luckiest(reproducing):
    lucky = full(
        reproducing,
        protocol="cifar10-linf-8_255-pgd20x1-aa-standard-10000",
        evaluation__pgd={"steps": 20, "restarts": 1, "step_size": "2/255", "accuracy": 0.46},
    )
    two = [
        reproducing(n=10_000, right=(7_700, 4_600, 4_400), config={"seed": seed, "suite": "other"}) for seed in (1, 2)
    ]
    by_protocol = boards([lucky, *two], COMPARISON, ablations=ABLATIONS)

    assert {(cell.n_seeds, cell.row[0]) for _, _, cell in cells_of(paper_tables(by_protocol, REFERENCE))} == {
        (2, two[0].protocol)
    }
