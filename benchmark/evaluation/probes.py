"""Shared by the gradient-health checks: the images they probe, and a network that is safe to attack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.data.load import Images
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images

PROBE_IMAGES = 64  # at most; four newly broken ones of these are suspect
Loss = Callable[[Tensor, Tensor], Tensor]  # of logits (B, classes) and labels (B,), summed over the batch


class Attackable(nn.Module):
    """Passes images to a network and returns its logits times `factor`, in the images' type, with an input gradient.

    A network detached from its input gets a gradient of zeros, so that attacks run and find nothing.
    """

    def __init__(self, model: nn.Module, factor: float = 1.0) -> None:
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images to (B, classes) logits.

        Raises:
            UserError: if the network returns something else, or numbers that are not finite.
        """
        # A copy, since the network may write into its input; contiguous, because a network may use `view`.
        logits = self.model(images.clone(memory_format=torch.contiguous_format))
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
            raise UserError(f"{len(images)} images must give ({len(images)}, classes) logits, got {_shape(logits)}")
        check_finite(logits)
        return logits.to(images.dtype) * self.factor + 0.0 * images.flatten(1).sum(1, keepdim=True)


class NotFinite(UserError):
    """Logits are NaN or infinite, so that no attack or verdict is defined."""


def check_finite(logits: Tensor) -> None:
    """Raise NotFinite unless all logits (B, classes) are finite."""
    if not (finite := logits.detach().isfinite().all(1)).all():
        count = f"{int((~finite).sum())} of {len(logits)} images"
        raise NotFinite(
            f"the network's logits are not finite (NaN or infinite) for {count}, so it cannot be attacked or ranked; "
            "look for a division by zero, a logarithm of zero or an overflow in it"
        )


@dataclass(frozen=True)
class Probe:
    """A network, images with the verdicts of the evaluation's attacks, and the protocol's PGD settings."""

    model: nn.Module  # in eval mode
    data: Images
    verdicts: Mapping[str, Tensor]  # attack -> (N,) bool on the CPU
    epsilon: float
    step_size: float
    steps: int
    seed: int
    batch_size: int

    def attackable(self, factor: float = 1.0) -> nn.Module:
        """Return the network safe to attack, in eval mode, with its logits times `factor`."""
        return Attackable(self.model, factor).eval()

    def surviving(self, *, without: tuple[str, ...] = ()) -> Tensor:
        """Return (N,) bool: classified correctly under every attack except those named in `without`."""
        correct = torch.ones(len(self.data), dtype=torch.bool)
        for name, verdicts in self.verdicts.items():
            if name not in without:
                correct &= verdicts
        return correct

    def first(self, chosen: Tensor) -> Images:
        """Return the first `PROBE_IMAGES` of the images chosen by (N,) bool."""
        rows = chosen.nonzero().flatten()[:PROBE_IMAGES].to(self.data.labels.device)
        return Images(self.data.images[rows], self.data.labels[rows])

    def usual(self) -> Images:
        """Return the first images that are classified correctly, since only these are attacked; any if none is."""
        correct = self.verdicts["clean"]
        return self.first(correct if correct.any() else torch.ones_like(correct))

    def batches(self, data: Images) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield float images (B, C, H, W) in [0, 1] and labels (B,), in batches of the evaluation's size."""
        for images, labels in zip(data.images.split(self.batch_size), data.labels.split(self.batch_size), strict=True):
            yield as_float_images(images), labels

    def logits(self, data: Images) -> Tensor:
        """Return (N, classes) logits of the unperturbed images."""
        with torch.no_grad():
            return torch.cat([self.attackable()(images) for images, _ in self.batches(data)])

    def logit_size(self) -> float:
        """Return the mean magnitude of a logit, 1 where all are zero."""
        return float(self.logits(self.usual()).abs().mean()) or 1.0


def input_gradient(model: nn.Module, images: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    """Return the gradient (B, C, H, W) of a loss with respect to the images."""
    with torch.enable_grad():
        point = images.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(model(point), labels), point)
    return gradient


def logit_spread(logits: Tensor) -> float:
    """Return the mean distance between an image's largest and smallest logit: the scale that decides a class."""
    return float((logits.amax(1) - logits.amin(1)).mean())


@contextmanager
def own_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's generators inside the block, so that a random network repeats its draws; then restore them."""
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _shape(output: object) -> str:
    return str(tuple(output.shape)) if isinstance(output, Tensor) else type(output).__name__
