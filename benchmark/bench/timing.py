"""Times callables on a device: warmed up first, and several in turn, so that a busy machine slows all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter
from typing import TypeVar

import torch

K = TypeVar("K", bound=str)
FEWEST, MOST = 2, 20  # rounds after the warm-up


def wait(device: torch.device) -> None:
    """Wait until a GPU has finished its work; a CPU has by then."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(step: Callable[[], object], device: torch.device) -> float:
    """Return the wall time of one call, the device's work included."""
    wait(device)
    started = perf_counter()
    step()
    wait(device)
    return perf_counter() - started


def rounds(
    steps: Mapping[K, Callable[[], object]], device: torch.device, *, budget: float, most: int = MOST
) -> dict[K, list[float]]:
    """Return the seconds of every timed call of each step, timed in turn: a, b, a, b, ...

    Args:
        steps: by name; each is called once before the clock counts, because memory is allocated then.
        device: where they compute.
        budget: seconds to spend on the timed rounds; FEWEST rounds are made even if they take longer.
        most: rounds, at most.
    """
    for step in steps.values():
        seconds_of(step, device)
    seconds: dict[K, list[float]] = {name: [] for name in steps}
    made = 0
    while made < FEWEST or (made < most and sum(map(sum, seconds.values())) < budget):
        for name, step in steps.items():
            seconds[name].append(seconds_of(step, device))
        made += 1
    return seconds


def medians(steps: Mapping[str, Callable[[], object]], device: torch.device, *, budget: float) -> dict[str, float]:
    """Return the median seconds of a call of each step, timed as by `rounds`."""
    return {name: median(values) for name, values in rounds(steps, device, budget=budget).items()}


def fastest(step: Callable[[], object], device: torch.device, *, budget: float) -> float:
    """Return the seconds of the fastest call: what the machine can do, whereas a median is what it usually does.

    Args:
        step: called once before the clock counts.
        device: where it computes.
        budget: seconds to spend; FEWEST calls are timed even if they take longer.
    """
    seconds_of(step, device)
    seconds: list[float] = []
    while len(seconds) < FEWEST or sum(seconds) < budget:
        seconds.append(seconds_of(step, device))
    return min(seconds)
