"""Attacks and checks for networks that were built to mislead the usual attacks, on images that survived all of those.

The gradients of such a network may all be correct and still lead nowhere. Two attacks do not depend on them: BPDA
through leaky ReLUs follows what inactive units hide, and RayS sees only the predicted class. A network that resists the
first by hiding its gradients better is broken by the second. Images that they break count as broken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.data.load import Images
from benchmark.evaluation.accuracy import as_float_images
from benchmark.evaluation.fast import ComputeBatch
from benchmark.evaluation.health.health import guarded
from benchmark.evaluation.health.verdict import Check, Limits, judge_share
from benchmark.evaluation.opponent.attacks import HARD_LABEL, LEAKY, opponent_attacks, stages_of
from benchmark.evaluation.opponent.straight_way import straight_way
from benchmark.evaluation.probes import PROBE_IMAGES, Attackable, own_randomness
from benchmark.evaluation.restored import left_as_found

FIRST_IMAGES = PROBE_IMAGES // 2  # that RayS attacks; the others only if it breaks one of these, which is rare
# Neither breaks what survived AutoAttack on honest networks: these lose at most 1 or 2 of 64 images.
NEWLY_BROKEN = Limits(suspect=0.02, fail=0.1)


@dataclass(frozen=True)
class OpponentResult:
    """The checks, and the images that the attacks broke."""

    checks: list[Check]
    right: Tensor  # (N,) bool on the CPU: not broken by these attacks, which only attack the first survivors
    adversarial: Tensor  # (K, C, H, W) float32 on the CPU
    broken: Tensor  # (K,) int64, places of the adversarial images


def leaky_bpda_of(broken: int, total: int) -> Check:
    """Judge the number of survivors of all other attacks that BPDA through leaky ReLUs breaks."""
    return judge_share(
        LEAKY,
        broken,
        total,
        NEWLY_BROKEN,
        observation="that survived all attacks are broken by PGD through leaky ReLUs (BPDA)",
        advice="inactive units hide the gradient that matters: report the accuracy under this attack, and look for "
        "plateaus",
    )


def hard_label_attacked(broken: int, survivors: int) -> int:
    """Return how many survivors of leaky BPDA are attacked by RayS: all, if it breaks one of the first few."""
    return survivors if broken else min(survivors, FIRST_IMAGES)


def hard_label_of(broken: int, total: int) -> Check:
    """Judge the number of survivors of all other attacks, leaky BPDA included, that RayS breaks."""
    return judge_share(
        HARD_LABEL,
        broken,
        total,
        NEWLY_BROKEN,
        observation="that survived all attacks are broken by RayS, which sees only the predicted class",
        advice="the logits mislead every attack that reads them: report the accuracy under this attack, and find out "
        "how the network misleads the others",
    )


def opponent_checks(
    network: nn.Module,
    data: Images,
    verdicts: Mapping[str, Tensor],
    *,
    epsilon: float,
    seed: int,
    compute: ComputeBatch,
    report: Callable[[str], None],
    journal: Path | None = None,
) -> OpponentResult:
    """Attack at most `PROBE_IMAGES` of the images that survived every other attack, and judge how many break.

    The network and torch's random generators are restored afterwards.

    Args:
        network: the evaluated one, on the device of `data`.
        data: the N evaluated images.
        verdicts: attack -> (N,) bool on the CPU, "clean" among them.
        epsilon: radius of the Linf ball, in (0, 1) pixels.
        seed: of every random draw.
        compute: how many images go through the network at once.
        report: receives a line for each attack, and more within long ones.
        journal: folder for finished attacks, which do not run again; None keeps none.
    """
    survivors = torch.stack(list(verdicts.values())).all(0).nonzero().flatten()[:PROBE_IMAGES]
    broken, adversarial = list[Tensor](), list[Tensor]()

    def attack(name: str, places: Tensor) -> int:
        nonlocal survivors
        outcome = opponent_attacks(
            network,
            data,
            places,
            epsilon=epsilon,
            seed=seed,
            compute=compute,
            report=report,
            stages=stages_of(name),
            journal=journal,
        )
        broken.append(places[outcome.broken])
        adversarial.append(outcome.adversarial[outcome.broken])
        survivors = survivors[~torch.isin(survivors, broken[-1])]
        return int(outcome.broken.sum())

    def leaky() -> Check:
        total = len(survivors)
        return leaky_bpda_of(attack(LEAKY, survivors), total)

    def hard_label() -> Check:
        total = len(survivors)
        first, others = survivors.split([min(total, FIRST_IMAGES), max(0, total - FIRST_IMAGES)])
        count = attack(HARD_LABEL, first)
        if count:
            count += attack(HARD_LABEL, others)
        return hard_label_of(count, hard_label_attacked(count, total))

    with left_as_found(network), own_randomness(data.labels.device, seed):
        checks = [guarded(LEAKY, leaky), guarded(HARD_LABEL, hard_label)]
        correct = verdicts["clean"].nonzero().flatten()[:PROBE_IMAGES]
        images, labels = as_float_images(data.images[correct]), data.labels[correct]
        model = Attackable(network).eval()
        checks.append(guarded("straight_way", lambda: straight_way(model, images, labels)))
    for check in checks:
        if check.verdict in ("suspect", "fail"):
            report(f"health     {check.verdict}: {check.name}: {check.reason}")
    right, places = torch.ones(len(data), dtype=torch.bool), torch.cat([survivors[:0], *broken])
    right[places] = False
    return OpponentResult(checks, right, torch.cat([as_float_images(data.images[:0]).cpu(), *adversarial]), places)
