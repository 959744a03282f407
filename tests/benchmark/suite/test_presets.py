"""Presets scale epochs, width and images, and nothing else."""

from __future__ import annotations

import pytest

from benchmark.suite.presets import PRESETS, apply_preset


def test_paper_changes_nothing_but_the_label(make_experiment):
    experiment = make_experiment(train_images=1000, training={"epochs": 7})

    scaled = apply_preset(experiment, "paper")

    assert scaled == experiment.model_copy(update={"preset": "paper"})


@pytest.mark.parametrize(("epochs", "short", "smoke"), [(400, 40, 3), (1000, 100, 5), (46, 5, 3), (4, 3, 3)])
def test_epochs_shrink_to_their_share_but_never_below_three(make_experiment, epochs, short, smoke):
    experiment = make_experiment(training={"epochs": epochs})

    scaled = [apply_preset(experiment, name).training.epochs for name in ("short", "smoke")]

    assert scaled == [short, smoke]


def test_short_changes_only_epochs_and_the_label(make_experiment):
    experiment = make_experiment()

    scaled = apply_preset(experiment, "short")

    training = experiment.training.model_copy(update={"epochs": 40})
    assert scaled == experiment.model_copy(update={"preset": "short", "training": training})


def test_smoke_uses_an_eighth_of_the_width_and_few_images(make_experiment):
    experiment = make_experiment(architecture={"width": 0.5})

    scaled = apply_preset(experiment, "smoke")

    assert (scaled.preset, scaled.architecture.width, scaled.train_images) == ("smoke", 0.0625, 256)
    assert (scaled.evaluation.images, scaled.training.batch_size) == (8, 128)


def test_smoke_never_enlarges_smaller_settings(make_experiment):
    experiment = make_experiment(train_images=100, evaluation={"images": 5}, training={"batch_size": 32})

    scaled = apply_preset(experiment, "smoke")

    assert (scaled.train_images, scaled.evaluation.images, scaled.training.batch_size) == (100, 5, 32)


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_touches_the_threat_or_the_target(make_experiment, name):
    experiment = make_experiment(training={"attack": {"num_steps": 7}}, evaluation={"pgd": {"steps": 9}})

    scaled = apply_preset(experiment, name)

    for part in ("suite", "dataset", "epsilon", "method", "weights", "keep_ratio", "allocation", "objective", "seed"):
        assert getattr(scaled, part) == getattr(experiment, part)
    steps = {"smoke": 2}.get(name, 7)  # a smoke run says nothing about the method anyway
    assert scaled.training.attack == experiment.training.attack.model_copy(update={"num_steps": steps})
    assert scaled.evaluation.pgd == experiment.evaluation.pgd
    assert scaled.evaluation.autoattack == experiment.evaluation.autoattack


def test_runs_of_different_presets_never_share_a_name(make_experiment):
    experiment = make_experiment()

    runs = {apply_preset(experiment, name).run for name in PRESETS} | {experiment.run}

    assert len(runs) == len(PRESETS) + 1
