"""Which machine this is, as far as times depend on it."""

from __future__ import annotations

import torch

from benchmark.planning.measured import Machine
from benchmark.runtime.devices import jobs_and_threads
from benchmark.runtime.provenance import device_name, git_state


def this_machine(device: torch.device) -> Machine:
    """Describe where this process computes."""
    jobs, threads = jobs_and_threads(device.type)
    return Machine(
        device=device.type,  # type: ignore[arg-type]  # `choose_device` knows no other
        name=device_name(device),
        threads=threads,
        jobs=jobs,
        torch=str(torch.__version__),
        commit=git_state()[0],
    )


def is_here(machine: Machine) -> bool:
    """Return whether `machine` is hardware like this."""
    if machine.device == "cuda" and not torch.cuda.is_available():
        return False
    return machine.name == device_name(torch.device(machine.device))


def threads_text(threads: int) -> str:
    """Write a number of threads.

    >>> threads_text(1), threads_text(2)
    ('1 thread', '2 threads')
    """
    return "1 thread" if threads == 1 else f"{threads} threads"
