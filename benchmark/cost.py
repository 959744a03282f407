"""What training costs, known before it starts: the images of a pass, and floating-point operations.

Multiply-adds are those of the convolutions, counted from their shapes; everything else in these networks is less than
a hundredth. One multiply-add is two FLOPs. A pass of the attack counts as two forward runs, the forward run itself and
the gradient by the input; a pass of the update counts as three, because it also needs the gradient by the weights.
Zeros save nothing here: while it is trained, a sparse network is computed like a dense one. Validation after every
epoch and the evaluation at the end are left out.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import lru_cache

import torch
from torch import Tensor, nn

from benchmark.data.catalog import KNOWN
from benchmark.data.published import PUBLISHED
from benchmark.data.splits import VALIDATION_SHARE
from benchmark.experiment import Experiment, Objective
from benchmark.models import NetworkPlan, convolutions
from methods.base import Architecture

# Images of the whole training part, validation included.
TRAINING_PART = {name: sum(published.train.counts) for name, published in PUBLISHED.items()}
TEST_PART = {name: sum(published.test.counts) for name, published in PUBLISHED.items()}


def training_images(experiment: Experiment) -> int | None:
    """Return the images that one pass covers; None for a data set whose size is not known before it is read."""
    whole, validation = TRAINING_PART.get(experiment.dataset), validation_images(experiment)
    if whole is None or validation is None:
        return experiment.train_images
    images = whole - validation
    return images if experiment.train_images is None else min(images, experiment.train_images)


def validation_images(experiment: Experiment) -> int | None:
    """Return the images of the validation part; None for a data set whose size is not known."""
    whole = TRAINING_PART.get(experiment.dataset)
    return None if whole is None else max(1, round(VALIDATION_SHARE * whole))


def training_flops(experiment: Experiment, architecture: Architecture, epochs: int) -> int | None:
    """Return the FLOPs of training; None for a data set whose size is not known before it is read.

    Args:
        experiment: what is trained.
        architecture: the network that is built, after the method's `resize`.
        epochs: what the run trains itself, all of them or those after a reused first phase.
    """
    known, images = KNOWN.get(experiment.dataset), training_images(experiment)
    if known is None or images is None:
        return None
    forward = forward_flops(architecture, known.channels, known.size)
    return epochs * images * forward_runs(experiment.objective, experiment.training.attack.num_steps) * forward


def forward_flops(architecture: Architecture, channels: int, size: int) -> int:
    """Return the FLOPs of a forward run for one image.

    Args:
        architecture: builds the network.
        channels: of the images.
        size: height and width of the images.
    """
    if isinstance(architecture, NetworkPlan):
        return 2 * _remembered(architecture, channels, size)
    return 2 * multiply_adds(architecture, channels, size)  # one that a method brings need not be hashable


def forward_runs(objective: Objective, attack_steps: int) -> int:
    """Return the cost of one training image in one epoch, in forward runs of one image.

    Args:
        objective: the training loss.
        attack_steps: of the PGD attack in training; the fast objective always makes one.
    """
    attack = 2 * attack_steps
    runs = {
        "pgd": attack + 3,
        "fast": 2 + 3,  # one step of attack per update
        "trades": attack + 1 + 2 * 3,  # the attack predicts the clean image once; the update sees both images
        "half_clean": attack + 2 * 3,
        "clean": 3,
    }
    return runs[objective]


def multiply_adds(architecture: Architecture, channels: int, size: int) -> int:
    """Return the multiply-adds of a forward run for one image.

    Args:
        architecture: builds the network.
        channels: of the images.
        size: height and width of the images.
    """
    model = architecture(conv=_ShapeOnlyConv2d, norm=lambda channels: nn.Identity())
    positions = output_positions(model, torch.zeros(1, channels, size, size))
    return sum(positions[name] * conv.weight.numel() for name, conv in convolutions(model).items())


_remembered = lru_cache(maxsize=256)(multiply_adds)


@torch.no_grad()
def output_positions(model: nn.Module, image: Tensor) -> dict[str, int]:
    """Return the output positions H' x W' of every ordinary convolution for one image, by name.

    At each position every weight of the layer is used once: positions times weights are its multiply-adds, those with
    the zeros of the padding included. A convolution that runs twice counts twice, one that never runs has 0.

    Args:
        model: is run once, in the mode it is in.
        image: (1, C, H, W); only its shape matters.
    """
    positions = dict.fromkeys(convolutions(model), 0)

    def count(name: str, output: Tensor) -> None:
        positions[name] += output[0, 0].numel()

    with ExitStack() as hooks:
        for name, conv in convolutions(model).items():
            hooks.enter_context(conv.register_forward_hook(lambda _, __, output, name=name: count(name, output)))
        model(image)
    return positions


class _ShapeOnlyConv2d(nn.Conv2d):
    """Returns zeros of the right shape; its weights take no memory.

    A forward run on torch's meta device would tell the same, but first imports hundreds of modules.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=False, device="meta")
        self.change = 2 * padding - kernel_size  # of a side, before the stride

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, in, H, W) to zeros (B, out, H', W')."""
        height, width = ((side + self.change) // self.stride[0] + 1 for side in input.shape[2:])
        return torch.zeros(len(input), self.out_channels, height, width)
