"""RST: robust scratch tickets (Fu et al. 2021), the closest relative of adversarial edge-popup.

Adversarial search for a subnetwork of a random network, with the same keep ratio in every layer and without a last
batch norm: edge-popup without the paper's additions. Scores start at the scale 1/sqrt(fan_in) of hidden-networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from methods.base import Target
from methods.edge_popup import EdgePopup


@dataclass(frozen=True)
class RST(EdgePopup):
    """RST: edge-popup with one keep ratio for all layers and no last batch norm."""

    name: ClassVar[str] = "rst"
    own_axes: ClassVar[Mapping[str, float | bool]] = {"allocation": 1.0, "last_norm": False}

    score_fan: Literal["none", "all", "last", "all_but_last"] = "all"
    score_scale: float = 1.0

    def refusal(self, target: Target) -> str | None:
        """Refuse a dense target, and any allocation but the same ratio in every layer."""
        if target.allocation != 1.0:
            return f"rst keeps the same ratio in every layer: allocation must be 1, got {target.allocation}"
        return super().refusal(target)
