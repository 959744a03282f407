"""Attacks that no gradient misleads, run by the verifier on images it draws: no submission can avoid them.

A network made to mislead the usual attacks is refused whatever its record says, with or without the later checks. So is
a record whose own verdicts of these attacks were edited.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from benchmark.evaluation.evaluate import PGD_SEED
from benchmark.evaluation.fast import ComputeBatch
from benchmark.evaluation.health.verdict import Check
from benchmark.evaluation.opponent.attacks import COSTS, HARD_LABEL, LEAKY, opponent_attacks, stages_of
from benchmark.evaluation.opponent.checks import FIRST_IMAGES, hard_label_of, leaky_bpda_of
from benchmark.evaluation.probes import PROBE_IMAGES
from benchmark.results.evaluation import OPPONENT
from benchmark.submission.doubts import doubted, fallen, far_more
from benchmark.submission.replayed import Replay, computing

LEAST = {LEAKY: 16, HARD_LABEL: 4}  # images, however little time there is
SMALLER = 5  # balls, each a hundredth smaller: these attacks draw nothing, so other seeds would repeat them
_JUDGES = {LEAKY: leaky_bpda_of, HARD_LABEL: hard_label_of}


def check_opponent(replay: Replay, say: Callable[[str], None]) -> tuple[list[str], str]:
    """Attack drawn images that count as robust; return reasons and what was done."""
    reasons, notes, robust = list[str](), list[str](), replay.robust
    stated = {check.name: check.verdict for check in replay.claim.evaluation.health}
    for name in (LEAKY, HARD_LABEL):
        if not robust:
            notes.append(f"{name} on 0 images counted as robust")
            continue
        places = replay.part(name, robust, COSTS[name], LEAST[name], most=PROBE_IMAGES)
        lost = fallen(places, _attack(replay, name, places, 1.0, say))
        check = _JUDGES[name](len(lost), len(places))
        while check.verdict in ("suspect", "fail") and len(places) < min(len(robust), PROBE_IMAGES):
            # A few of a few images prove little: more images are worth more time than was allowed.
            count = min(len(places), PROBE_IMAGES - len(places))
            more = [place for place in replay.drawn(name, robust) if place not in places][:count]
            lost += fallen(more, _attack(replay, name, more, 1.0, say))
            places += more
            check = _JUDGES[name](len(lost), len(places))
        notes.append(
            f"{name} on {len(places)} of {len(robust)} images counted as robust, {len(lost)} broken"
            + replay.shown(places, robust)
        )
        reasons += _against(check, stated.get(name, "pass")) + _edited(replay, name, lost, len(places), say)
        robust = [place for place in robust if place not in lost]
    return reasons, ", ".join(notes)


def unbroken_by_opponent(replay: Replay, say: Callable[[str], None]) -> list[str]:
    """Return a reason if too many images that these attacks broke by the claim survive both; otherwise empty.

    They lower a row's best-known accuracy, which an unproven claim must not do to another's row.
    """
    places = (~replay.claim.right(OPPONENT)).nonzero()[0].tolist()
    left = places
    for name in (LEAKY, HARD_LABEL):
        broken = fallen(left, _attack(replay, name, left, 1.0, say))
        left = [place for place in left if place not in broken]
    reason = far_more("opponent", len(left), len(places), "broken are robust")
    return [reason] if reason else []


def _against(check: Check, stated: str) -> list[str]:
    """Return the reason against a network that fails a check, unless its record says so itself."""
    if check.verdict != "fail" or stated == "fail":
        return []
    return [f"{check.name}: {check.reason}"]


def _edited(replay: Replay, name: str, lost: Sequence[int], tried: int, say: Callable[[str], None]) -> list[str]:
    """Return the reason against images that the record says survived this very attack."""
    evaluation = replay.claim.evaluation
    if not evaluation.opposed or replay.claim.merged:  # each part attacked its own first images
        return []
    first = replay.claim.measured("robust").nonzero()[0][:PROBE_IMAGES]
    met = first[evaluation.right(OPPONENT)[first]].tolist()
    if name == HARD_LABEL:
        broken = next(check.value for check in evaluation.health if check.name == HARD_LABEL)
        met = met if broken else met[:FIRST_IMAGES]

    def again(doubtful: list[int], seed: int) -> list[bool]:
        return _attack(replay, name, doubtful, 1 - 0.01 * seed, say)

    return doubted(name, [place for place in lost if place in met], tried, again, seeds=SMALLER)


def _attack(replay: Replay, name: str, places: Sequence[int], shrink: float, say: Callable[[str], None]) -> list[bool]:
    """Return which images fall, in a ball of a share of the radius."""
    if not places:
        return []
    rows = replay.subset(places)
    with computing(replay.threads):
        result = opponent_attacks(
            replay.network,
            rows,
            torch.arange(len(places)),
            epsilon=shrink * replay.claim.epsilon,
            seed=PGD_SEED,
            compute=ComputeBatch(say),
            report=lambda line: None,
            stages=stages_of(name),
        )
    fell: list[bool] = result.broken.tolist()
    return fell
