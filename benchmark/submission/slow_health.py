"""The checks of gradient health that attack, repeated on images that the verifier draws, as many as fit the time.

As in the evaluation, each looks at the first images of a kind; the images are drawn from these.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmark.evaluation.health.attack_checks import RESTARTS, SCALES, STEP_FACTOR, UNBOUNDED_STEPS
from benchmark.evaluation.health.verdict import Check
from benchmark.evaluation.probes import PROBE_IMAGES
from benchmark.results.evaluation import HEALTH_ORDER, CheckPart, worst_verdict
from benchmark.submission.doubts import CHANCE, allowed_differences
from benchmark.submission.measuring import SHARE_TOLERANCE, health_of
from benchmark.submission.replayed import Replay, computing

# A check looks at the images that survive this; "robust": under every attack of the protocol.
POOLS = {"logit_scale": "robust", "more_steps": "pgd", "unbounded": "clean"}
LEAST = 4  # images, however little time there is


def check_slow_health(replay: Replay) -> tuple[list[str], str]:
    """Repeat the checks; return reasons and what was done."""
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
        check = _made(replay, name, places)
        while _is_worse(check, stated[name]) and len(places) < len(pool):
            # A few of a few images prove little: more images are worth more time than was allowed.
            places = sorted(replay.drawn(name, pool)[: 2 * len(places)])
            check = _made(replay, name, places)
        reasons += _against(check, stated[name], len(places), whole=len(places) == len(pool))
        notes.append(f"{name} on {len(places)} of {len(pool)}")
    return reasons, ", ".join(notes)


def _made(replay: Replay, name: str, places: Sequence[int]) -> Check:
    with computing(replay.threads):
        (check,) = health_of(replay.claim, replay.network, replay.attacked, np.array(places), [name])
    return check


def _is_worse(measured: Check, stated: CheckPart) -> bool:
    return measured.verdict in HEALTH_ORDER and worst_verdict([measured.verdict, stated.verdict]) != stated.verdict


def _against(measured: Check, stated: CheckPart, count: int, *, whole: bool) -> list[str]:
    """Return a reason if a stated check has a share of images that chance does not explain, or a wrong verdict.

    Args:
        measured: on `count` images.
        stated: in the record.
        count: number of images.
        whole: whether these are all images of the record's check, so that only rounding may change a result.
    """
    from scipy.stats import binom  # here, because it takes a second to import

    name, share, claimed = measured.name, measured.value, stated.value
    if share is None or claimed is None:
        differs = (share, measured.verdict) != (claimed, stated.verdict)
    elif whole:
        broken, said = round(share * count), round(claimed * count)
        differs = abs(broken - said) > allowed_differences(count) or (
            measured.verdict != stated.verdict and (measured.verdict == "fail" or broken == said)
        )
    else:
        low, high = max(0.0, claimed - SHARE_TOLERANCE), min(1.0, claimed + SHARE_TOLERANCE)
        broken = round(share * count)
        differs = binom.sf(broken - 1, count, high) < CHANCE or binom.cdf(broken, count, low) < CHANCE
    if not differs:
        return []
    number = "no number" if claimed is None else f"{claimed:g}"
    return [f"{name}: the record says {stated.verdict} with {number}, measured {measured.verdict}: {measured.reason}"]
