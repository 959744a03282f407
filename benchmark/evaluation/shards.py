"""Cuts the test images into contiguous parts, so that several machines can share one evaluation.

AutoAttack's random draws depend on the images of a batch: an evaluation in n shards equals n plain calls on the slices,
not one call on all images.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchmark.errors import UserError


@dataclass(frozen=True)
class Shard:
    """Part `index` (from 1) of `count`."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @staticmethod
    def parse(text: str) -> Shard:
        """Read a shard such as "2/8".

        Raises:
            UserError: if the text is not two whole numbers i/n with 1 <= i <= n.
        """
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        shard = Shard(int(match[1]), int(match[2])) if match else None
        if shard is None or not 1 <= shard.index <= shard.count:
            raise UserError(f"{text!r} is not a shard: give i/n with i from 1 to n, such as 2/8.")
        return shard

    def rows(self, n: int) -> range:
        """Return this shard's rows of n images; sizes differ by at most one, and all shards together are range(n).

        Raises:
            UserError: if there are more shards than images.
        """
        if n < self.count:
            raise UserError(f"{n} images cannot be cut into {self.count} shards; ask for {n} shards or fewer.")
        return range((self.index - 1) * n // self.count, self.index * n // self.count)
