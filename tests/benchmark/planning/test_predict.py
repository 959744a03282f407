"""Predictions by hand-computed numbers: what was measured is taken as it is, anything else is scaled by FLOPs."""

from __future__ import annotations

import pytest

from benchmark.planning.measured import EvaluationEntry, Machine, Measurement, Network, TrainingEntry, TrainingKey
from benchmark.planning.predict import FIXED, attacked_images, predict
from benchmark.planning.work import Work

NETWORK = Network(name="resnet18", width=1, channels=3, size=32, classes=10)
WIDE = NETWORK.model_copy(update={"width": 2})
KEY = TrainingKey(
    method="at", objective="pgd", weights="fp", precision="fp32", attack_steps=10, batch_size=100, network=NETWORK
)
MACHINE = Machine(device="cpu", name="cpu (some)", threads=1, jobs=2, torch="2.13.0", commit=None)
AUTOATTACK = {"apgd-ce": 1.0, "apgd-t": 4.0, "fab-t": 10.0, "square": 6.0}


def entry(seconds=2.0, *, flops=1000, **changes):
    return TrainingEntry(key=KEY.model_copy(update=changes), forward_flops=flops, seconds=seconds)


def evaluated(*, flops=1000, **changes):
    fields = {"clean_seconds": 0.01, "pgd_seconds": 0.1, "autoattack": AUTOATTACK, "images": 20, "network": NETWORK}
    return EvaluationEntry(forward_flops=flops, **(fields | changes))


def measurement(*training, evaluation=None):
    entries = [evaluated()] if evaluation is None else evaluation
    return Measurement(machine=MACHINE, date="2026-01-31", training=list(training), evaluation=entries)


def work(*, flops=1000, **changes):
    fields = {
        "epochs": 3,
        "training_images": 500,
        "validation_images": 10,
        "selection_steps": 5,
        "test_images": 40,
        "further_images": 0,
        "pgd_steps": 20,
        "autoattack_batch": 500,
    }
    sizes = {name: changes.pop(name) for name in list(changes) if name in fields}
    return Work(key=KEY.model_copy(update=changes), forward_flops=flops, **(fields | sizes))


def test_what_was_measured_is_taken_as_it_is():
    prediction = predict(work(), measurement(entry()), robust_share=0.5)

    assert prediction.exact
    assert prediction.training == pytest.approx(3 * 500 * 2.0 / 100)
    assert prediction.validation == pytest.approx(3 * 10 * (5 * 0.1 + 2 * 0.01))
    health = 40 * (11 * 20 + 10) * 0.1  # fewer test images than the 64 that are probed
    assert prediction.evaluation == pytest.approx(40 * 20 * 0.1 + 40 * 0.01 + health)
    assert prediction.autoattack == pytest.approx(40 * (1.0 + 0.5 * (4.0 + 10.0 + 6.0)))
    parts = (prediction.training, prediction.validation, prediction.evaluation, prediction.autoattack)
    assert prediction.total == pytest.approx(sum(parts) + FIXED)


def test_images_beyond_the_protocols_cost_a_clean_pass_and_their_steps_of_pgd():
    plain, wide = (predict(work(further_images=count), measurement(entry())) for count in (0, 60))

    assert wide.evaluation - plain.evaluation == pytest.approx(60 * (20 * 0.1 + 0.01))
    assert (wide.training, wide.autoattack) == (plain.training, plain.autoattack)


def test_a_larger_network_is_scaled_by_its_flops_and_marked():
    exact = predict(work(), measurement(entry()))
    scaled = predict(work(network=WIDE, flops=4000), measurement(entry()))

    assert not scaled.exact
    for part in ("training", "validation", "evaluation", "autoattack"):
        assert getattr(scaled, part) == pytest.approx(4 * getattr(exact, part))


def test_other_attack_steps_and_objectives_are_scaled_by_their_passes():
    measured = measurement(entry())

    fewer = predict(work(attack_steps=1), measured)  # 2 + 3 forward runs instead of 20 + 3
    fast = predict(work(objective="fast"), measured)

    assert fewer.training == pytest.approx(30 * 5 / 23) and not fewer.exact
    assert fast.training == pytest.approx(30 * 5 / 23)


@pytest.mark.parametrize(
    ("near", "far"),
    [
        ({"seconds": 4.0, "objective": "pgd", "flops": 9000}, {"objective": "fast"}),
        ({"seconds": 4.0, "flops": 9000, "network": WIDE}, {"precision": "bf16"}),
        ({"seconds": 4.0, "flops": 2000, "network": WIDE}, {"flops": 100, "network": WIDE}),
        ({"seconds": 4.0, "batch_size": 50}, {"method": "hydra"}),
        ({"seconds": 4.0, "batch_size": 50}, {"batch_size": 5}),
    ],
    ids=["objective first", "then precision", "then the network", "then the method", "then the batch"],
)
def test_the_nearest_step_is_scaled(near, far):
    prediction = predict(work(), measurement(entry(**far), entry(**near)))

    chosen = entry(**near)
    per_image = chosen.seconds / chosen.key.batch_size * 1000 / chosen.forward_flops
    assert prediction.training == pytest.approx(3 * 500 * per_image)


def test_an_exact_step_comes_before_any_other():
    prediction = predict(work(), measurement(entry(7.0, batch_size=99), entry()))

    assert prediction.exact and prediction.training == pytest.approx(30)


def test_an_evaluation_of_as_many_images_is_preferred():
    few, many = evaluated(images=1, pgd_seconds=9.0), evaluated(images=19)

    assert predict(work(), measurement(entry(), evaluation=[few, many])).validation == pytest.approx(15.6)


def test_the_batch_of_autoattack_is_what_is_expected_to_survive():
    assert attacked_images(work(test_images=1000), 0.3) == 300
    assert attacked_images(work(test_images=10_000), 0.3) == 500
    assert attacked_images(work(test_images=1), 0.3) == 1


def test_nothing_is_predicted_from_nothing():
    assert predict(work(), measurement()) is None
    assert predict(work(), measurement(entry(), evaluation=[])) is None
