"""What a paired test of two rows shows, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean

import numpy as np

from benchmark.results.statistics import SIGNIFICANCE, PairedTest, images_needed
from benchmark.results.verdicts import Verdicts


def conclusion_of(test: PairedTest, a: Sequence[Verdicts], b: Sequence[Verdicts]) -> str:
    """Return in one sentence what the test of the verdicts of as many seeds of either row shows."""
    seeds = len(a)
    unit = "images" if seeds == 1 else "pairs of image and seed"
    p = f"exact McNemar p = {p_text(test.p_value)}"
    if test.p_value < SIGNIFICANCE:
        a_leads = test.difference > 0
        better, worse = ("A", "B") if a_leads else ("B", "A")
        more, less = (test.only_a, test.only_b) if a_leads else (test.only_b, test.only_a)
        doubt = f"leads, but its seeds overlap with {worse}'s" if seeds_overlap(a, b) else "is better"
        return f"{better} {doubt}: {more} {unit} robust for {better} only, {less} for {worse} only; {p}."
    seen = f"No real difference shown: {test.only_a} {unit} robust for A only, {test.only_b} for B only; {p}"
    pairs = test.both + test.only_a + test.only_b + test.neither
    needed = images_needed(test.only_a, test.only_b, pairs)
    if needed is None:
        return f"{seen}; both are robust on equally many."
    images = int(float(f"{math.ceil(needed / seeds):.2g}"))  # an estimate from few images: two digits are plenty
    return f"{seen}; about {images:,} images would be needed to show a difference of this size."


def seeds_overlap(a: Sequence[Verdicts], b: Sequence[Verdicts]) -> bool:
    """Return whether the best seed of the lower row reaches the worst of the other, which the pooled test ignores.

    Args:
        a: whether each image is classified correctly, seed by seed, of one row.
        b: the same of another row, with as many seeds.
    """
    lower, upper = sorted(([float(np.mean(bits)) for bits in row] for row in (a, b)), key=lambda row: mean(row))
    return max(lower) >= min(upper)


def p_text(p: float) -> str:
    """Write a p-value: 0.31, 0.0021, 3e-6; never rounded to the limit it is compared with."""
    if p < 0.001:
        digits, exponent = f"{max(p, 1e-300):.0e}".split("e")
        return f"{digits}e{int(exponent)}"
    text = f"{p:.2g}"
    return f"{p:.4f}" if float(text) == SIGNIFICANCE else text
