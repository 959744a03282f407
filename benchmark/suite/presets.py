"""Presets scale a suite: schedules are fractions of the epochs, so only a few numbers change."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from benchmark.suite.experiment import Experiment

PresetName = Literal["paper", "short", "smoke"]


@dataclass(frozen=True)
class Preset:
    """How a preset changes an experiment; None keeps a setting. Epsilon never changes."""

    about: str
    epoch_share: Fraction = Fraction(1)
    width_share: float = 1.0
    train_images: int | None = None  # maximum
    test_images: int | None = None  # maximum
    wide_images: int | None = None  # maximum for PGD on further images, if the suite sets them
    batch_size: int | None = None  # maximum
    attack_steps: int | None = None  # maximum for the attack in training


PRESETS: dict[PresetName, Preset] = {
    "paper": Preset("the suite's own schedule; the only preset compared with reported numbers"),
    "short": Preset("a tenth of the epochs, everything else as in the suite", Fraction(1, 10)),
    "smoke": Preset(
        "a quick check that everything runs: 1/200 of the epochs (at least 3), 256 training images, an eighth of the "
        "width, two attack steps in training, 8 test images",
        Fraction(1, 200),
        width_share=1 / 8,
        train_images=256,
        test_images=8,
        wide_images=16,
        batch_size=128,
        attack_steps=2,
    ),
}
MIN_EPOCHS = 3  # the largest number of phases of a method


def apply_preset(experiment: Experiment, name: PresetName) -> Experiment:
    """Return the experiment scaled by a preset and labelled with it."""
    preset = PRESETS[name]
    training, evaluation, architecture = experiment.training, experiment.evaluation, experiment.architecture
    attack = training.attack.model_copy(update={"num_steps": _at_most(training.attack.num_steps, preset.attack_steps)})
    pgd = evaluation.pgd
    if pgd.images is not None:
        pgd = pgd.model_copy(update={"images": _at_most(pgd.images, preset.wide_images)})
    epochs = training.epochs
    if preset.epoch_share != 1:
        epochs = max(MIN_EPOCHS, round(epochs * preset.epoch_share))
    return experiment.model_copy(
        update={
            "preset": name,
            "train_images": _at_most(experiment.train_images, preset.train_images),
            "architecture": architecture.model_copy(update={"width": architecture.width * preset.width_share}),
            "training": training.model_copy(
                update={
                    "epochs": epochs,
                    "batch_size": _at_most(training.batch_size, preset.batch_size),
                    "attack": attack,
                }
            ),
            "evaluation": evaluation.model_copy(
                update={"images": _at_most(evaluation.images, preset.test_images), "pgd": pgd}
            ),
        }
    )


def _at_most(value: int | None, limit: int | None) -> int | None:
    return min((number for number in (value, limit) if number is not None), default=None)
