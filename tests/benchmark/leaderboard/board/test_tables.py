"""Who is ranked against whom: by robust accuracy, within one preset, over all seeds, never if in doubt."""

from __future__ import annotations

import dataclasses
import random
import statistics

import pytest

from benchmark.leaderboard.board.reference import ReportedRow
from benchmark.leaderboard.board.tables import PRESETS, boards

REPORTED = ReportedRow(
    "cifar10", "8/255", "at", "pgd", "resnet34", True, None, 1.0, "fp", {}, clean=0.8099, robust=0.4326, note=None
)


def only_board(records, reported=()):
    (board,) = boards(records, reported).values()
    return board


def ranking(board):
    return [(row.rank, row.method) for row in board.rows]


def test_rows_are_ranked_by_robust_then_clean_then_name_and_ties_share_a_rank(make_record):
    scores = {"d": (80, 50, 45), "c": (80, 50, 45), "b": (81, 50, 45), "a": (99, 50, 40), "e": (60, 50, 46)}
    board = only_board([make_record(method=name, right=right) for name, right in scores.items()])
    assert ranking(board) == [(1, "e"), (2, "b"), (2, "c"), (2, "d"), (5, "a")]


def test_equal_means_tie_whatever_their_number_of_seeds(make_record):
    """Neither 0.1 + 0.2 over two seeds nor 0.8 over three is exact in binary."""
    several = [make_record(method="b", seed=seed, right=(80, 50, count)) for seed, count in enumerate((10, 20))]
    thrice = [make_record(method="c", seed=seed, right=(80, 50, 15)) for seed in range(3)]
    board = only_board([*several, *thrice, make_record(method="a", right=(80, 50, 15))])
    assert ranking(board) == [(1, "a"), (1, "b"), (1, "c")]


def test_rows_are_ranked_by_what_survives_all_attacks_not_by_autoattack(make_record):
    tricky = make_record(
        method="tricky",
        right=(100, 60, 50),
        evaluation__verdicts=make_record(right=(100, 60, 50)).evaluation.verdicts
        | {"pgd": make_record(right=(60, 60, 50)).evaluation.verdicts["pgd"]},
    )
    board = only_board([tricky, make_record(method="plain", right=(80, 60, 51))])
    assert ranking(board) == [(1, "plain"), (2, "tricky")]


def test_seeds_of_one_setting_share_a_row_with_mean_and_sample_deviation(make_record):
    robust = [40, 45, 44]
    board = only_board([make_record(seed=seed, right=(80, 50, count)) for seed, count in enumerate(robust)])
    (row,) = board.rows
    assert row.seeds == (0, 1, 2)
    assert row.robust.mean == pytest.approx(0.43)
    assert row.robust.std == pytest.approx(statistics.stdev(robust) / 100)
    assert row.clean == dataclasses.replace(row.clean, mean=0.8, std=0.0)
    low, high = row.interval
    assert 0.3 < low < 0.40 and 0.45 < high < 0.56, "wider than the spread of the seeds alone"


def test_a_single_seed_has_an_interval_and_no_deviation(make_record):
    (row,) = only_board([make_record(right=(80, 50, 45))]).rows
    assert row.robust.std is None
    z, p, n = 1.959964, 0.45, 100
    centre, half = p + z * z / (2 * n), z * (p * (1 - p) / n + (z / (2 * n)) ** 2) ** 0.5
    assert row.interval == pytest.approx([(centre + sign * half) / (1 + z * z / n) for sign in (-1, 1)], abs=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"method__options": {"scale": 0.1}},
        {"method__objective": "fast"},
        {"provenance__config": {"seed": 1, "method": {"source_sha256": "e" * 64}}},
        {"architecture__last_norm": False},
        {"architecture__width": 0.5},
        {"compression__weights": "fp"},
        {"compression__keep_ratio": 0.1},
        {"compression__allocation": "global"},
        {"training__epochs": 40},
        {"dataset__train_images": 10},
        {"evaluation__autoattack__batch_size": 7},
        {"preset": "own"},
        {"provenance__config": {"seed": 1, "training": {"epochs": 400}, "epsilon": "4/255"}},
    ],
    ids=str,
)
def test_runs_with_different_settings_never_share_a_row(make_record, change):
    board = only_board([make_record(seed=0), make_record(seed=1, **change)])
    assert [row.seeds for row in board.rows].count((0, 1)) == 0
    assert len(board.rows) == 2


def begun_with(make_record, seed, cell):
    """Make the record of a seed that went on with a run of another cell, named in the two places where runs name it."""
    named = {"run": f"{cell}/seed{seed}-{seed:06x}", "run_hash": f"{seed:012x}"}
    config = {"seed": seed, "epsilon": "8/255", "training": {"epochs": 400}, "first_phase": named}
    return make_record(
        seed=seed, provenance__config=config, training__first_phase=named | {"weights_sha256": f"{seed:064x}"}
    )


def test_seeds_that_began_with_the_same_cell_share_a_row_that_names_it(make_record):
    trained = "cifar10/resnet34-lbn/at/binary-keep1-pgd"
    records = [begun_with(make_record, seed, trained) for seed in range(2)]
    records += [begun_with(make_record, seed, trained.replace("pgd", "fast")) for seed in (2, 3)]
    records += [make_record(seed=seed) for seed in (4, 5)]

    options = {row.seeds: row.options_text for row in only_board(records).rows}

    assert options == {
        (0, 1): "first_phase=at/binary-keep1-pgd, layers=[1, 2], scale=0.01",
        (2, 3): "first_phase=at/binary-keep1-fast, layers=[1, 2], scale=0.01",
        (4, 5): "layers=[1, 2], scale=0.01",
    }


def test_a_row_trained_in_reduced_precision_says_so(make_record):
    config = {"seed": 1, "epsilon": "8/255", "training": {"epochs": 400, "precision": "bf16-attack"}}

    board = only_board([make_record(seed=0), make_record(seed=1, provenance__config=config)])

    assert {row.seeds: row.options_text for row in board.rows} == {
        (0,): "layers=[1, 2], scale=0.01",
        (1,): "layers=[1, 2], scale=0.01, training_precision=bf16-attack",
    }


def test_a_run_without_reuse_is_the_same_whether_its_record_says_so_or_is_older(make_record):
    older = make_record(seed=0)
    config = older.provenance.config | {"seed": 1, "first_phase": None}

    (row,) = only_board([older, make_record(seed=1, provenance__config=config)]).rows

    assert row.seeds == (0, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"suite": "other"},
        {"provenance__device": "cuda"},
        {"training__seconds": 1.0},
        {"artifact__size_bytes": 5},
        {"method__target": "other/path.py:Method"},
    ],
    ids=str,
)
def test_what_was_measured_or_where_it_ran_does_not_split_a_row(make_record, change):
    (row,) = only_board([make_record(seed=0), make_record(seed=1, **change)]).rows
    assert row.seeds == (0, 1)


def test_the_same_setting_and_seed_counts_once(make_record):
    copy = make_record(run="cifar10/copy/seed0-3f9a1c")
    board = only_board([make_record(), copy])
    assert [row.runs for row in board.rows] == [(copy.run,)]
    assert board.refused[0].reasons == (f"same setting and seed as {copy.run}",)


def test_presets_are_ranked_apart_with_the_paper_first(make_record):
    counts = {"smoke": 48, "own": 47, "short": 46, "paper": 45}
    board = only_board([make_record(preset=name, right=(80, 50, count)) for name, count in counts.items()])
    assert [(row.preset, row.rank) for row in board.rows] == [(preset, 1) for preset in PRESETS[:-1]]
    assert [row.preset for row in board.section("paper")] == ["paper"]


def test_a_record_that_breaks_an_invariant_is_refused_with_its_reason_and_not_ranked(make_record):
    board = only_board([make_record(method="masked", right=(80, 45, 46)), make_record(method="honest")])
    assert ranking(board) == [(1, "honest")]
    (refused,) = board.refused
    assert (refused.method, refused.rank) == ("masked", None)
    assert "exceeds PGD" in refused.reasons[0]


def test_a_refused_seed_does_not_enter_the_mean(make_record):
    board = only_board([make_record(seed=0, right=(80, 50, 40)), make_record(seed=1, right=(80, 45, 46))])
    assert [(row.seeds, row.robust.mean) for row in board.rows] == [((0,), 0.4)]


def test_a_record_measured_on_other_test_images_is_refused(make_record):
    records = [make_record(seed=seed) for seed in range(2)]
    odd = make_record(seed=2, method="odd", dataset__test_sha256="0" * 64)
    board = only_board([odd, *records])
    assert [row.seeds for row in board.rows] == [(0, 1)]
    assert [(row.method, row.reasons) for row in board.refused] == [
        ("odd", ("the test data differ from those of the other records of this board",))
    ]


def test_seeds_trained_on_other_images_share_neither_a_row_nor_a_mean(make_record):
    records = [make_record(seed=seed, right=(80, 50, 40)) for seed in range(2)]
    odd = make_record(seed=2, right=(80, 50, 46), dataset__train_sha256="0" * 64)
    board = only_board([odd, *records])
    assert [(row.seeds, row.robust.mean) for row in board.rows] == [((0, 1), 0.4)]
    assert [(row.seeds, row.reasons) for row in board.refused] == [
        ((2,), ("the training data differ from those of the other records of this board",))
    ]


def test_the_data_of_a_board_are_those_most_were_tested_on_and_among_these_trained_on(make_record):
    other = {"dataset__test_sha256": "0" * 64, "dataset__train_sha256": "1" * 64}
    most = [make_record(seed=seed, dataset__train_sha256="2" * 64) for seed in range(2)]
    board = only_board([make_record(seed=2, **other), *most, make_record(seed=3)])
    assert [row.seeds for row in board.rows] == [(0, 1)]
    assert {row.seeds: row.reasons[0].split()[1] for row in board.refused} == {(2,): "test", (3,): "training"}


def test_different_protocols_never_meet(make_record):
    by_protocol = boards([make_record(), make_record(n=200), make_record(epsilon="4/255"), make_record(dataset="svhn")])
    assert list(by_protocol) == sorted(by_protocol)
    assert [len(board.rows) for board in by_protocol.values()] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("dataset", "epsilon", "shown"),
    [
        ("cifar10", "8/255", 1),
        ("cifar10", "4/255", 0),
        ("cifar10-jpeg", "8/255", 0),
        ("cifar100", "8/255", 0),
    ],
)
def test_reported_rows_appear_only_on_the_board_of_their_data_and_epsilon(make_record, dataset, epsilon, shown):
    board = only_board([make_record(dataset=dataset, epsilon=epsilon)], [REPORTED])
    assert len(board.reported) == shown
    assert ranking(board) == [(1, "edge_popup")]


def test_deviations_are_numbered_once_in_the_order_of_the_rows(make_record):
    board = only_board([make_record(method="b", right=(80, 50, 44)), make_record(method="a")])
    assert board.footnotes == ("a clips earlier.", "Shared deviation.", "b clips earlier.")
    assert [row.footnotes for row in board.rows] == [(1, 2), (2, 3)]


def test_rows_indistinguishable_from_the_best_one_on_these_images_are_tied_with_it(make_record):
    """The first images survive: a row with k fewer disagrees on k images, and 6 against 0 is p = 0.03."""
    counts = {"a": 45, "b": 40, "c": 39, "d": 34, "e": 33}
    board = only_board([make_record(method=name, right=(80, 50, count)) for name, count in counts.items()])
    assert [(row.method, row.rank, row.tie) for row in board.rows] == [
        *(("a", 1, 1), ("b", 2, 1)),
        *(("c", 3, 2), ("d", 4, 2)),
        ("e", 5, 3),
    ]


def test_seeds_are_pooled_before_rows_are_said_to_differ(make_record):
    counts = {"a": 45, "b": 42}
    once, twice = (
        only_board(
            [
                make_record(method=name, seed=seed, right=(80, 50, count))
                for name, count in counts.items()
                for seed in range(seeds)
            ]
        )
        for seeds in (1, 2)
    )
    assert [row.tie for row in once.rows] == [1, 1]
    assert [row.tie for row in twice.rows] == [1, 2]


def test_ties_are_counted_within_a_preset_and_refused_rows_have_none(make_record):
    records = [make_record(preset=preset) for preset in ("paper", "smoke")]
    board = only_board([*records, make_record(method="masked", right=(80, 45, 46))])
    assert [(row.preset, row.tie) for row in board.rows] == [("paper", 1), ("smoke", 1)]
    assert [row.tie for row in board.refused] == [None]


def test_the_order_of_the_records_does_not_matter(make_record):
    records = [
        make_record(
            method=name,
            seed=seed,
            preset=preset,
            right=(80, 50, 40 + seed),
            run=f"{preset}/{name}/seed{seed}-3f9a1c",
        )
        for name in ("at", "hydra", "atmc")
        for seed in range(3)
        for preset in PRESETS[:-1]  # the last is for networks trained elsewhere
    ]
    expected = boards(records)
    for trial in range(5):
        random.Random(trial).shuffle(records)
        assert boards(records) == expected
