"""A record that contradicts itself cannot exist; one that breaks an invariant may not be ranked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmark.results.evaluation import CASCADE
from benchmark.results.invariants import violations
from benchmark.results.record import Record
from benchmark.results.verdicts import pack_verdicts, unpack_verdicts

EPOCH = {
    **{"epoch": 1, "phase": "train", "lr": 0.1, "loss": 1.0, "kept_weights": 100, "seconds": 9.0},
    **{"validation_clean_accuracy": 0.8, "validation_robust_accuracy": 0.4},
}


def test_a_record_survives_its_json_unchanged(make_record):
    record = make_record()
    assert Record.model_validate_json(record.model_dump_json()) == record


def test_a_record_cannot_be_changed(make_record):
    with pytest.raises(ValidationError, match="frozen"):
        make_record().seed = 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compression__kept_weights": 101}, "exceeds the budget"),
        ({"compression__density": 0.011}, "density is"),
        ({"architecture__prunable_weights": 99}, "keeps 100 of 98 weights"),
        ({"architecture__all_parameters": 9_999}, "kept <= prunable"),
        ({"evaluation__clean_accuracy": 0.81}, "clean accuracy"),
        ({"evaluation__pgd__accuracy": 0.51}, "pgd accuracy"),
        ({"evaluation__autoattack__accuracy": 0.44}, "autoattack accuracy"),
        ({"evaluation__best_known_accuracy": 0.44}, "best known accuracy"),
        ({"evaluation__verdicts__pgd": pack_verdicts([True] * 96)}, "not one bit for each"),
        ({"evaluation__verdicts__pgd": "no base64!"}, "not base64"),
        ({"evaluation__verdicts": {}}, "verdicts are"),
        ({"evaluation__verdicts__fgsm": ""}, "verdicts are"),
        ({"evaluation__verdicts__fab-t": pack_verdicts([True] * 46 + [False] * 54)}, "fab-t accuracy"),
        ({"evaluation__autoattack__attacks": {"square": 0.45}}, "attacks are"),
        ({"artifact__sha256": "e" * 63}, "match pattern"),
        ({"cost__latency_seconds": {"0": 1.0}}, "match pattern"),
        ({"dataset__test_images": 99}, "exceeds the 99 test images"),
        ({"protocol": "cifar10-linf-4_255-aa-standard-100"}, "the settings are those of"),
        ({"seed": 0, "run": "cifar10/at/seed1-3f9a1c"}, "does not end in"),
        ({"evaluation__epsilon": "16/510"}, "write '8/255'"),
        ({"evaluation__clean_accuracy": float("nan")}, "finite"),
        ({"evaluation__clean_accuracy": "0.8"}, "valid number"),
        ({"evaluation__clean_accuracy": 80.0}, "less than or equal to 1"),
        ({"compression__keep_ratio": 0.0}, "greater than 0"),
        ({"artifact__size_bytes": 0}, "greater than or equal to 1"),
        ({"compression__allocation": "local"}, "allocation"),
        ({"compression__allocation": "auto:0.035"}, "allocation"),  # its one spelling is "auto"
        ({"compression__allocation": "auto:2000.0"}, "allocation"),
        ({"training__epochs": 4.0}, "valid integer"),
        ({"training__seconds": float("inf")}, "finite"),
        ({"method__options": {"a": [{"b": float("inf")}]}}, "finite"),
        ({"method__target": "methods.at"}, "match pattern"),
        ({"run_hash": "xyz"}, "match pattern"),
        ({"preset": "quick"}, "paper"),
        ({"schema_version": 1}, "schema_version"),
        ({"provenance__started": "2025-01-01T00:00:00"}, "UTC"),
        ({"provenance__started": "yesterday"}, "isoformat"),
        ({"training__speed": 1}, "Extra inputs"),
    ],
    ids=str,
)
def test_a_contradictory_record_is_refused(fields, changes, message):
    with pytest.raises(ValidationError, match=message):
        Record(**fields(**changes))


def test_best_known_counts_images_that_every_attack_left_right(fields):
    """PGD breaks the first half, AutoAttack the second: each alone leaves half, together none."""
    halves = {
        "pgd": [False] * 50 + [True] * 50,
        "clean": [True] * 100,
        **dict.fromkeys(CASCADE, [True] * 50 + [False] * 50),
    }
    changes = {
        "right": (100, 50, 50),
        "evaluation__verdicts": {name: pack_verdicts(bits) for name, bits in halves.items()},
    }
    with pytest.raises(ValidationError, match="best known"):
        Record(**fields(**changes))
    record = Record(**fields(**changes, evaluation__best_known_accuracy=0.0))
    assert violations(record) == []


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, []),
        ({"right": (80, 45, 45)}, []),
        ({"training__frozen_parts_unchanged": None}, []),
        ({"compression__allocation": "global"}, []),
        ({"compression__allocation": "auto"}, []),
        ({"compression__allocation": "auto:0.0117"}, []),
        ({"right": (80, 45, 46)}, ["AutoAttack accuracy 0.4600 exceeds PGD"]),
        ({"right": (45, 50, 40)}, ["PGD counts images as robust that are wrong"]),
        ({"right": (40, 50, 45)}, ["PGD counts images", "AutoAttack counts images"]),
        (
            {"evaluation__autoattack__version": "standard-t7", "protocol": "cifar10-linf-8_255-aa-standard-t7-100"},
            ["AutoAttack version is standard-t7"],
        ),
        ({"training__frozen_parts_unchanged": False}, ["frozen have changed"]),
    ],
    ids=str,
)
def test_a_broken_invariant_is_told_as_a_reason(make_record, changes, reasons):
    texts = violations(make_record(**changes))
    assert len(texts) == len(reasons)
    assert all(part in text for part, text in zip(reasons, texts, strict=True))


def test_the_cascade_of_autoattack_cannot_mend_what_it_broke(fields):
    worse = pack_verdicts([False] * 5 + [True] * 40 + [False] * 55)
    changes = {
        "evaluation__verdicts__fab-t": worse,
        "evaluation__autoattack__attacks__fab-t": 0.4,
        "evaluation__best_known_accuracy": 0.4,
    }
    with pytest.raises(ValidationError, match="square counts images as robust that fab-t had broken"):
        Record(**fields(**changes))


def test_failed_gradient_health_keeps_a_record_off_the_ranking_and_a_doubt_does_not(make_record, health):
    failed = make_record(evaluation__health=health("black_box", "fail", "Square won."))
    assert violations(failed) == ["gradient health, black_box: Square won."]
    assert failed.evaluation.health_verdict == "fail"
    doubtful = make_record(evaluation__health=health("black_box", "suspect", "Hm."))
    assert (violations(doubtful), doubtful.evaluation.health_verdict) == ([], "suspect")


@pytest.mark.parametrize("change", ["missing", "invented", "twice"])
def test_every_check_of_gradient_health_must_be_there_once(fields, health, change):
    checks = health()
    wrong = {
        "missing": checks[1:],
        "invented": [{**checks[0], "name": "fine"}, *checks[1:]],
        "twice": [checks[0], *checks],
    }[change]
    with pytest.raises(ValidationError, match="checks of gradient health are"):
        Record(**fields(evaluation__health=wrong))


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_packed_verdicts_come_back_bit_by_bit(bits):
    assert unpack_verdicts(pack_verdicts(bits), len(bits)).tolist() == bits
    assert pack_verdicts(np.array(bits)) == pack_verdicts(bits)


@pytest.mark.parametrize(("text", "n"), [("/w==", 7), ("gA==", 9), ("gAA=", 8), ("", 1), ("%", 8)])
def test_verdicts_of_the_wrong_length_are_refused(text, n):
    with pytest.raises(ValueError, match="verdicts"):
        unpack_verdicts(text, n)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compression__layers": [{"name": "a", "weights": 10_000, "kept": 99}]}, "the layers keep 99"),
        ({"compression__layers": [{"name": "a", "weights": 9_999, "kept": 100}]}, "the layers have 9999"),
        ({"training__history": []}, "history has 0 epochs, but 400"),
        ({"training__history": [EPOCH | {"epoch": 2}], "training__epochs": 1}, "not the last of 1"),
        ({"training__history": [EPOCH], "training__epochs": 1, "training__selected_epoch": 1}, "at the selected epoch"),
    ],
)
def test_layers_and_history_agree_with_the_totals(fields, changes, message):
    with pytest.raises(ValidationError, match=message):
        Record(**fields(**changes))


def opposed_fields(fields, opponent, right_names=("opponent",), bits=(0, 44), checks=None):
    made = fields(right=(80, 50, 45))
    evaluation = made["evaluation"]
    evaluation["verdicts"] |= {name: pack_verdicts([index not in bits for index in range(100)]) for name in right_names}
    evaluation["health"] += opponent() if checks is None else checks
    evaluation["best_known_accuracy"] = (45 - len([bit for bit in bits if bit < 45])) / 100
    return made


def test_a_record_may_hold_the_hard_label_attack_and_its_checks(fields, opponent):
    evaluation = Record(**opposed_fields(fields, opponent)).evaluation
    assert evaluation.opposed
    assert evaluation.right("robust").sum() == 43
    assert not Record(**fields()).evaluation.opposed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"right_names": (), "bits": ()}, "checks of gradient health are .* without verdicts of opponent"),
        ({"checks": []}, "checks of gradient health are .* with verdicts of opponent"),
        ({"right_names": ("opponent", "other")}, "verdicts are"),
        ({"bits": (60,)}, "opponent counts images as broken"),
    ],
)
def test_hard_label_verdicts_and_their_checks_come_together(fields, opponent, changes, message):
    with pytest.raises(ValidationError, match=message):
        Record(**opposed_fields(fields, opponent, **changes))
