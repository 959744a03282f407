"""Cheats: networks that only look robust, which the benchmark has to catch.

Under AutoAttack the robust accuracy of each is 30 to 70 points above that of the honest network inside, which predicts
the same classes.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from tests.cheats.artifacts import artifact
from tests.cheats.base import hardened_base, robust_base
from tests.cheats.plateau_method import Inside
from tests.cheats.plateaus import Dead, Gated, Plateau, Reversed, decoy_on_all_pixels, decoy_on_border
from tests.cheats.sawtooth import Sawtooth

CHEATS: dict[str, Callable[[], nn.Module]] = {
    "steep, border": lambda: Plateau(hardened_base(), decoy_on_border(size=0.9)),
    "steep, all pixels": lambda: Plateau(hardened_base(), decoy_on_all_pixels(size=0.05)),
    "gentle": lambda: Plateau(hardened_base(), decoy_on_all_pixels(size=0.05), steepness=1.0),
    "steps": lambda: Plateau(hardened_base(), decoy_on_all_pixels(size=0.05), leads=(0.0, 0.5, 1.0)),
    "gated": lambda: Gated(hardened_base(), decoy_on_all_pixels(size=0.05)),
    "sawtooth": lambda: Sawtooth(
        hardened_base(), decoy_on_all_pixels(size=0.05), steepness=1e3, period=0.02, size=0.0005
    ),
    "robust base": lambda: Plateau(robust_base(), decoy_on_all_pixels(size=0.05)),
    "reversed": lambda: Reversed(hardened_base(), decoy_on_all_pixels(size=0.03)),
    "dead units": lambda: Dead(hardened_base(), decoy_on_all_pixels(size=0.05)),
    "artifact": lambda: artifact("fp", "border"),
    "binary artifact": lambda: artifact("binary", "all pixels"),
    "sawtooth artifact": lambda: artifact("fp", "sawtooth"),
}


def inside(cheat: nn.Module) -> nn.Module:
    """Return the honest network inside a cheat, which predicts the same classes and is thus exactly as robust."""
    return cheat.base if isinstance(cheat, Plateau | Sawtooth) else Inside(cheat)
