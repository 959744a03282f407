"""The checks of gradient health that attack, made anew on images that the verifier draws, as many as fit the time.

Each is made on the first images of a kind, as in the evaluation; the draw is one of these.
"""

from __future__ import annotations

import numpy as np

from benchmark.evaluation.attack_checks import STEP_FACTOR, UNBOUNDED_STEPS
from benchmark.evaluation.probes import PROBE_IMAGES
from benchmark.evaluation.verdict import Check
from benchmark.results.evaluation import CheckPart
from benchmark.submission.doubts import CHANCE
from benchmark.submission.measuring import SHARE_TOLERANCE, health_of
from benchmark.submission.replayed import Replay, computing

# The images that a check looks at: right under this. "robust" is under every attack of the protocol.
POOLS = {"logit_scale": "robust", "more_steps": "pgd", "unbounded": "clean"}
LEAST = 4  # images, whatever time there is
SCALES, RESTARTS = 3, 2  # of logit_scale and more_steps


def check_slow_health(replay: Replay) -> tuple[list[str], str]:
    """Make the checks anew; return reasons and what was done."""
    reasons, notes = list[str](), list[str]()
    stated = {check.name: check for check in replay.claim.evaluation.health}
    steps = replay.claim.evaluation.pgd.steps
    costs = {
        "logit_scale": 2 * (steps + 1) * SCALES,
        "more_steps": 2 * (STEP_FACTOR * steps + 1) * RESTARTS,
        "unbounded": 2 * (UNBOUNDED_STEPS + 1),
    }
    for name, kind in POOLS.items():
        pool = replay.claim.measured(kind).nonzero()[0].tolist()[:PROBE_IMAGES]
        if pool and (too_long := replay.too_long(name, costs[name], replay.time_of)):
            reasons += too_long
            continue
        places = replay.part(name, pool, costs[name], LEAST)
        if not places:
            continue
        if stated[name].verdict == "not run":
            reasons.append(f"{name}: the record says not run, but there are images to run it on")
            continue
        with computing(replay.threads):
            (check,) = health_of(replay.claim, replay.network, replay.attacked, np.array(places), [name])
        reasons += _against(check, stated[name], len(places), whole=len(places) == len(pool))
        notes.append(f"{name} on {len(places)} of {len(pool)}")
    return reasons, ", ".join(notes)


def _against(measured: Check, stated: CheckPart, count: int, *, whole: bool) -> list[str]:
    """Return the reason against a stated check: a worse verdict, or a share that chance does not explain."""
    from scipy.stats import binom  # here, because it takes a second to import

    name, share, claimed = measured.name, measured.value, stated.value
    if measured.verdict == "fail" and stated.verdict != "fail":
        return [f"{name}: the record says {stated.verdict}, measured fail: {measured.reason}"]
    if share is None or claimed is None:
        return [] if share == claimed else [f"{name}: the record says {claimed}, measured {share}"]
    if whole:
        differs = abs(share - claimed) > SHARE_TOLERANCE or measured.verdict != stated.verdict
    else:
        low, high = max(0.0, claimed - SHARE_TOLERANCE), min(1.0, claimed + SHARE_TOLERANCE)
        seen = round(share * count)
        differs = binom.sf(seen - 1, count, high) < CHANCE or binom.cdf(seen, count, low) < CHANCE
    return [f"{name}: the record says {claimed}, measured {share} on {count} images"] if differs else []
