"""The checks of a claim that need its network and its test images: clean verdicts, gradient health, and the attacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from benchmark.data.load import Images
from benchmark.review.sources import other_kernels
from benchmark.submission.affordable import Budget
from benchmark.submission.claim import Claim
from benchmark.submission.measuring import (
    check_clean,
    check_health,
    check_wide,
    measure_health,
    same_machine,
    use_threads_of,
)
from benchmark.submission.opponent import check_opponent
from benchmark.submission.replay import check_autoattack, check_pgd, check_short
from benchmark.submission.replayed import LEAST_PATIENCE, PATIENCE, Replay
from benchmark.submission.report import Report
from benchmark.submission.slow_health import check_slow_health

_CHECKS: dict[str, Callable[[Replay, Callable[[str], None]], tuple[list[str], str]]] = {
    "robust": lambda replay, say: check_short(replay),
    "pgd": lambda replay, say: check_pgd(replay),
    "opponent": check_opponent,
    "autoattack": check_autoattack,
    "attacked health": lambda replay, say: check_slow_health(replay),
}


@dataclass(frozen=True)
class Effort:
    """How much to attack again."""

    seconds: float  # for all repeated attacks, by estimate
    draw: int  # seed of the random parts


def check_clean_images(claim: Claim, network: nn.Module, images: Images, report: Report) -> None:
    """Check that the images are those of the claim, and every verdict on a clean image.

    Raises:
        Refused: if they are other images.
    """
    if claim.evaluation.wide is not None:
        report.note("wide", check_wide(claim, images), f"PGD ran on {len(images)} test images")
        report.stop_if_refused()
    note = f"all {len(images)} verdicts are the artifact's"
    report.note("clean", check_clean(claim, network, images), note)


def replay_of(claim: Claim, network: nn.Module, images: Images, effort: Effort, *, exact: bool = False) -> Replay:
    """Return what repeats the attacks; `exact`: this machine gives the claimed numbers to the last bit."""
    patience = max(LEAST_PATIENCE, PATIENCE * effort.seconds)
    return Replay(claim, network, images, exact, Budget(effort.seconds), effort.draw, patience)


def check_attacks(claim: Claim, network: nn.Module, images: Images, effort: Effort, report: Report) -> None:
    """Measure gradient health and the attacks again.

    Args:
        claim: what is to be confirmed.
        network: that it describes, as `prepare` returns it.
        images: all that the claim has verdicts on, in order.
        effort: how much to attack again.
        report: receives the outcome.

    Raises:
        Refused: if a check fails that makes the more expensive attacks pointless.
    """
    enough = use_threads_of(claim)
    measured = measure_health(claim, network, images.first(claim.evaluation.n_images))
    report.note("health", check_health(claim, measured), f"{', '.join(check.name for check in measured)}")
    exact = enough and claim.evaluation.autoattack.shards == 1 and same_machine(claim, measured)
    if exact and (note := other_kernels(claim.kernels, network)):
        report.say(f"note     {note}")
        exact = False
    replay = replay_of(claim, network, images, effort, exact=exact)
    for name, check in _CHECKS.items():
        report.note(name, *check(replay, report.say))
        report.stop_if_refused()
