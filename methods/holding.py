"""Effective weights that are computed once and shared by the passes of a training step's attack and update.

An attack makes ten or more passes with the same weights. With small batches, selecting, binarising and rounding them
again in every pass would be a good part of its cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from methods.layers import compressed_layers
from methods.sparse.step import sparse_attack, sparse_step
from methods.sparse_attack import sparse_convolution


@contextmanager
def held_effective_weights(model: nn.Module) -> Iterator[None]:
    """Compute every effective weight once and let all forward passes inside the block share it.

    Weights and scores must not change inside the block. The gradient of the update still reaches them. The update's
    passes skip zeros where that is faster.
    """
    layers = compressed_layers(model)
    try:
        for layer in layers:
            # In a dense layer it is the parameter, which `layer._held = ...` would register a second time.
            object.__setattr__(layer, "_held", layer.effective_weight())
        with sparse_step(model):
            yield
    finally:
        for layer in layers:
            layer._held = None


@contextmanager
def attack_weights(model: nn.Module, dtype: torch.dtype | None = None) -> Iterator[None]:
    """Let the passes inside the block share detached held weights, in `dtype` if given.

    Used inside `held_effective_weights`. Autocast would round the weights in every pass of an attack; rounding them
    once gives the same bits. Zeros are skipped where that is faster: by sparse passes of the whole network, if numba is
    installed, or in single nearly empty kernels.
    """
    layers = compressed_layers(model)
    held = [layer._held for layer in layers]
    try:
        for layer in layers:
            assert layer._held is not None, "attack_weights must be used inside held_effective_weights"
            layer._held = layer._held.detach().to(dtype or layer._held.dtype)
        with sparse_attack(model) as sparse:
            for layer in layers:
                if not sparse and layer._held is not None:
                    layer._sparse = sparse_convolution(layer._held, stride=layer.stride, padding=layer.padding)
            yield
    finally:
        for layer, weight in zip(layers, held, strict=True):
            object.__setattr__(layer, "_held", weight)
            layer._sparse = None
