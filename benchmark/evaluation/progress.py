"""Progress of AutoAttack and an upper bound on the time left, from the cost of its parts and the time measured so far.

An attack stops early on an image that falls, so the time left is only bounded: every image still classified correctly
is assumed to survive everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmark.runtime.progress import Ticker, duration

ITERATIONS, QUERIES = 100, 5000  # of AutoAttack standard
LINE_SECONDS = 10.0  # between two lines within a batch


@dataclass(frozen=True)
class Cost:
    """What an attack needs for an image that survives it, the final verdict included."""

    passes: int  # forward passes
    gradients: int  # backward passes to the input, each as expensive as a forward pass

    @property
    def per_pass(self) -> float:
        """Forward-equivalents per forward pass, in [1, 2]."""
        return 1 + self.gradients / self.passes


@dataclass(frozen=True)
class Place:
    """A batch within the cascade."""

    attack: str
    number: int  # from 1
    batches: int  # that the attack has
    images: int  # in this batch
    later: int  # images in the attack's batches after this one
    robust: int  # of all images, still classified correctly when the batch begins


def attack_costs(targets: int, *, merged: bool = False, queries: int = QUERIES) -> dict[str, Cost]:
    """Return the cost of each attack of AutoAttack standard, in its order.

    Args:
        targets: target classes of the targeted attacks.
        merged: FAB-T takes all targets at once and looks at clean images once, not three times for each target.
        queries: of Square.
    """
    fab = 1 + targets * (2 * ITERATIONS + (0 if merged else 3)) + 1
    return {
        "apgd-ce": Cost(1 + (ITERATIONS + 1) + 1, ITERATIONS + 1),
        "apgd-t": Cost(1 + targets * (1 + ITERATIONS + 1) + 1, targets * (ITERATIONS + 1)),
        "fab-t": Cost(fab, targets * ITERATIONS),
        "square": Cost(1 + (1 + queries) + 1 + 1, 0),
    }


def seconds_left(
    measured: Mapping[str, tuple[int, float]], waiting: Mapping[str, float], costs: Mapping[str, Cost]
) -> float:
    """Return how long the waiting images take if all of them survive.

    An attack that was not measured yet is taken to need as long per forward-equivalent as the measured ones together.

    Args:
        measured: attack -> images forwarded, counted once per forward pass, and the seconds that took; not empty.
        waiting: attack -> images it has yet to attack.
        costs: of every attack.
    """
    equivalents = sum(forwarded * costs[attack].per_pass for attack, (forwarded, _) in measured.items())
    usual = sum(seconds for _, seconds in measured.values()) / equivalents
    left = 0.0
    for attack, images in waiting.items():
        forwarded, seconds = measured.get(attack, (0, 0.0))
        per_pass = seconds / forwarded if forwarded else usual * costs[attack].per_pass
        left += images * costs[attack].passes * per_pass
    return left


class Progress:
    """Reports a line after each batch and, within a long one, every few seconds; counts forward passes for that."""

    def __init__(self, report: Callable[[str], None], *, total: int, targets: int, queries: int = QUERIES) -> None:
        """Start with no attack measured, before `total` images meet attacks with `targets` target classes."""
        self.report, self.total, self.targets, self.queries = report, total, targets, queries
        self.costs = attack_costs(targets, queries=queries)
        self.measured: dict[str, tuple[int, float]] = {}
        self.running: Place | None = None

    def merge_targets(self) -> None:
        """Count the passes of an FAB-T that takes all targets at once."""
        self.costs = attack_costs(self.targets, merged=True, queries=self.queries)

    def begin(self, place: Place) -> None:
        """Note that a batch starts."""
        self.running = place
        self.forwarded, self._passes = 0, 0.0
        self._ticker = Ticker(LINE_SECONDS)

    @property
    def seconds(self) -> float:
        """Wall time since the running batch began."""
        return self._ticker.seconds

    def forward(self, images: int, passes: float = 1.0) -> None:
        """Count a forward pass of the running batch.

        Args:
            images: sent through the network; broken ones may be left out.
            passes: per image of the batch; more than 1 with several targets at once.
        """
        assert self.running is not None
        place = self.running
        self._passes += passes
        self.forwarded += images
        if not self._ticker.due():
            return
        passes = self.costs[place.attack].passes
        rest = place.images * max(0.0, 1 - self._passes / passes)
        measured = self._with(place.attack, self.forwarded, self.seconds)
        self._report(place, measured, place.later + rest, place.robust, f"   pass {self._passes:.0f}/{passes}")

    def end(self, attack: str, *, forwarded: int, seconds: float, robust: int) -> None:
        """Count a batch as measured; report it unless an earlier session ran it.

        Args:
            attack: that the batch met.
            forwarded: images sent through the network, counted once per forward pass.
            seconds: wall time.
            robust: of all images, still classified correctly now.
        """
        self.measured = self._with(attack, forwarded, seconds)
        if self.running is not None:
            self._report(self.running, self.measured, self.running.later, robust, "")
        self.running = None

    def _with(self, attack: str, forwarded: int, seconds: float) -> dict[str, tuple[int, float]]:
        before = self.measured.get(attack, (0, 0.0))
        return {**self.measured, attack: (before[0] + forwarded, before[1] + seconds)}

    def _report(
        self, place: Place, measured: Mapping[str, tuple[int, float]], here: float, robust: int, within: str
    ) -> None:
        order = list(self.costs)
        waiting = {attack: float(robust) for attack in order[order.index(place.attack) + 1 :]}
        left = seconds_left(measured, {place.attack: here, **waiting}, self.costs)
        spent = sum(seconds for _, seconds in measured.values())
        self.report(
            f"autoattack  {place.attack:<8} batch {place.number}/{place.batches}{within}   "
            f"{robust}/{self.total} still robust   {duration(spent)}, at most about {duration(left)} left"
        )
