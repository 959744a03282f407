"""Chooses the device and the number of threads, and recognises out-of-memory errors."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Literal

import torch

from benchmark.errors import UserError

CORES_PER_JOB = 2

# Multiply-adds of a pass over one batch, which take a core a hundredth of a second. For shorter passes, threads gain at
# most a quarter on an idle machine, and on a busy one they wait for each other several times as long as they compute.
SHORT_PASS = 100_000_000

# In messages of failed allocations that torch raises as plain RuntimeError: its CPU allocator has no error class for
# them, and a GPU's libraries and driver bypass torch's allocator.
OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def jobs_and_threads(device: str, jobs: int | None = None, *, gpus_per_job: int = 1) -> tuple[int, int]:
    """Return how many experiments `run` runs in parallel on a device, and the torch threads of each.

    Args:
        device: cpu or cuda.
        jobs: number of experiments; None for the default of the device.
        gpus_per_job: that train one network together.
    """
    cores = os.cpu_count() or 1
    if jobs is None and device == "cuda":
        jobs = max(1, len(visible_gpus()) // gpus_per_job)
    jobs = jobs or max(min(2, cores), cores // CORES_PER_JOB)
    return jobs, max(1, cores // jobs)


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()][: torch.cuda.device_count()]
    return [str(number) for number in range(torch.cuda.device_count())]


def threads_for(multiply_adds: int, most: int) -> int:
    """Return the threads for a pass of `multiply_adds`: one if it is short, else `most`.

    Depends on nothing else: float sums depend on the number of threads, so a resumed computation must keep it.
    """
    return 1 if multiply_adds < SHORT_PASS else most


def out_of_memory(error: BaseException) -> bool:
    """Return whether an exception is a failed allocation."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in OUT_OF_MEMORY)


def choose_device(name: str) -> Literal["cpu", "cuda"]:
    """Return the device for `--device`; auto is the GPU if torch finds one.

    Raises:
        UserError: for another name, or for cuda if there is no GPU.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if available else "cpu"
    if name == "cuda" and not available:
        raise UserError("--device cuda: torch finds no CUDA device; use --device cpu or auto")
    if name == "cuda":
        return "cuda"
    if name == "cpu":
        return "cpu"
    raise UserError(f"--device takes auto, cpu or cuda; got {name!r}")


def measuring_device(device: torch.device | str) -> torch.device:
    """Return the torch device for `device`, a name such as "cuda:1" or a `torch.device`.

    Raises:
        UserError: for other kinds of devices, or for a GPU that does not exist.
    """
    resolved: torch.device | None = None
    with suppress(RuntimeError, TypeError):
        resolved = torch.device(choose_device("auto") if device == "auto" else device)
    if resolved is None or resolved.type not in ("cpu", "cuda"):
        raise UserError(f"device takes 'cpu', 'cuda', 'cuda:<number>' or 'auto'; got {str(device)!r}")
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {str(device)!r}: torch finds no CUDA device; use device='cpu' or 'auto'")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UserError(f"device {str(device)!r}: this machine has the CUDA devices 0 to {last}; use one of them")
    return resolved
