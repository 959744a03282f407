"""Counts the arithmetic of an exported network: multiply-adds, those left by its zeros, and bit operations.

Bit operations weight a multiply-add by the bits of its two factors: BOPs = MACs x weight bits x activation bits, summed
over the layers, as in van Baalen et al. (Bayesian Bits, NeurIPS 2020); pruned weights have no MACs. As usual, this
omits everything but the convolutions (batch norm, additions, activations, pooling), the wider accumulators, the
multiplication of a binary layer's sums by its two levels, and the work of finding the nonzero weights. These are the
costs of an ideal machine; a dense runtime saves nothing, see `latency`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from benchmark.artifact.measure import FLOAT_BITS, nonzero_levels
from benchmark.evaluation.accuracy import frozen_eval
from benchmark.networks.count import output_positions
from benchmark.networks.resnet import convolutions

BINARY_LEVELS = 2  # nonzero values that one bit per weight can encode


@dataclass(frozen=True)
class Operations:
    """Exact counts for one image."""

    dense_macs: int  # multiply-adds of the convolutions, including zeros and padding
    sparse_macs: int  # of their nonzero weights only
    bit_operations: int  # sparse MACs x weight bits x activation bits


def operations(network: nn.Module, channels: int, size: tuple[int, int]) -> Operations:
    """Count the operations of an exported network for one image.

    Weights have 1 bit in a layer with at most two nonzero values, otherwise 32; activations are float32.

    Args:
        network: a plain network, which is run once on zeros in eval mode and not changed.
        channels: channels of the images.
        size: height and width of the images in pixels.
    """
    layers = convolutions(network)
    image = torch.zeros(1, channels, *size, device=next(network.parameters()).device)
    with frozen_eval(network):
        positions = output_positions(network, image)
    sparse = {name: positions[name] * int(conv.weight.count_nonzero()) for name, conv in layers.items()}
    return Operations(
        dense_macs=sum(positions[name] * conv.weight.numel() for name, conv in layers.items()),
        sparse_macs=sum(sparse.values()),
        bit_operations=sum(macs * _weight_bits(layers[name]) * FLOAT_BITS for name, macs in sparse.items()),
    )


def _weight_bits(conv: nn.Conv2d) -> int:
    return 1 if nonzero_levels(conv) <= BINARY_LEVELS else FLOAT_BITS
