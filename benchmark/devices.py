"""Which device a command runs on, and how the user names it."""

from __future__ import annotations

from typing import Literal

import torch

from benchmark.errors import UserError


def choose_device(name: str) -> Literal["cpu", "cuda"]:
    """Return the device for `--device`: auto takes the GPU if torch sees one.

    Raises:
        UserError: for another name, or for cuda where there is none.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if available else "cpu"
    if name == "cuda" and not available:
        raise UserError("--device cuda: this torch sees no CUDA device; use --device cpu or auto")
    if name == "cuda":
        return "cuda"
    if name == "cpu":
        return "cpu"
    raise UserError(f"--device takes auto, cpu or cuda; got {name!r}")
