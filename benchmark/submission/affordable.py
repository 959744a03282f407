"""How much of an evaluation fits a time on this machine: which attacks on all images, or how many images."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import nn

from benchmark.attacks import summed_cross_entropy
from benchmark.data.load import Images
from benchmark.evaluation.accuracy import as_float_images, frozen_eval
from benchmark.evaluation.probes import input_gradient
from benchmark.evaluation.progress import attack_costs
from benchmark.results.evaluation import CASCADE
from benchmark.results.protocol import STANDARD_TARGETS
from benchmark.submission.claim import Claim

QUICK = CASCADE[:2]  # APGD-CE and APGD-T find nearly everything that AutoAttack finds
EARLY = 0.3  # of an attack's cost, for an image that falls to it
MEASURED = 64  # images of the longer timed pass, at most

PassTime = Callable[[int], float]  # from a number of images to the seconds of a forward-equivalent


def fitting_attacks(claim: Claim, network: nn.Module, images: Images, seconds: float) -> tuple[str, ...]:
    """Return the longest beginning of the cascade that fits the time on all images; empty if both APGD do not.

    The claimed verdicts say how many images each attack meets and breaks.
    """
    time_of, costs = pass_time(network, images, claim.batch_size), equivalents(claim)
    before, spent, fitting = int(claim.right("clean").sum()), 0.0, 0
    for number, name in enumerate(CASCADE, 1):
        after = int(claim.right(name).sum())
        spent += costs[name] * (time_of(after) + EARLY * time_of(before - after))
        if spent <= seconds:
            fitting = number
        before = after
    return CASCADE[:fitting] if fitting >= len(QUICK) else ()


def fitting_images(most: int, passes: int, time_of: PassTime, seconds: float) -> int:
    """Return how many images, `most` or a half, a quarter, ... of them, can be passed so often; 0 if none can."""
    halves = (most >> shift for shift in range(most.bit_length()))
    return next((count for count in halves if passes * time_of(count) <= seconds), 0)


def equivalents(claim: Claim) -> dict[str, int]:
    """Return the forward-equivalents of each attack for an image that survives it."""
    targets = min(STANDARD_TARGETS, claim.num_classes - 1)
    return {name: cost.passes + cost.gradients for name, cost in attack_costs(targets).items()}


def pass_time(network: nn.Module, images: Images, batch_size: int) -> PassTime:
    """Time passes of one image and of a batch, and return the straight line through them."""
    size = min(len(images), batch_size, MEASURED)
    seconds = []
    with frozen_eval(network):
        for count in (1, size):
            pixels, labels = as_float_images(images.images[:count]), images.labels[:count]
            times = []
            for _ in range(3):
                started = time.perf_counter()
                input_gradient(network, pixels, labels, summed_cross_entropy)
                times.append((time.perf_counter() - started) / 2)
            seconds.append(min(times))
    slope = max(seconds[1] - seconds[0], 0.0) / max(size - 1, 1)
    return lambda count: seconds[0] + slope * (count - 1) if count else 0.0
