"""Two methods whose updates take a second, but no CPU time, while the file exists that SLOW_WHILE names."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import nn

from methods.base import Phase
from methods.hydra import Hydra
from methods.small_dense import SmallDense


def wait() -> None:
    if Path(os.environ.get("SLOW_WHILE", os.devnull)).is_file():
        time.sleep(1)


@dataclass(frozen=True)
class Slow(SmallDense):
    """The small dense network."""

    name: ClassVar[str] = "slow"

    def after_step(self, model: nn.Module, phase: Phase, step: int) -> None:
        wait()
        super().after_step(model, phase, step)


@dataclass(frozen=True)
class SlowHydra(Hydra):
    """HYDRA, whose first phase may be another run's."""

    name: ClassVar[str] = "slow_hydra"

    def after_step(self, model: nn.Module, phase: Phase, step: int) -> None:
        wait()
        super().after_step(model, phase, step)
