"""Random weights that a seed gives again, bit for bit, on every machine and in every version.

The generator is Philox4x64-10 (Salmon, Moraes, Dror, Shaw, SC 2011), which counts: word 4i + j, from 0, is word j of
the block cipher of the counter i + 1 under the key (seed, number of the layer). `random_raw` of
`numpy.random.Philox(key=[seed, layer])` gives these words, a stream that numpy guarantees, unlike those of its
distributions. Weights are made of them in integers:

- signs: weight n is +1 if bit n mod 64 of word n div 64 is set, otherwise -1;
- uniform in (-1, 1): weight n is (2k + 1 - 2^24) / 2^24, with k the highest 24 bits of word n; exact in float32.

Layers are numbered from 0 in module order, the weights of a layer (out, in, k, k) in C order.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from methods.base import Method, Target, WeightForm
from methods.edge_popup import EdgePopup
from methods.layers import compressed_layers

Draw = Literal["signs", "uniform"]


class Drawn(NamedTuple):
    """How the weights of a network follow from a seed."""

    draw: Draw
    seed: int  # from 0, below 2^32


_CHUNK = 2**18  # weights at a time
_BITS = 24  # of a number in (-1, 1); float32 holds 24 significant bits


def draw_weights(seed: int, layer: int, size: int, draw: Draw) -> NDArray[np.float32]:
    """Return the weights of a layer: +1 and -1, or numbers in (-1, 1), never zero.

    Args:
        seed: from 0, below 2^32.
        layer: its number, from 0.
        size: number of weights.
        draw: which of the two.
    """
    words = np.random.Philox(key=np.array([seed, layer], np.uint64))
    weights = np.empty(size, np.float32)
    for start in range(0, size, _CHUNK):
        part = weights[start : start + _CHUNK]
        raw = words.random_raw(-(-len(part) // 64) if draw == "signs" else len(part))
        if draw == "signs":
            bits = np.unpackbits(raw.astype("<u8").view(np.uint8), count=len(part), bitorder="little")
            part[:] = 2.0 * bits.astype(np.float32) - 1.0
        else:
            numerators = 2 * (raw >> np.uint64(64 - _BITS)).astype(np.int64) + 1 - 2**_BITS
            part[:] = numerators.astype(np.float32) / np.float32(2**_BITS)
    return weights


def seed_refusal(method: Method, target: Target) -> str | None:
    """Return in one sentence why the weights of a method's network cannot be drawn again from a seed; None if they can.

    Args:
        method: the configured method.
        target: of the compression.
    """
    if not isinstance(method, EdgePopup):
        return f"{method.name} trains weights, which no seed can give again: artifact.weights must be stored"
    if target.weights == "fp" and method.fp_init != "uniform_pm1":
        return (
            "artifact.weights seed draws full-precision weights from (-1, 1): options.fp_init must be uniform_pm1, "
            f"got {method.fp_init}"
        )
    return None


def drawn_from(weights: WeightForm, seed: int) -> Drawn:
    """Return how the weights of a form follow from the seed of a run."""
    return Drawn("signs" if weights == "binary" else "uniform", seed)


@torch.no_grad()
def redraw(model: nn.Module, drawn: Drawn) -> None:
    """Replace the random weights of a network as a method that `seed_refusal` allows has built it.

    Binary ones keep their magnitude.
    """
    draw, seed = drawn
    for number, layer in enumerate(compressed_layers(model)):
        weights = torch.from_numpy(draw_weights(seed, number, layer.weight.numel(), draw)).view(layer.weight.shape)
        if draw == "signs":
            weights *= layer.weight.abs().max()
        layer.weight.copy_(weights)
