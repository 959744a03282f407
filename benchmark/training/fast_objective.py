"""The fast objective: every training image keeps its perturbation from one epoch to the next.

After ATTA (Zheng et al. 2020), as the paper's fast variant uses it: one attack step per update, started from the stored
perturbation. The perturbation lives on the image padded on all sides and is cropped and mirrored with the image.
DEVIATION: crop offsets are drawn from 0..2 * padding; the released code never draws the last one.
DEVIATION: perturbations are stored as int8 in steps of epsilon / 126, a quarter of float32's memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.attacks import ascent_step, input_gradients_only
from benchmark.runtime.part import WHOLE, BatchPart
from benchmark.training.augment import draw_mirrored, draw_offsets, memory_layout
from benchmark.training.objectives import PgdObjective, autocast
from benchmark.training.processes import ALONE, Processes
from methods.base import Batch
from methods.holding import held_effective_weights

# int8 steps per epsilon. The number is even, because the objective's usual step is epsilon / 2: half of 127 would be a
# tie, which the last bits of a float decide, differently on different machines.
LEVELS = 126


@dataclass(frozen=True)
class Window:
    """Where each image of a batch was cropped from its canvas, and whether it was mirrored."""

    rows: Tensor  # (B, H) canvas rows, in the order of the cropped image
    columns: Tensor  # (B, W) canvas columns, in the order of the cropped and mirrored image

    def of(self, canvases: Tensor, places: Tensor | None = None) -> Tensor:
        """Cut the windows out of (N, C, H + 2p, W + 2p) canvases, the B at `places` or all of them: (B, C, H, W)."""
        return canvases[self._pixels(canvases, places)]

    def put(self, canvases: Tensor, images: Tensor, places: Tensor | None = None) -> None:
        """Write (B, C, H, W) images back into their windows; other pixels stay. `places` must be unique."""
        canvases[self._pixels(canvases, places)] = images

    def _pixels(self, canvases: Tensor, places: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        device = canvases.device
        image = torch.arange(len(self.rows), device=device) if places is None else places
        channel = torch.arange(canvases.shape[1], device=device)
        return (
            image[:, None, None, None],
            channel[:, None, None],
            self.rows[:, None, :, None],
            self.columns[:, None, None],
        )


def draw_window(
    batch: int,
    height: int,
    width: int,
    *,
    padding: int,
    flip: bool,
    generator: torch.Generator,
    part: BatchPart = WHOLE,
) -> Window:
    """Draw a crop and, with probability one half, a mirror image for each of `batch` images."""
    device = generator.device
    offsets = draw_offsets(batch, padding=padding, generator=generator, part=part)
    rows = offsets[0] + torch.arange(height, device=device)
    columns = offsets[1] + torch.arange(width, device=device)
    if flip:
        mirrored = draw_mirrored(batch, generator=generator, part=part)
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    return Window(rows, columns)


@dataclass(frozen=True)
class SoftTarget:
    """Mix of the label with a running mean of the network's predictions (dead code in the paper's release)."""

    rho: float  # share of the old mean in the new one, in [0, 1]
    beta: float  # share of the label in the target, in [0, 1]


class PerturbationStore:
    """One perturbation per training image on the padded canvas, initially uniform in the epsilon ball.

    Args:
        count: training images.
        shape: (C, H, W) of an image.
        padding: pixels added on each side.
        epsilon: radius of the ball, in [0, 1] pixels.
        generator: draws the first perturbations, on the training device.
        labels: (count,) int64, for soft targets.
        soft_target: None trains on the labels, as the released code does.
        processes: each stores what belongs to the images that it owns.

    Memory: count * C * (H + 2 * padding) * (W + 2 * padding) bytes; 235 MB for the 49,000 CIFAR training images.
    """

    def __init__(
        self,
        count: int,
        shape: tuple[int, int, int],
        *,
        padding: int,
        epsilon: float,
        generator: torch.Generator,
        labels: Tensor,
        num_classes: int,
        soft_target: SoftTarget | None,
        processes: Processes = ALONE,
    ) -> None:
        channels, height, width = shape
        size = (count, channels, height + 2 * padding, width + 2 * padding)
        self.epsilon = epsilon
        self.count, self.processes = count, processes
        self.levels = processes.owned(
            torch.randint(-LEVELS, LEVELS + 1, size, dtype=torch.int8, generator=generator, device=generator.device)
        )
        self.soft_target = soft_target
        # (count, classes)
        self.means = processes.owned(F.one_hot(labels, num_classes).float()) if soft_target else None

    def read(self, rows: Tensor, window: Window) -> Tensor:
        """Return the perturbations (B, C, H, W) of training images `rows` (B,) inside their windows, as float32."""
        return window.of(self.levels, self.processes.places(rows)).float() * (self.epsilon / LEVELS)

    def write(self, rows: Tensor, window: Window, perturbation: Tensor) -> None:
        """Store perturbations (B, C, H, W) in [-epsilon, epsilon]; pixels outside the windows keep their value."""
        window.put(
            self.levels, (perturbation * (LEVELS / self.epsilon)).round().to(torch.int8), self.processes.places(rows)
        )

    def target(self, rows: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
        """Return the targets of training images `rows`: labels (B,), or soft targets (B, classes).

        Args:
            rows: (B,) places in the training set.
            labels: (B,) int64.
            logits: (B, classes) at the perturbation that the attack step started from, for the running mean.
        """
        if self.soft_target is None or self.means is None:
            return labels
        rho, beta, places = self.soft_target.rho, self.soft_target.beta, self.processes.places(rows)
        means = rho * self.means[places] + (1 - rho) * F.softmax(logits.float(), 1)
        self.means[places] = means
        return beta * F.one_hot(labels, means.shape[1]) + (1 - beta) * means

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors that change during training, those of all images; all processes must call it."""
        return {name: self.processes.whole(tensor, self.count) for name, tensor in self._tensors().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy the tensors of a checkpoint in place."""
        for name, tensor in self._tensors().items():
            tensor.copy_(self.processes.owned(state[name]))

    def _tensors(self) -> dict[str, Tensor]:
        return {"levels": self.levels} if self.means is None else {"levels": self.levels, "means": self.means}


def pad(images: Tensor, padding: int, value: float) -> Tensor:
    """Surround (B, C, H, W) images with `padding` pixels of `value`."""
    return F.pad(images, (padding,) * 4, value=value) if padding else images


@dataclass(frozen=True)
class FastObjective(PgdObjective):
    """Cross-entropy on images moved by one attack step from their stored perturbation."""

    store: PerturbationStore
    fill: float  # value of the padding, in [0, 1]; 0.5 in the released code

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Crop image and perturbation together, take one step, store it, and return the scalar loss."""
        count, _, height, width = batch.images.shape
        window = draw_window(
            *(count, height, width),
            padding=self.crop_padding,
            flip=self.flip,
            generator=self.generator,
            part=self.part,
        )
        images = window.of(pad(batch.images, self.crop_padding, self.fill))
        images = images.contiguous(memory_format=memory_layout(batch.images))
        start = images + self.store.read(batch.rows, window)
        with held_effective_weights(model):
            with self.attacking(model, images), input_gradients_only(model):
                adversarial, logits = ascent_step(
                    model, start, images, batch.labels, epsilon=self.epsilon, step_size=self.step_size
                )
            self.store.write(batch.rows, window, adversarial - images)
            target = self.store.target(batch.rows, batch.labels, logits)
            with autocast(images, self.update_bf16):
                return F.cross_entropy(model(adversarial).float(), target)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the stored perturbations and targets, which a resumed run continues from."""
        return self.store.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.store.load_state_dict(state)
