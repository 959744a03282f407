"""A method whose training and AutoAttack wait, without CPU time, while files exist in the folder that HOLD names.

Where HOLD is set, AutoAttack has a fraction of its steps, for as long as the process lives.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from benchmark.evaluation import autoattack
from methods.base import Phase
from methods.small_dense import SmallDense
from tests.short_attacks import short_attacks

HELD_STEP = 8  # of 3 in an epoch: the checkpoint has two epochs


def hold(what: str) -> None:
    while Path(os.environ["HOLD"], what).exists():
        time.sleep(0.2)


@dataclass(frozen=True)
class Held(SmallDense):
    """The small dense network."""

    name: ClassVar[str] = "held"

    def after_step(self, model: nn.Module, phase: Phase, step: int) -> None:
        if step == HELD_STEP:
            hold("training")
        super().after_step(model, phase, step)


def hold_attacks() -> None:
    short = short_attacks()
    short.__enter__()
    short_attack = autoattack.standard_attack

    def held_attack(*arguments: Any, **settings: Any) -> Any:
        adversary = short_attack(*arguments, **settings)
        perturb = adversary.apgd_targeted.perturb

        def held(*images: Any, **more: Any) -> Any:
            hold("attack")
            return perturb(*images, **more)

        adversary.apgd_targeted.perturb = held
        return adversary

    autoattack.standard_attack = held_attack
    _kept.append(short)


_kept: list[object] = []  # or its end would give the attacks all their steps again
if "HOLD" in os.environ:
    hold_attacks()
