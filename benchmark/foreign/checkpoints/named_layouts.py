"""The layouts by name."""

from __future__ import annotations

from benchmark.errors import UserError, suggestion
from benchmark.foreign.checkpoints import (
    harp,
    hidden_networks,
    hydra,
    robust_binary_subnet,
    torch_prune,
    torchvision_weights,
)
from benchmark.foreign.checkpoints.layout import Layout

LAYOUTS: dict[str, Layout] = {
    module.LAYOUT.name: module.LAYOUT
    for module in (robust_binary_subnet, hydra, harp, hidden_networks, torch_prune, torchvision_weights)
}


def get_layout(name: str) -> Layout:
    """Return the layout called `name`.

    Raises:
        UserError: if there is none.
    """
    if name not in LAYOUTS:
        raise UserError(f"--from {name} is no layout.{suggestion(name, LAYOUTS)} Known: {', '.join(LAYOUTS)}")
    return LAYOUTS[name]
