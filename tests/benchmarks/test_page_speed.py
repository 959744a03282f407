"""Times of what a page is made of: tie groups, for as many rows as a large board has."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.results.statistics import tie_groups


@pytest.mark.benchmark(group="pages")
def test_two_thousand_rows_in_tie_groups(benchmark):
    generator = np.random.default_rng(0)
    rows = [[generator.random(256) < share] for share in np.linspace(0.9, 0.1, 2_000)]

    benchmark(tie_groups, rows)
