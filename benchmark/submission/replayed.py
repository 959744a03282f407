"""A network under the attacks of its claim: which images are drawn for each, within which time, and the attack."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from benchmark.data.load import Images
from benchmark.evaluation.autoattack import autoattack
from benchmark.evaluation.progress import QUERIES
from benchmark.submission.affordable import Budget, PassTime, equivalents, fitting_images, pass_seconds, pass_time
from benchmark.submission.claim import Claim

SHORT_QUERIES = QUERIES // 5  # of Square, on images of which only some can be attacked
PATIENCE = 2.5  # times the estimate
LEAST_PATIENCE = 60.0  # seconds; below, the noise of a shared machine is larger than any lie
TIMED_IMAGES = 16  # that tell whether more threads than one are faster


class TooSlow(RuntimeError):
    """An attack takes much longer than passes through the network do."""


@dataclass(frozen=True)
class Replay:
    """A claim, its network and images, and what the verifier alone decides: draw and time."""

    claim: Claim
    network: nn.Module
    images: Images  # all that the claim has verdicts on: the protocol's are the first of them
    exact: bool  # the machine gives the claimed numbers to the last bit
    budget: Budget
    draw: int  # seed of the random parts
    patience: float = LEAST_PATIENCE  # seconds that a single attack may take at least

    @property
    def attacked(self) -> Images:
        """The protocol's images."""
        return self.images.first(self.claim.evaluation.n_images)

    @property
    def robust(self) -> list[int]:
        """Places of the images that are counted as robust under every attack."""
        return self.claim.right("robust").nonzero()[0].tolist()

    @cached_property
    def threads(self) -> int:
        """All cores, or one where the others cost more than they save: a small network, or a busy machine."""
        images = self.images.first(TIMED_IMAGES)
        pass_seconds(self.network, images)  # the first passes are slow with any number

        def seconds(threads: int) -> float:
            with computing(threads):
                return pass_seconds(self.network, images, choose=max)  # threads wait for each other, always

        return min((os.cpu_count() or 1, 1), key=seconds)

    @cached_property
    def time_of(self) -> PassTime:
        """Seconds of a forward-equivalent of so many images, with `threads`."""
        with computing(self.threads):
            return pass_time(self.network, self.images, self.claim.batch_size)

    @cached_property
    def time_as_claimed(self) -> PassTime:
        """The same with as many threads as the claim was measured with, for what may be compared to the last bit."""
        with computing(self.claim.threads):
            return pass_time(self.network, self.images, self.claim.batch_size)

    def drawn(self, what: str, places: Sequence[int]) -> list[int]:
        """Return places in an order that nobody knew before this verification began."""
        return random.Random(f"{what} {self.draw}").sample(list(places), len(places))

    def part(
        self,
        what: str,
        places: Sequence[int],
        passes: int,
        least: int,
        *,
        most: int | None = None,
        time_of: PassTime | None = None,
    ) -> list[int]:
        """Return the places, in ascending order, of as many drawn images as fit the time, but `least` of them at least.

        Args:
            what: is done, one of SHARES.
            places: to draw from.
            passes: forward-equivalents for an image.
            least: images, if there are so many.
            most: images; None for all.
            time_of: seconds of a forward-equivalent; None for those with `threads`.
        """
        time_of = self.time_of if time_of is None else time_of
        there = len(places) if most is None else min(most, len(places))
        count = max(fitting_images(there, passes, time_of, self.budget.allowed(what)), min(least, there))
        self.budget.spent(passes * time_of(count))
        return sorted(self.drawn(what, places)[:count])

    def too_long(self, what: str, passes: int, time_of: PassTime) -> list[str]:
        """Return the reason against what takes too long even for one image: its steps are the submission's choice."""
        if passes * time_of(1) <= self.patience:
            return []
        return [f"{what}: {passes:,} passes take more than {self.patience:g} s for one image; give more --seconds"]

    def shown(self, places: Sequence[int], all_places: Sequence[int]) -> str:
        """Return how to repeat a draw, for a line about it."""
        return "" if len(places) == len(all_places) else f" (--draw {self.draw})"

    def subset(self, places: Sequence[int]) -> Images:
        """Return some of the images."""
        rows = torch.tensor(list(places), dtype=torch.int64)
        return Images(self.images.images[rows], self.images.labels[rows])

    def attack(
        self,
        places: Sequence[int],
        name: str,
        say: Callable[[str], None],
        *,
        seed: int,
        threads: int | None = None,
        queries: int | None = None,
        shrink: float = 1.0,
    ) -> list[bool]:
        """Return which images fall to an attack of the cascade.

        Args:
            places: of the images.
            name: of the attack.
            say: receives progress lines.
            seed: of the attack.
            threads: that the sums depend on; None for `threads`.
            queries: of Square; None for the standard's.
            shrink: of the radius.

        Raises:
            TooSlow: once it takes much longer than was allowed; other processes on the machine do not count.
        """
        with computing(self.threads if threads is None else threads):
            honest = PATIENCE * equivalents(self.claim)[name] * self.time_of(len(places))
            seconds = max(self.patience, honest)
            ends = time.process_time() + seconds * torch.get_num_threads()

            def check_time(_: int) -> None:
                if time.process_time() > ends:
                    raise TooSlow(
                        f"{name} takes more than {seconds:.0f} s, {PATIENCE:g} times as long as {len(places)} images "
                        "of such a network take"
                    )

            result = autoattack(
                self.network,
                self.subset(places),
                num_classes=self.claim.num_classes,
                epsilon=shrink * self.claim.epsilon,
                seed=seed,
                batch_size=self.claim.batch_size,
                report=say,
                attacks=(name,),
                queries=queries,
                before_pass=check_time,
            )
        return (~result.robust[name]).tolist()


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """Compute with so many threads inside the block, all cores at most."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(threads, os.cpu_count() or 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)
