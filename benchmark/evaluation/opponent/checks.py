"""Attacks and checks for networks that were made to mislead the usual attacks, on images that survived all of these.

The gradients of such a network may all be true, and lead nowhere. Two attacks do not depend on them: BPDA through leaky
ReLUs follows what inactive units hide, and RayS sees nothing but the predicted class. A network that withstands the
first by hiding its gradients better falls to the second. What they break counts as broken.
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

FIRST_IMAGES = PROBE_IMAGES // 2  # that RayS attacks; the others only if one of these falls, which is rare
# What AutoAttack left over falls to neither: honest networks lose at most 1 or 2 in 64 images.
NEWLY_BROKEN = Limits(suspect=0.02, fail=0.1)


@dataclass(frozen=True)
class OpponentResult:
    """The checks, and what the attacks broke."""

    checks: list[Check]
    right: Tensor  # (N,) bool on the CPU: not broken by these attacks, which met the first survivors only
    adversarial: Tensor  # (K, C, H, W) float32 on the CPU, images found
    broken: Tensor  # (K,) int64, their places


def leaky_bpda_of(broken: int, attacked: int) -> Check:
    """Judge how many images that survived everything BPDA through leaky ReLUs breaks."""
    return judge_share(
        LEAKY,
        broken,
        attacked,
        NEWLY_BROKEN,
        found="that survived everything fall to PGD through leaky ReLUs (BPDA)",
        advice="inactive units hide the gradient that matters: report the accuracy under this attack, and look for "
        "plateaus",
    )


def hard_label_attacked(broken: int, left: int) -> int:
    """Return how many images RayS attacks of those that leaky BPDA leaves: all, once one of the first few falls."""
    return left if broken else min(left, FIRST_IMAGES)


def hard_label_of(broken: int, attacked: int) -> Check:
    """Judge how many images that survived everything, leaky BPDA included, RayS breaks."""
    return judge_share(
        HARD_LABEL,
        broken,
        attacked,
        NEWLY_BROKEN,
        found="that survived everything fall to RayS, which sees the predicted class alone",
        advice="the logits mislead every attack that reads them: report the accuracy under this attack, and look for "
        "what hides the way",
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
    """Attack at most `PROBE_IMAGES` of the images that survived every other attack, and judge what falls.

    The network and torch's random generators are afterwards as they were.

    Args:
        network: that was evaluated, on the device of `data`.
        data: the N evaluated images.
        verdicts: attack -> (N,) bool on the CPU, "clean" among them.
        epsilon: radius of the Linf ball, in (0, 1) pixels.
        seed: of every random draw.
        compute: how many images go through the network at once.
        report: receives a line for each attack, and within long ones.
        journal: folder for finished attacks, which are not run again; None keeps none.
    """
    left = torch.stack(list(verdicts.values())).all(0).nonzero().flatten()[:PROBE_IMAGES]
    broken, adversarial = list[Tensor](), list[Tensor]()

    def attack(name: str, places: Tensor) -> int:
        nonlocal left
        found = opponent_attacks(
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
        broken.append(places[found.broken])
        adversarial.append(found.adversarial[found.broken])
        left = left[~torch.isin(left, broken[-1])]
        return int(found.broken.sum())

    def leaky() -> Check:
        count = len(left)
        return leaky_bpda_of(attack(LEAKY, left), count)

    def hard_label() -> Check:
        count = len(left)
        first, others = left.split([min(count, FIRST_IMAGES), max(0, count - FIRST_IMAGES)])
        fallen = attack(HARD_LABEL, first)
        if fallen:
            fallen += attack(HARD_LABEL, others)
        return hard_label_of(fallen, hard_label_attacked(fallen, count))

    with left_as_found(network), own_randomness(data.labels.device, seed):
        checks = [guarded(LEAKY, leaky), guarded(HARD_LABEL, hard_label)]
        chosen = verdicts["clean"].nonzero().flatten()[:PROBE_IMAGES]
        images, labels = as_float_images(data.images[chosen]), data.labels[chosen]
        model = Attackable(network).eval()
        checks.append(guarded("straight_way", lambda: straight_way(model, images, labels)))
    for check in checks:
        if check.verdict in ("suspect", "fail"):
            report(f"health     {check.verdict}: {check.name}: {check.reason}")
    right, places = torch.ones(len(data), dtype=torch.bool), torch.cat([left[:0], *broken])
    right[places] = False
    return OpponentResult(checks, right, torch.cat([as_float_images(data.images[:0]).cpu(), *adversarial]), places)
