"""The result of comparing two rows image by image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from benchmark.results.external import AnyRecord
from benchmark.results.statistics import SIGNIFICANCE, PairedTest

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class MeasureComparison:
    """One accuracy of two rows, on the same images and as many seeds of each.

    Attributes:
        accuracy_a: share of correct images of A, in [0, 1], mean over seeds.
        interval_a: its 95% interval: Wilson's for one seed, a bootstrap over seeds and images for several.
        accuracy_b: the same of B.
        interval_b: its interval.
        test: McNemar's exact test, and the interval of the difference.
    """

    accuracy_a: float
    interval_a: tuple[float, float]
    accuracy_b: float
    interval_b: tuple[float, float]
    test: PairedTest


@dataclass(frozen=True)
class Comparison:
    """Two rows of one protocol, image by image; `print` shows what the command shows.

    Attributes:
        protocol: id of the board.
        a: records of the first row that were compared, one a seed.
        b: as many records of the second row.
        measures: by name: "clean", "pgd", "autoattack" and "robust" (correct on the clean image and under every
            attack).
        only_a: positions, in the protocol's order of the test images, of those that are robust for every seed of A and
            for none of B.
        only_b: the same with A and B exchanged.
        conclusion: in one sentence, what the test of the robust images shows.
        text: all of it, as the command prints it.
    """

    protocol: str
    a: tuple[AnyRecord, ...] = field(repr=False)
    b: tuple[AnyRecord, ...] = field(repr=False)
    measures: Mapping[str, MeasureComparison]
    only_a: tuple[int, ...]
    only_b: tuple[int, ...]
    conclusion: str
    text: str = field(repr=False)

    @property
    def better(self) -> Literal["a", "b"] | None:
        """The row with more robust images, if the test shows a difference (p below 0.05); None if it does not."""
        test = self.measures["robust"].test
        if test.p_value >= SIGNIFICANCE:
            return None
        return "a" if test.difference > 0 else "b"

    def frame(self) -> DataFrame:
        """Return the accuracies as a pandas DataFrame, a line per measure.

        Columns `a`, `a_low`, `a_high`, `b`, `b_low`, `b_high`, `difference`, `difference_low`, `difference_high` (all
        fractions, with 95% intervals) and `p_value`.
        """
        from pandas import DataFrame

        lines = {
            name: {
                **_with_ends("a", each.accuracy_a, each.interval_a),
                **_with_ends("b", each.accuracy_b, each.interval_b),
                **_with_ends("difference", each.test.difference, each.test.interval),
                "p_value": each.test.p_value,
            }
            for name, each in self.measures.items()
        }
        return DataFrame.from_dict(lines, orient="index")

    def __str__(self) -> str:
        return self.text


def _with_ends(name: str, value: float, ends: tuple[float, float]) -> dict[str, float]:
    return {name: value, f"{name}_low": ends[0], f"{name}_high": ends[1]}
