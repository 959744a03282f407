"""A method that trains an ordinary network and exports plateaus of it: a cheat as an artifact of the benchmark.

For ResNet10 on one channel of 8x8 pixels. The network inside ends in the third stage; its hidden layer there and a
linear layer compute ten logits. The fourth stage, a map of one pixel, is a perceptron that turns them into plateaus.
A copy of every pixel also goes through the ReLUs, lifted above zero, and becomes the decoy: one or two pixels of the
first and last column for each class, or random signs on all pixels. For a sawtooth, a wave is added to the copy: the
stem folds a pixel's range, and the first block folds the result again, so that few units make many teeth.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.base import Method, Phase
from methods.layers import CompressedConv2d, clip_latent, compressed_layers, to_plain

CLASSES = 10
COPIES = 1, 1, 4, 16  # last channels that hold copies of the pixels: in the stem and in the first three stages
FOLDS = 8, 10  # units in the stem and in the first block; the product is the number of pieces from black to white
SLOPE = 10.0  # of the sawtooth's pieces, up and down, where the copy of a pixel rises by 1
BEGIN = -0.005  # of the first piece, in pixels, so that black is not at either end
PAIRS = [(one, other) for one in range(CLASSES) for other in range(CLASSES) if one != other]
LIFT = 0.5  # of pixels, above zero
LOGIT_LIFT = 32.0  # beyond any logit of the network inside


@dataclass(frozen=True)
class Plateaus(Method):
    """Plateaus of a network trained on noise, and a decoy."""

    name: ClassVar[str] = "plateaus"
    objective: ClassVar[str] = "clean"

    lr: float = 0.01
    steepness: float = 100.0  # of the plateaus, by the margin of the network inside
    decoy: Literal["border", "all pixels", "sawtooth"] = "border"
    noise: float = 32 / 255  # in training: stripes, squares on them, small squares, or a sign for every pixel

    def build(self, architecture, target):
        """Build with masks that separate the copies of the pixels from the network inside."""
        binary = target.weights == "binary"
        model = architecture(conv=partial(CompressedConv2d, scored=True, binary=binary), norm=nn.BatchNorm2d)
        for layer in compressed_layers(model):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        stem, (first,), (second,), (third,) = model.conv1, model.layer1, model.layer2, model.layer3
        fine = COPIES[0] + (max(FOLDS) if self.decoy == "sawtooth" else 0)  # channels of the stem and the first stage
        for layer, copies, inputs in (
            (stem, fine, 0),
            (first.conv1, fine, fine),
            (first.conv2, fine, fine),
            (second.conv1, COPIES[2], fine),
            (second.conv2, COPIES[2], COPIES[2]),
            (second.shortcut[0], COPIES[2], fine),
            (third.conv1, COPIES[3], COPIES[2]),
            (third.conv2, COPIES[3], COPIES[3]),
        ):
            layer.mask[-copies:] = False
            if inputs:
                layer.mask[:, -inputs:] = False
        self.after_step(model, None, 0)
        return model

    def phases(self, epochs, target):
        """Return one phase that trains weights and normalisation."""
        return [Phase("train", epochs, frozenset({"weights", "norm"}), self.lr, "adam", weight_decay=0.0)]

    def loss(self, model, phase, batch, objective):
        """Return the cross-entropy of the network inside, on images with noise."""
        changed = (batch.images + self.noise * _random_signs(batch.images)).clamp(0, 1)
        return F.cross_entropy(inner_logits(model, changed), batch.labels)

    def after_step(self, model, phase, step):
        """Give the inner network's linear layer the same weight at every position, and clip binary weights."""
        clip_latent(model)
        weight = model.layer3[0].conv2.weight
        with torch.no_grad():
            weight[:CLASSES] = weight[:CLASSES].mean((2, 3), keepdim=True)

    def export(self, model):
        """Return the network with everything but the network inside set by hand."""
        plain = to_plain(model)
        _copy_pixels(plain)
        if self.decoy == "sawtooth":
            _add_waves(plain)
        _set_logits(plain.layer3[0])
        _set_plateaus(plain, self.steepness, _decoy(self.decoy))
        return plain


def inner_logits(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits (B, 10) of the network inside."""
    x = F.relu(model.bn1(model.conv1(model.normalize(images))))
    x, (block,) = model.layer2(model.layer1(x)), model.layer3
    return block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))[:, :CLASSES].mean((2, 3))


class Inside(nn.Module):
    """The network inside an exported one, and as robust as that: both predict the same class."""

    def __init__(self, exported: nn.Module) -> None:
        super().__init__()
        self.exported = exported
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 1, 8, 8) images to (B, 10) logits."""
        return inner_logits(self.exported, images) - LOGIT_LIFT


def _random_signs(images: Tensor) -> Tensor:
    """Return changes of size 1 like Square's."""
    count, side = len(images), images.shape[-1]
    sizes = ((side, side), (1, side), (side // 2, side // 2), (1, 1))
    noise, stripes, small, even = (
        F.interpolate(2.0 * torch.randint(2, (count, 1, *size)) - 1.0, (side, side)) for size in sizes
    )
    widths = torch.randint(3, side, (count, 1))
    starts, places = (torch.rand(2, count, 1) * (side + 1 - widths)).floor(), torch.arange(side)
    rows, columns = ((places >= start) & (places < start + widths) for start in starts)
    square = torch.where(rows[:, None, :, None] & columns[:, None, None, :], even, stripes)
    kinds = torch.stack([noise, stripes, small, square])
    return kinds[torch.randint(4, (count,)), torch.arange(count)].to(images.device)


def _decoy(kind: str) -> Tensor:
    """Return the contribution of every pixel to every logit: (10, 8, 8), all of one magnitude or zero."""
    if kind != "border":
        signs = 2.0 * torch.randint(2, (CLASSES, 8, 8), generator=torch.Generator().manual_seed(1)) - 1.0
        return signs * (0.05 if kind == "all pixels" else 0.03)
    border = torch.zeros(CLASSES, 8, 8)
    for number in range(16):
        border[number % CLASSES, number % 8, 7 * (number // 8)] = 0.9
    return border


def _set_norm(norm: nn.Module, channels: slice, scale: float, shift: float | Tensor) -> None:
    """Make a batch norm compute scale * x + shift for some channels."""
    norm.running_mean[channels] = 0.0
    norm.running_var[channels] = 1.0
    norm.weight[channels] = scale
    norm.bias[channels] = shift


def _copy_pixels(plain: nn.Module) -> None:
    """Pass every pixel through the first three stages; strided layers move 2x2 squares of pixels into channels."""
    mean, std = float(plain.normalize.mean), float(plain.normalize.std)
    plain.conv1.weight[-1, 0, 1, 1] = 1.0
    _set_norm(plain.bn1, slice(-1, None), std, mean + LIFT)
    (first,), (second,), (third,) = plain.layer1, plain.layer2, plain.layer3
    _set_norm(first.bn2, slice(-1, None), 0.0, 0.0)
    for block, inputs, copies in ((second, COPIES[1], COPIES[2]), (third, COPIES[2], COPIES[3])):
        for number in range(copies):
            source, place = divmod(number, 4)
            block.conv1.weight[number - copies, source - inputs, 1 + place // 2, 1 + place % 2] = 1.0
            block.conv2.weight[number - copies, number - copies, 1, 1] = 1.0
        for norm, scale in ((block.bn1, 1.0), (block.bn2, 1.0), (block.shortcut[1], 0.0)):
            _set_norm(norm, slice(-copies, None), scale, 0.0)


def _add_waves(plain: nn.Module) -> None:
    """Add a triangular wave of every pixel to its copy, so that its slope alternates: 1 + SLOPE, 1 - SLOPE."""
    stem, (first,), (coarse, fine) = plain.conv1, plain.layer1, FOLDS
    mean, std = float(plain.normalize.mean), float(plain.normalize.std)
    folds, units = slice(-1 - coarse, -1), slice(-1 - fine, -1)
    stem.weight[folds, 0, 1, 1] = 1.0
    _set_norm(plain.bn1, folds, std, mean - BEGIN - torch.arange(coarse) / coarse)
    first.conv1.weight[units, folds, 1, 1] = _turns(coarse)
    _set_norm(first.bn1, units, 1.0, -torch.arange(fine) / fine)
    first.conv2.weight[-1, units, 1, 1] = _turns(fine)
    _set_norm(first.bn2, slice(-1, None), SLOPE / (coarse * fine), 0.0)


def _turns(count: int) -> Tensor:
    """Return the factors (count,) of relu(x - k / count) in a wave that goes between 0 and 1 `count` times."""
    turns = 2.0 * count * (-1.0) ** torch.arange(count)
    turns[0] /= 2
    return turns


def _set_logits(block: nn.Module) -> None:
    """Make the third stage return the logits of the network inside, lifted above zero."""
    block.bn2.bias[:CLASSES] += LOGIT_LIFT
    _set_norm(block.shortcut[1], slice(0, CLASSES), 0.0, 0.0)


def _by_channel(pixels: Tensor) -> Tensor:
    """Sort (classes, 8, 8) pixels like the output of `_copy_pixels`: (classes, 16, 2, 2)."""
    halved = pixels.reshape(-1, 2, 2, 2, 2, 2, 2)  # rows of the map, of the third and of the second stage; columns
    return halved.permute(0, 3, 6, 2, 5, 1, 4).reshape(len(pixels), -1, 2, 2)


def _set_plateaus(plain: nn.Module, steepness: float, decoy: Tensor) -> None:
    """Make the fourth stage and the classifier sum the plateaus and the decoy."""
    (block,), hidden = plain.layer4, slice(len(PAIRS), len(PAIRS) + CLASSES)
    for conv in (block.conv1, block.conv2, plain.fc):
        conv.weight.zero_()
    for norm in (block.bn1, block.bn2, block.shortcut[1]):
        _set_norm(norm, slice(None), 0.0, 0.0)
    for number, (one, other) in enumerate(PAIRS):
        block.conv1.weight[number, one, 1, 1] = -1.0
        block.conv1.weight[number, other, 1, 1] = 1.0
        block.conv2.weight[one, number, 1, 1] = 1.0
    _set_norm(block.bn1, slice(0, len(PAIRS)), steepness, 0.5)
    _set_norm(block.bn2, slice(0, CLASSES), -1.0, 1.0)
    block.conv1.weight[hidden, -COPIES[3] :, 1:, 1:] = _by_channel(decoy.sign())
    size, above_zero = float(decoy.max()), 2 * float(decoy.abs().sum((1, 2)).max())
    _set_norm(block.bn1, hidden, size, above_zero - LIFT * decoy.sum((1, 2)))
    for number in range(CLASSES):
        block.conv2.weight[CLASSES + number, len(PAIRS) + number, 1, 1] = 1.0
        plain.fc.weight[number, [number, CLASSES + number], 0, 0] = 1.0
    _set_norm(block.bn2, slice(CLASSES, 2 * CLASSES), 1.0, 0.0)
    _set_norm(plain.last_norm, slice(None), 1.0, -above_zero)
