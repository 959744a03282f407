"""The checks of a claim that need its network and its test images: clean verdicts, gradient health, and the attacks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from benchmark.data.load import Images
from benchmark.submission.claim import Claim
from benchmark.submission.measuring import (
    check_clean,
    check_health,
    check_wide,
    measure_health,
    same_machine,
    use_threads_of,
)
from benchmark.submission.replay import Replay, check_autoattack, check_pgd
from benchmark.submission.report import Report

HEALTH_SHARE = 3  # times the seconds of an attack, for the one check of gradient health that takes long


@dataclass(frozen=True)
class Effort:
    """How much is attacked again."""

    seconds: float  # for each of PGD and AutoAttack, by estimate
    draw: int  # seed of the random parts


def check_clean_images(claim: Claim, network: nn.Module, images: Images, report: Report) -> None:
    """Check that the images are those of the claim, and every verdict on a clean one.

    Raises:
        Refused: if the images are others.
    """
    if claim.evaluation.wide is not None:
        report.note("wide", check_wide(claim, images), f"PGD ran on {len(images)} test images")
        report.stop_if_refused()
    note = f"all {len(images)} verdicts are the artifact's"
    report.note("clean", check_clean(claim, network, images), note)


def check_attacks(claim: Claim, network: nn.Module, images: Images, effort: Effort, report: Report) -> None:
    """Measure gradient health and the attacks again.

    Args:
        claim: what is to be borne out.
        network: that it is about, as `prepare` returns it.
        images: all that the claim has verdicts on, in order.
        effort: how much is attacked again.
        report: receives the outcome.

    Raises:
        Refused: if a reason was found that makes the dearer attacks pointless.
    """
    enough = use_threads_of(claim)
    protocol_images = images.first(claim.evaluation.n_images)
    measured = measure_health(claim, network, protocol_images, HEALTH_SHARE * effort.seconds)
    exact = enough and same_machine(claim, measured)
    report.note("health", check_health(claim, measured), f"{', '.join(check.name for check in measured)}")
    replay = Replay(claim, network, images, exact, effort.seconds, effort.draw)
    report.note("pgd", *check_pgd(replay))
    report.stop_if_refused()
    report.note("autoattack", *check_autoattack(replay, report.say))
    report.stop_if_refused()
