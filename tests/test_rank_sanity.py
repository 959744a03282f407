"""The committed records of configs/cifar10-jpeg-sanity.yaml show what the paper claims, at one budget."""

from __future__ import annotations

from statistics import mean

import pytest

from benchmark.files.places import CONFIGS, LEADERBOARDS
from benchmark.results.store import load_records
from benchmark.suite.suite import load_suite

EDGE_POPUP = {"method": "edge_popup", "weights": "binary", "last_norm": True}


SUITE = load_suite(CONFIGS / "cifar10-jpeg-sanity.yaml")


@pytest.fixture(scope="module")
def records():
    return [record for record in load_records(LEADERBOARDS) if record.suite == SUITE.name]


@pytest.fixture(scope="module")
def accuracy(records):
    """Return a function that gives the mean of an accuracy of a cell over its seeds, at least two."""

    def find(method, weights, last_norm, keep_ratio, allocation, *, of, epochs=SUITE.training.epochs):
        cell = (method, weights, last_norm, keep_ratio, allocation, epochs)
        robust = {
            record.seed: of(record.evaluation)
            for record in records
            if (
                *(record.method.name, record.compression.weights, record.architecture.last_norm),
                *(record.compression.keep_ratio, record.compression.allocation, record.training.epochs),
            )
            == cell
        }
        assert len(robust) >= 2, f"{cell} has seeds {sorted(robust)}"
        return mean(robust.values())

    return find


def autoattack(evaluation):
    return evaluation.autoattack.accuracy


def pgd(evaluation):
    assert evaluation.wide.n_images == 2000
    return evaluation.wide.pgd_accuracy


def test_all_cells_had_one_budget(records):
    assert {(r.training.epochs, r.training.passes) for r in records} == {(6, 192_000.0), (10, 320_000.0)}
    assert len({(record.dataset.train_sha256, record.dataset.test_sha256) for record in records}) == 1
    assert len({record.evaluation.n_images for record in records}) == 1
    assert {record.method.objective for record in records} == {"pgd"}


@pytest.mark.parametrize("of", [autoattack, pgd])
def test_the_better_p_of_binary_edge_popup_changes_once_from_low_to_high_as_more_is_kept(accuracy, of):
    gains = [
        accuracy(**EDGE_POPUP, keep_ratio=keep, allocation=0.1, of=of)
        - accuracy(**EDGE_POPUP, keep_ratio=keep, allocation=1.0, of=of)
        for keep in (0.02, 0.05, 0.1, 0.2)
    ]

    better = [gain > 0 for gain in gains]
    assert better == sorted(better, reverse=True)
    assert gains[0] > 0 > gains[2] > gains[3]
    if of is autoattack:  # PGD's first two gains, 1.2 and 1.7 points, differ by less than the seeds do
        assert gains == sorted(gains, reverse=True)


@pytest.mark.parametrize("of", [autoattack, pgd])
def test_the_last_batch_norm_helps_binary_edge_popup(accuracy, of):
    with_lbn, without = (
        accuracy(**{**EDGE_POPUP, "last_norm": last_norm}, keep_ratio=0.02, allocation=0.1, of=of)
        for last_norm in (True, False)
    )

    assert with_lbn > without


@pytest.mark.parametrize(("epochs", "of"), [(10, autoattack), (10, pgd), (6, pgd)])
def test_hydra_beats_random_pruning(accuracy, epochs, of):
    """With the suite's six epochs, three of them dense, AutoAttack on 200 images sees no difference."""
    hydra, chance = (
        accuracy(method, "fp", True, 0.02, 0.1, epochs=epochs, of=of) for method in ("hydra", "random_pruning")
    )

    assert hydra > chance
