"""Size classes, within which rows are ranked, and Pareto fronts across them. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SizeClass:
    """Artifacts up to a number of bytes, and above the limit of the next smaller class."""

    name: str
    limit: float  # bytes, included
    seeded: bool = False  # whether the artifacts hold a seed in place of their weights

    @property
    def title(self) -> str:
        """The class in words."""
        size = f"above {_LIMITS[-2][0]}" if self.limit == _LIMITS[-1][1] else f"up to {self.name}"
        return f"{size.removesuffix(_WITH_SEED)},{_WITH_SEED}" if self.seeded else size


# Steps of about three. A dense ResNet34 has 85 MB, one of 1-bit weights 2.8 MB, one with 1% of them 0.3 MB.
_LIMITS = (
    ("10 kB", 1e4),
    ("30 kB", 3e4),
    ("100 kB", 1e5),
    ("300 kB", 3e5),
    ("1 MB", 1e6),
    ("3 MB", 3e6),
    ("10 MB", 1e7),
    ("30 MB", 3e7),
    ("more", float("inf")),
)
_WITH_SEED = " with seed"
SIZE_CLASSES = (
    *(SizeClass(name, limit) for name, limit in _LIMITS),
    *(SizeClass(f"{name}{_WITH_SEED}", limit, seeded=True) for name, limit in _LIMITS),
)


def size_class(size_bytes: int, *, seeded: bool = False) -> SizeClass:
    """Return the class of an artifact of so many bytes, at least 1; one with a seed in place of weights has its own."""
    return next(each for each in SIZE_CLASSES if each.seeded == seeded and size_bytes <= each.limit)


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[bool]:
    """Return for each point whether no other costs at most as much and scores at least as well, one of them strictly.

    Args:
        costs: less is better.
        scores: more is better; as many as costs.

    >>> pareto_front([1, 2, 2, 3], [0.5, 0.4, 0.7, 0.7])
    [True, False, True, False]
    """
    on_front = [False] * len(costs)
    best = float("-inf")
    cheapest_of_best = float("-inf")
    for place in sorted(range(len(costs)), key=lambda place: (costs[place], -scores[place])):
        equal = scores[place] == best and costs[place] == cheapest_of_best
        if scores[place] > best or equal:
            on_front[place] = True
            best, cheapest_of_best = scores[place], costs[place]
    return on_front
