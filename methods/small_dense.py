"""A small dense network with as many weights as a compressed one keeps: the baseline every compression has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from methods.at import AT
from methods.base import Architecture, Target


@dataclass(frozen=True)
class SmallDense(AT):
    """Adversarial training of a narrower dense network within the same weight budget."""

    name: ClassVar[str] = "small_dense"
    own_axes: ClassVar[Mapping[str, float | bool]] = {"allocation": 1.0}

    def refusal(self, target: Target) -> str | None:
        """Refuse the full size, which is AT, and allocations, which a dense network does not have."""
        if target.dense:
            return f"{self.name} needs a budget: keep_ratio must be below 1"
        if target.allocation != 1.0:
            return f"{self.name} has no masks to allocate: allocation must be 1, got {target.allocation}"
        return None

    def resize(self, architecture: Architecture, target: Target) -> Architecture:
        """Return the widest network that fits the budget."""
        return architecture.narrowed(target.keep_ratio)
