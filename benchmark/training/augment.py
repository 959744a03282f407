"""Random crops and flips of whole batches on the device. Used by the objectives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.runtime.part import WHOLE, BatchPart


def random_crop_flip(
    images: Tensor,  # (B, C, H, W)
    *,
    padding: int,
    flip: bool,
    generator: torch.Generator,
    fill: float = 0.0,
    part: BatchPart = WHOLE,
) -> Tensor:
    """Pad every image by `padding` pixels of `fill`, crop it to its size at a random place, and mirror half of them.

    The memory layout is preserved.

    Args:
        images: any float tensor of images.
        padding: pixels added on each side; 0 disables cropping.
        flip: mirror an image left to right with probability one half.
        generator: source of randomness, on the images' device.
        fill: value of the padding.
        part: of the batch that `images` is.
    """
    batch, channels, height, width = images.shape
    device, layout = images.device, memory_layout(images)
    if padding:
        canvas = F.pad(images, (padding,) * 4, value=fill)
        offsets = draw_offsets(batch, padding=padding, generator=generator, part=part)
        rows = offsets[0] + torch.arange(height, device=device)  # (B, H)
        columns = offsets[1] + torch.arange(width, device=device)  # (B, W)
        batch_index = torch.arange(batch, device=device).view(-1, 1, 1, 1)
        channel_index = torch.arange(channels, device=device).view(1, -1, 1, 1)
        images = canvas[batch_index, channel_index, rows[:, None, :, None], columns[:, None, None, :]]
    if flip:
        mirrored = draw_mirrored(batch, generator=generator, part=part)
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
    return images.contiguous(memory_format=layout)


def draw_offsets(images: int, *, padding: int, generator: torch.Generator, part: BatchPart) -> Tensor:
    """Draw (2, B, 1) rows and columns in 0..2 * padding at which crops begin, for a number of images."""

    def draw(count: int) -> Tensor:
        return torch.randint(2 * padding + 1, (2, count, 1), generator=generator, device=generator.device)

    return part.drawn(draw, images, dim=1)


def draw_mirrored(images: int, *, generator: torch.Generator, part: BatchPart) -> Tensor:
    """Draw (B,) whether each image is mirrored, with probability one half."""
    return part.drawn(lambda count: torch.rand(count, generator=generator, device=generator.device), images) < 0.5


def memory_layout(images: Tensor) -> torch.memory_format:
    """Return the layout of (B, C, H, W) images: channels_last, or contiguous if they are that or both."""
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
