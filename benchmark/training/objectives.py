"""Training losses built on the attacks. An objective owns augmentation, because an attack may need to see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.attacks import pgd
from benchmark.data.load import DataInfo
from benchmark.experiment import Experiment
from benchmark.training.augment import random_crop_flip
from methods.base import Batch
from methods.layers import held_effective_weights


@dataclass(frozen=True)
class PgdObjective:
    """Cross-entropy on PGD adversarial images only (Madry et al. 2018).

    Effective weights are computed once and shared by the attack's passes and the update's.
    """

    epsilon: float  # in [0, 1] pixels
    step_size: float
    num_steps: int
    random_start: bool
    train_mode_attack: bool  # attack with batch statistics, and let its passes update the running ones
    attack_bf16: bool
    update_bf16: bool
    crop_padding: int
    flip: bool
    generator: torch.Generator  # on the training device; the loop reseeds it every epoch

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Augment, attack, and return the mean cross-entropy of the attacked images."""
        images = random_crop_flip(batch.images, padding=self.crop_padding, flip=self.flip, generator=self.generator)
        device = images.device.type
        with held_effective_weights(model):
            with _attack_mode(model, train=self.train_mode_attack), _autocast(device, self.attack_bf16):
                adversarial = pgd(
                    model,
                    images,
                    batch.labels,
                    epsilon=self.epsilon,
                    step_size=self.step_size,
                    num_steps=self.num_steps,
                    random_start=self.random_start,
                    generator=self.generator,
                )
            with _autocast(device, self.update_bf16):
                logits = model(adversarial)
        return F.cross_entropy(logits.float(), batch.labels)

    @property
    def passes_per_image(self) -> int:
        """Forward-and-backward passes per training image: one per attack step and one for the update."""
        return self.num_steps + 1


def _autocast(device: str, enabled: bool) -> AbstractContextManager[None]:
    return torch.autocast(device, dtype=torch.bfloat16, enabled=enabled)


@contextmanager
def _attack_mode(model: nn.Module, *, train: bool) -> Iterator[None]:
    """Put the network into train or eval mode inside the block."""
    before = model.training
    model.train(train)
    try:
        yield
    finally:
        model.train(before)


def make_objective(experiment: Experiment, info: DataInfo, generator: torch.Generator) -> PgdObjective:
    """Return the objective an experiment asks for; `generator` lives on the training device."""
    training = experiment.training
    return PgdObjective(
        epsilon=float(Fraction(experiment.epsilon)),
        step_size=float(Fraction(experiment.attack_step)),
        num_steps=training.attack.num_steps,
        random_start=training.attack.random_start,
        train_mode_attack=training.attack.batch_norm == "train",
        attack_bf16=training.precision != "fp32",
        update_bf16=training.precision == "bf16",
        crop_padding=info.crop_padding,
        flip=info.flip,
        generator=generator,
    )
