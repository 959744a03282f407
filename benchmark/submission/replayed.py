"""A network under the attacks of its claim: the images drawn for each attack, the time for it, and the attack."""

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
LEAST_PATIENCE = 60.0  # seconds; below, the noise of a shared machine hides any lie
TIMED_IMAGES = 16  # used to find out whether several threads are faster than one


class TooSlow(RuntimeError):
    """An attack takes much longer than its passes through the network."""


@dataclass(frozen=True)
class Replay:
    """A claim, its network and images, and what only the verifier decides: draw and time."""

    claim: Claim
    network: nn.Module
    images: Images  # all that the claim has verdicts on; the protocol's come first
    exact: bool  # whether this machine gives the claimed numbers to the last bit
    budget: Budget
    draw: int  # seed of the random parts
    patience: float = LEAST_PATIENCE  # seconds that any single attack may take

    @property
    def attacked(self) -> Images:
        """The protocol's images."""
        return self.images.first(self.claim.evaluation.n_images)

    @property
    def robust(self) -> list[int]:
        """Positions of the images that count as robust under every attack."""
        return self.claim.right("robust").nonzero()[0].tolist()

    @cached_property
    def threads(self) -> int:
        """All cores, or one if more would be slower, as with a small network or on a busy machine."""
        images = self.images.first(TIMED_IMAGES)
        pass_seconds(self.network, images)  # the first passes are slow with any number

        def seconds(threads: int) -> float:
            with computing(threads):
                return pass_seconds(self.network, images, choose=max)  # threads always wait for the slowest

        return min((os.cpu_count() or 1, 1), key=seconds)

    @cached_property
    def time_of(self) -> PassTime:
        """Seconds of a forward-equivalent by number of images, with `threads`."""
        with computing(self.threads):
            return pass_time(self.network, self.images, self.claim.batch_size)

    @cached_property
    def time_as_claimed(self) -> PassTime:
        """The same with the claim's number of threads, for what may be compared to the last bit."""
        with computing(self.claim.threads):
            return pass_time(self.network, self.images, self.claim.batch_size)

    def drawn(self, what: str, places: Sequence[int]) -> list[int]:
        """Return positions in an order that nobody knew before this verification began."""
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
        """Return the positions, in ascending order, of as many drawn images as fit the time, but at least `least`.

        Args:
            what: one of SHARES.
            places: positions to draw from.
            passes: forward-equivalents for an image.
            least: images to draw, if there are so many.
            most: images to draw; None for all.
            time_of: seconds of a forward-equivalent; None for those with `threads`.
        """
        time_of = self.time_of if time_of is None else time_of
        available = len(places) if most is None else min(most, len(places))
        count = max(fitting_images(available, passes, time_of, self.budget.allowed(what)), min(least, available))
        self.budget.spent(passes * time_of(count))
        return sorted(self.drawn(what, places)[:count])

    def too_long(self, what: str, passes: int, time_of: PassTime) -> list[str]:
        """Return a reason if even one image takes too long: the submission chooses the number of steps."""
        if passes * time_of(1) <= self.patience:
            return []
        return [f"{what}: {passes:,} passes take more than {self.patience:g} s for one image; give more --seconds"]

    def shown(self, places: Sequence[int], all_places: Sequence[int]) -> str:
        """Return the option that repeats a draw, for the line that reports it."""
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
            places: positions of the images.
            name: of the attack.
            say: receives progress lines.
            seed: of the attack.
            threads: on which float sums depend; None for `threads`.
            queries: of Square; None for the standard's.
            shrink: of the radius.

        Raises:
            TooSlow: once it takes much longer than allowed, not counting the time of other processes.
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
    """Compute with this number of threads inside the block, at most one per core."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(threads, os.cpu_count() or 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)
