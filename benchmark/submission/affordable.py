"""How much of an evaluation fits a time on this machine: attacks on all images, and how many images for the others."""

from __future__ import annotations

import time
from bisect import bisect
from collections.abc import Callable, Sequence

from torch import nn

from benchmark.attacks import summed_cross_entropy
from benchmark.data.load import Images
from benchmark.evaluation.accuracy import as_float_images, frozen_eval
from benchmark.evaluation.probes import input_gradient
from benchmark.evaluation.progress import attack_costs
from benchmark.results.protocol import STANDARD_TARGETS
from benchmark.submission.claim import Claim

# Of the time for all repeated attacks and checks: cheap ones on many images before expensive ones on few.
SHARES = {
    "short": 0.14,
    "pgd": 0.1,
    "apgd-ce": 0.12,
    "apgd-t": 0.14,
    "fab-t": 0.08,
    "square": 0.1,
    "leaky_bpda": 0.08,
    "hard_label": 0.12,
    "logit_scale": 0.04,
    "more_steps": 0.04,
    "unbounded": 0.04,
}
EARLY = 0.3  # of an attack's cost, for an image that falls to it
MEASURED = 64  # images of the longer timed pass, at most

PassTime = Callable[[int], float]  # from a number of images to the seconds of a forward-equivalent


class Budget:
    """The time for repeated attacks: a share for each, plus what those before it did not need."""

    def __init__(self, seconds: float) -> None:
        """Start with `seconds` for all of SHARES together, by estimate."""
        self.seconds, self._left_over, self._allowed = seconds, 0.0, 0.0

    def allowed(self, name: str) -> float:
        """Return the seconds for one of SHARES."""
        self._allowed = SHARES[name] * self.seconds + self._left_over
        return self._allowed

    def spent(self, seconds: float) -> None:
        """Record the estimated time of what was allowed last; the rest goes to what follows."""
        self._left_over = max(0.0, self._allowed - seconds)


def whole_time(claim: Claim, name: str, time_of: PassTime) -> float:
    """Return the seconds of an attack of the cascade on all images that it met; the verdicts say which it broke."""
    met, survived = int(claim.met(name).sum()), int(claim.right(name).sum())
    return equivalents(claim)[name] * (time_of(survived) + EARLY * time_of(met - survived))


def fitting_images(most: int, passes: int, time_of: PassTime, seconds: float) -> int:
    """Return how many images, at most `most`, fit the time with `passes` passes each; 0 if none do."""
    return bisect(range(1, most + 1), seconds, key=lambda count: passes * time_of(count))


def equivalents(claim: Claim) -> dict[str, int]:
    """Return the forward-equivalents of each attack for an image that survives it."""
    targets = min(STANDARD_TARGETS, claim.num_classes - 1)
    return {name: cost.passes + cost.gradients for name, cost in attack_costs(targets).items()}


def pass_time(network: nn.Module, images: Images, batch_size: int) -> PassTime:
    """Time passes of one image and of many, and interpolate linearly between and beyond them."""
    size = min(len(images), MEASURED)
    one, batch = (pass_seconds(network, images.first(count)) for count in (1, size))
    slope = max(batch - one, 0.0) / max(size - 1, 1)

    def of_batch(count: int) -> float:
        return one + slope * (count - 1) if count else 0.0

    return lambda count: count // batch_size * of_batch(batch_size) + of_batch(count % batch_size)


def pass_seconds(network: nn.Module, images: Images, *, choose: Callable[[Sequence[float]], float] = min) -> float:
    """Return the seconds of a forward-equivalent of all images at once: half a pass forward and back, timed thrice."""
    pixels, times = as_float_images(images.images), list[float]()
    with frozen_eval(network):
        for _ in range(3):
            started = time.perf_counter()
            input_gradient(network, pixels, images.labels, summed_cross_entropy)
            times.append((time.perf_counter() - started) / 2)
    return choose(times)
