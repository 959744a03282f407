"""A method whose training and AutoAttack wait, without CPU time, while files exist in the folder that HOLD names.

AutoAttack has a fraction of its steps. Whoever imports this module keeps that, so only processes of their own do.
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
    while "HOLD" in os.environ and Path(os.environ["HOLD"], what).exists():
        time.sleep(0.2)


@dataclass(frozen=True)
class Held(SmallDense):
    """The small dense network."""

    name: ClassVar[str] = "held"

    def after_step(self, model: nn.Module, phase: Phase, step: int) -> None:
        if step == HELD_STEP:
            hold("training")
        super().after_step(model, phase, step)


_short = short_attacks()
_short.__enter__()
_short_attack = autoattack.standard_attack


def _held_attack(*arguments: Any, **settings: Any) -> Any:
    adversary = _short_attack(*arguments, **settings)
    perturb = adversary.apgd_targeted.perturb

    def held(*images: Any, **more: Any) -> Any:
        hold("attack")
        return perturb(*images, **more)

    adversary.apgd_targeted.perturb = held
    return adversary


autoattack.standard_attack = _held_attack
