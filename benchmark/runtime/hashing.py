"""Hashes of tensors, for comparing weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of named tensors: names, types, shapes and bytes, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu()
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        value = value.to_dense().reshape(-1).contiguous()  # from any layout
        digest.update(value.view(torch.uint8).numpy().tobytes())  # numpy has no bfloat16
    return digest.hexdigest()
