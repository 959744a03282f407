"""A network from a file that declares the shape of its batches: takes any number of images, whatever the file says."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLOSE = 1e-4  # for logits up to 1 in magnitude: an image alone and among others, which rounds differently
DISTINCT = 10 * CLOSE  # logits of different images closer than this show nothing

Shape = tuple[int | None, ...]  # None for an axis of any length


class FileNetwork(nn.Module):
    """The graph of a file.

    Attributes:
        graph: the operators of the file.
        input_shape: shape of a batch of images as the file declares it.
        output_shape: shape of their logits; None if the file does not say.
        batch: images that the graph takes at once; other batches are split and padded. None for any number.
    """

    def __init__(self, graph: nn.Module, input_shape: Shape, output_shape: Shape | None, batch: int | None) -> None:
        super().__init__()
        self.graph, self.input_shape, self.output_shape, self.batch = graph, input_shape, output_shape, batch

    input_shape: Shape
    output_shape: Shape | None
    batch: int | None

    def forward(self, images: Tensor) -> Tensor:
        """Map any number of images, with the axes that the file declares, to (B, classes) logits."""
        if self.batch is None:
            return self.graph(images)  # type: ignore[no-any-return]
        return torch.cat([self.graph(padded(part, self.batch))[: len(part)] for part in images.split(self.batch)])


def takes_any_batch(general: nn.Module, graph: nn.Module, shape: Shape) -> bool:
    """Return whether a network gives several images together the logits that a file's own graph gives each alone.

    A graph exported for a fixed number of images often holds that number nowhere, and is much faster with more.

    Args:
        general: the network to try on several images.
        graph: the network of the file.
        shape: of a batch of `graph`; its first length is known.
    """
    sides, declared = [side for side in shape[1:] if side is not None], shape[0]
    if len(sides) + 1 != len(shape) or declared is None:
        return False
    probes = _probes(sides)
    try:
        with torch.no_grad():
            alone = torch.cat([graph(padded(probe[None], declared))[:1] for probe in probes])
            together = general(probes)
    except Exception:  # another number of images, or another type, than the graph takes
        return False
    if together.shape != alone.shape or len(alone) != len(probes):
        return False
    scale = max(1.0, float(alone.abs().max()))
    distinct = float(torch.pdist(alone.flatten(1).float(), torch.inf).min()) > DISTINCT * scale
    return distinct and float((together - alone).abs().max()) <= CLOSE * scale


def padded(images: Tensor, count: int) -> Tensor:
    """Return `count` images: these, and then the last of them again."""
    missing = count - len(images)
    return torch.cat([images, images[-1:].expand(missing, *images.shape[1:])]) if missing else images


def shown_shape(shape: Shape) -> str:
    """Return a declared shape for messages, with "any" for an axis of any length."""
    return f"({', '.join('any' if axis is None else str(axis) for axis in shape)})"


def _probes(sides: list[int]) -> Tensor:
    """Return (4, *sides) images that differ so much that an average over them is none of them."""
    noise = torch.rand(2, *sides, generator=torch.Generator().manual_seed(0))
    return torch.stack([noise[0], torch.zeros(sides), noise[1] ** 3, torch.ones(sides)])
