"""Whether a second measurement of a record's network agrees with the record, by exact binomial bounds."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.results.statistics import binomial_bound
from benchmark.results.verdicts import Verdicts

CONFIDENCE = 0.99
# Shares of images whose verdict may flip although nothing is wrong. Clean: rounding on another machine. Attacks: other
# random draws, because a subset of the images makes other batches.
CLEAN_FLIPS = 0.002
ATTACK_FLIPS = 0.02


@dataclass(frozen=True)
class Agreement:
    """One attack's verdicts in the record against those measured again on the same images."""

    name: str
    claimed: int  # correct images, by the record
    measured: int  # correct images, measured again
    n: int
    lost: int  # correct in the record, wrong now
    gained: int  # wrong in the record, correct now
    allowed: int  # flips that chance explains, at the 99% level
    reason: str  # why they do not agree; empty if they do


def agreement(name: str, claimed: Verdicts, measured: Verdicts) -> Agreement:
    """Compare verdicts image by image.

    Two exact binomial tests at the 1% level: the number of flips against the share that chance explains, and their
    direction, since an inflated claim loses images and gains none.

    Args:
        name: "clean", or the attack's name.
        claimed: (n,) verdicts of the record on the first n of its images.
        measured: (n,) verdicts measured again.
    """
    from scipy.stats import binom  # here, because it takes a second to import

    n = len(claimed)
    lost, gained = int((claimed & ~measured).sum()), int((measured & ~claimed).sum())
    allowed = int(binom.ppf(CONFIDENCE, n, CLEAN_FLIPS if name == "clean" else ATTACK_FLIPS))
    reason = ""
    if lost + gained > allowed:
        reason = f"{lost + gained} of {n} verdicts differ, chance explains {allowed}"
    elif lost and binom.sf(lost - 1, lost + gained, 0.5) < 1 - CONFIDENCE:
        reason = f"{lost} images that the record counts are lost and only {gained} gained"
    return Agreement(name, int(claimed.sum()), int(measured.sum()), n, lost, gained, allowed, reason)


def headline_reason(accuracy: float, measured: int, n: int) -> str:
    """Return why n images measured again contradict a record's accuracy over all its images; empty if they do not.

    The claim must lie in the exact (Clopper-Pearson) 99% interval of these n images.
    """
    low, high = binomial_bound(measured, n, CONFIDENCE)
    if low <= accuracy <= high:
        return ""
    return (
        f"the record claims {100 * accuracy:.2f}, but {measured} of {n} images are classified correctly: "
        f"{100 * low:.2f} to {100 * high:.2f} with 99% confidence"
    )
