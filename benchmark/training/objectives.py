"""Training losses. An objective owns augmentation and attack, because an attack may depend on the augmentation.

Effective weights are computed once per step and shared by the attack's passes and the update's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.attacks import pgd, summed_kl, trades_attack
from benchmark.runtime.part import BatchPart
from benchmark.training.augment import random_crop_flip
from methods.base import Batch
from methods.holding import attack_weights, held_effective_weights


@dataclass(frozen=True)
class PgdObjective:
    """Cross-entropy on PGD adversarial images only (Madry et al. 2018)."""

    epsilon: float  # in [0, 1] pixels
    step_size: float
    num_steps: int
    random_start: bool
    train_mode_attack: bool  # attack with batch statistics; its passes then update the running ones
    attack_bf16: bool
    update_bf16: bool
    crop_padding: int
    flip: bool
    generator: torch.Generator  # on the training device; the loop reseeds it every epoch
    part: BatchPart = field(default_factory=BatchPart, kw_only=True)  # of the batch; the loop sets it

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Augment, attack, and return the scalar loss."""
        images = random_crop_flip(
            batch.images, padding=self.crop_padding, flip=self.flip, generator=self.generator, part=self.part
        )
        with held_effective_weights(model):
            with self.attacking(model, images):
                adversarial = self.attack(model, images, batch.labels)
            with autocast(images, self.update_bf16):
                return self.loss(model, images, adversarial, batch.labels)

    @contextmanager
    def attacking(self, model: nn.Module, images: Tensor) -> Iterator[None]:
        """Give the passes inside the block the attack's mode, precision and weights."""
        dtype = torch.bfloat16 if self.attack_bf16 else None
        with (
            mode(model, train=self.train_mode_attack),
            autocast(images, self.attack_bf16),
            attack_weights(model, dtype),
        ):
            yield

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors that the objective changes during training; most have none."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""

    def attack(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial images (B, C, H, W) for augmented `images`."""
        return pgd(
            model,
            images,
            labels,
            epsilon=self.epsilon,
            step_size=self.step_size,
            num_steps=self.num_steps,
            random_start=self.random_start,
            generator=self.generator,
            part=self.part,
        )

    def loss(self, model: nn.Module, images: Tensor, adversarial: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar loss of the update."""
        return F.cross_entropy(model(adversarial).float(), labels)


@dataclass(frozen=True)
class CleanObjective(PgdObjective):
    """Cross-entropy on clean images: ordinary training."""

    def attack(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Return the images as they are."""
        return images


@dataclass(frozen=True)
class HalfCleanObjective(PgdObjective):
    """Half clean, half adversarial cross-entropy, in two forward passes (ATMC, Gui et al. 2019)."""

    def loss(self, model: nn.Module, images: Tensor, adversarial: Tensor, labels: Tensor) -> Tensor:
        """Return the mean of the two cross-entropies."""
        clean = F.cross_entropy(model(images).float(), labels)
        return 0.5 * clean + 0.5 * F.cross_entropy(model(adversarial).float(), labels)


@dataclass(frozen=True)
class TradesObjective(PgdObjective):
    """TRADES (Zhang et al. 2019): clean cross-entropy plus beta times KL(clean || adversarial) predictions.

    DEVIATION: an update makes two passes in train mode, which update batch norm's running statistics: one on the clean
    images, whose logits serve both terms, and one on the adversarial images. The paper's released code makes three,
    because it computes the clean logits for each term, and HYDRA's trainer four, with another clean pass before the
    loss.
    DEVIATION: the attack's Gaussian start is clipped to [0, 1]; in the released code only its steps are.
    """

    beta: float

    def attack(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Attack the prediction, not the label."""
        return trades_attack(
            model,
            images,
            epsilon=self.epsilon,
            step_size=self.step_size,
            num_steps=self.num_steps,
            generator=self.generator,
            part=self.part,
        )

    def loss(self, model: nn.Module, images: Tensor, adversarial: Tensor, labels: Tensor) -> Tensor:
        """Return CE(f(x), y) + beta / B * sum KL(softmax f(x) || softmax f(x'))."""
        logits = model(images).float()
        divergence = summed_kl(model(adversarial).float(), F.softmax(logits, 1))
        return F.cross_entropy(logits, labels) + self.beta / max(1, len(labels)) * divergence


def autocast(images: Tensor, enabled: bool) -> AbstractContextManager[None]:
    """Run under bfloat16 autocast on the images' device if enabled."""
    return torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=enabled)


@contextmanager
def mode(model: nn.Module, *, train: bool) -> Iterator[None]:
    """Put the network into train or eval mode inside the block."""
    before = model.training
    model.train(train)
    try:
        yield
    finally:
        model.train(before)
