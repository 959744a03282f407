"""Cheats: networks that only look robust, which the benchmark has to catch."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from tests.cheats.base import plain_base
from tests.cheats.plateaus import Plateau, decoy_on_all_pixels, decoy_on_border
from tests.cheats.sawtooth import Sawtooth

CHEATS: dict[str, Callable[[], nn.Module]] = {
    "steep, border": lambda: Plateau(plain_base(), decoy_on_border(size=0.9), [1e3]),
    "steep, all pixels": lambda: Plateau(plain_base(), decoy_on_all_pixels(size=0.05), [1e3]),
    "gentle": lambda: Plateau(plain_base(), decoy_on_all_pixels(size=0.05), [0.5]),
    "steps": lambda: Plateau(plain_base(), decoy_on_all_pixels(size=0.05), [1e3, 0.3]),
    "sawtooth": lambda: Sawtooth(
        plain_base(), decoy_on_all_pixels(size=0.03), steepness=1e3, period=4 / 255, size=0.005
    ),
}
