"""Which device a command runs on and with how many threads, how the user names it, and when its memory is full."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Literal

import torch

from benchmark.errors import UserError

CORES_PER_JOB = 2

# Multiply-adds of a pass over one batch; a core needs a hundredth of a second for them. Below that threads gain a
# quarter at most on an idle machine, and on a busy one they make each other wait several times as long as they compute.
SHORT_PASS = 100_000_000

# In messages of failed allocations that torch raises as a plain RuntimeError: its CPU allocator has no class of its own
# for them, and the libraries and the driver of a GPU allocate beside torch's allocator.
OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def jobs_and_threads(device: str, jobs: int | None = None) -> tuple[int, int]:
    """Return how many experiments `run` keeps going side by side on a device, and the torch threads of each.

    Args:
        device: cpu or cuda.
        jobs: what the user asked for; None for as many as suit the device.
    """
    cores = os.cpu_count() or 1
    jobs = jobs or (1 if device == "cuda" else max(min(2, cores), cores // CORES_PER_JOB))
    return jobs, max(1, cores // jobs)


def threads_for(multiply_adds: int, most: int) -> int:
    """Return the threads for passes of so many multiply-adds: one for short passes, else `most`.

    It follows from the two numbers alone: float sums depend on it, so a resumed computation keeps it.
    """
    return 1 if multiply_adds < SHORT_PASS else most


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception is a failed allocation."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(known in str(error) for known in OUT_OF_MEMORY)


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


def measuring_device(device: torch.device | str) -> torch.device:
    """Return the device that is meant by `device` in Python: a name such as "cuda:1", or a `torch.device`.

    Raises:
        UserError: for other kinds of devices, or for a GPU that is not there.
    """
    place: torch.device | None = None
    with suppress(RuntimeError, TypeError):
        place = torch.device(choose_device("auto") if device == "auto" else device)
    if place is None or place.type not in ("cpu", "cuda"):
        raise UserError(f"device takes 'cpu', 'cuda', 'cuda:<number>' or 'auto'; got {str(device)!r}")
    if place.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {str(device)!r}: this torch sees no CUDA device; use device='cpu' or 'auto'")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UserError(f"device {str(device)!r}: this machine has the CUDA devices 0 to {last}; use one of them")
    return place
