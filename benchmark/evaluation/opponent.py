"""Temporary stand-in for the hard-label attack and the checks that use it: random noise. Replaced at the merge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.attacks import project
from benchmark.data.load import Images
from benchmark.evaluation.accuracy import as_float_images, frozen_eval, misclassified
from benchmark.evaluation.probes import PROBE_IMAGES
from benchmark.evaluation.verdict import Check, Limits, judge_share
from benchmark.seeding import generator_for

TRIES = 8


@dataclass(frozen=True)
class OpponentResult:
    """The checks, and what the hard-label attack broke."""

    checks: list[Check]
    right: Tensor  # (N,) bool on the CPU: not broken by the hard-label attack
    adversarial: Tensor  # (K, C, H, W) images found
    broken: Tensor  # (K,) int64, their places


def hard_label_of(broken: int, attacked: int) -> Check:
    """Judge how many images that survived everything else the hard-label attack breaks."""
    return judge_share(
        "hard_label",
        broken,
        attacked,
        Limits(suspect=0.02, fail=0.1),
        found="that survived everything fall to an attack that sees labels only",
        advice="do not trust the gradients",
    )


@torch.no_grad()
def opponent_checks(
    network: nn.Module,
    data: Images,
    verdicts: Mapping[str, Tensor],
    *,
    num_classes: int,
    epsilon: float,
    seed: int,
    batch_size: int,
    report: Callable[[str], None],
) -> OpponentResult:
    """Try random signs of size epsilon on the first survivors."""
    survivors = torch.stack(list(verdicts.values())).all(0).nonzero().flatten()[:PROBE_IMAGES]
    images = as_float_images(data.images[survivors])
    generator = generator_for(torch.device("cpu"), "opponent", seed)
    adversarial, wrong = images.clone(), torch.zeros(len(images), dtype=torch.bool)
    with frozen_eval(network):
        for _ in range(TRIES if len(images) else 0):
            signs = torch.rand(images.shape, generator=generator).sub(0.5).sign().to(images.device)
            tried = project(images + epsilon * signs, images, epsilon)
            newly = misclassified(network(tried), data.labels[survivors]).cpu() & ~wrong
            adversarial[newly] = tried[newly]
            wrong |= newly
    right = torch.ones(len(data), dtype=torch.bool)
    right[survivors[wrong]] = False
    checks = [
        hard_label_of(int(wrong.sum()), len(images)),
        Check("straight_way", 0.0, "pass", f"The margin left is 0 of {num_classes} classes."),
    ]
    report(f"hard-label {int(wrong.sum())} of {len(images)} images broken")
    return OpponentResult(checks, right, adversarial[wrong], survivors[wrong])
