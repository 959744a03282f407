"""The state of torch and of the random generators that a measurement needs, whatever the caller has set."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

from benchmark.evaluation.probes import own_randomness

AUTOCAST = ("cpu", "cuda")


@contextmanager
def plain_float32(device: torch.device, seed: int) -> Iterator[None]:
    """Compute inside the block as the boards do; then restore torch and all random generators.

    Inside, float32 is neither rounded to TF32 nor cast by an outer autocast, the default type is float32, the default
    device is the CPU, gradients can be computed even if the caller has switched them off, and random numbers are those
    of `seed`.
    """
    default_type, python, numpy = torch.get_default_dtype(), random.getstate(), np.random.get_state()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(own_randomness(device, seed))
        stack.enter_context(_exact_products())
        for kind in AUTOCAST:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        try:
            torch.set_default_dtype(torch.float32)
            random.seed(seed)
            np.random.seed(seed)
            yield
        finally:
            torch.set_default_dtype(default_type)
            random.setstate(python)
            np.random.set_state(numpy)


@contextmanager
def _exact_products() -> Iterator[None]:
    """Forbid reduced precision in float32 products inside the block; then restore the caller's settings."""
    kinds = _precisions()
    newer = [kind.fp32_precision for kind in kinds]
    try:
        older: tuple[str, bool] | None = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:  # the caller has used the newer settings, which the older ones cannot express
        older = None
    try:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        for kind in kinds:
            kind.fp32_precision = "ieee"
        yield
    finally:
        if older is not None:
            torch.set_float32_matmul_precision(older[0])
            torch.backends.cudnn.allow_tf32 = older[1]
        for kind, precision in zip(kinds, newer, strict=True):
            kind.fp32_precision = precision


def _precisions() -> list[Any]:
    """Return the parts of torch that have their own precision setting; none before torch 2.9."""
    backends = torch.backends
    parts = [
        *(backends.cuda.matmul, getattr(backends.cudnn, "conv", None), getattr(backends.cudnn, "rnn", None)),
        *(getattr(backends.mkldnn, name, None) for name in ("matmul", "conv", "rnn")),
    ]
    return [part for part in parts if _has_precision(part)]


def _has_precision(part: Any) -> bool:
    try:
        return bool(part.fp32_precision)
    except (AttributeError, AssertionError):
        return False
