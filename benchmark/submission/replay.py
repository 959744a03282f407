"""Runs the record's attacks again, as many as fit the time, and compares their verdicts image by image.

All images with the record's own batches and draws if the two APGD attacks fit, then FAB and Square too if these fit as
well; otherwise APGD on a random part of the images that the record counts as robust, drawn by the verifier, because
whoever knew the part beforehand could lie about the others.

On a machine that gives the record's numbers to the last bit no verdict may differ. On another one rounding turns a few
images. A difference is then held against chance twice: by its number, and by attacking these very images with five
other seeds. An image that the record calls robust and all five break, or one it calls broken and none breaks, was not
measured so.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.data.load import Images
from benchmark.evaluation.accuracy import pgd_verdicts
from benchmark.evaluation.autoattack import autoattack
from benchmark.evaluation.evaluate import PGD_SEED
from benchmark.results.agreement import CONFIDENCE, agreement
from benchmark.results.record import Record
from benchmark.submission.affordable import QUICK, equivalents, fitting_attacks, fitting_images, pass_time

FLIPS = 0.005  # share of images whose verdict another machine may turn, see docs/submitting.md
OTHER_SEEDS = 5
MAX_DOUBTED = 8  # images that are attacked with other seeds; more differences are no chance
PATIENCE = 2.5  # times the time that the verdicts imply
LEAST_PATIENCE = 60.0  # seconds; below, the noise of a shared machine is larger than any lie


class TooSlow(RuntimeError):
    """The attacks take much longer than the record's verdicts imply."""


@dataclass(frozen=True)
class Replay:
    """A network under the attacks of its record, within a time."""

    record: Record
    network: nn.Module
    images: Images
    exact: bool  # the machine gives the record's numbers to the last bit
    seconds: float  # for each of PGD and AutoAttack, by estimate
    draw: int  # seed of the random part

    @property
    def epsilon(self) -> float:
        """Radius of the ball in (0, 1) pixels."""
        return float(Fraction(self.record.evaluation.epsilon))

    def right(self, name: str) -> NDArray[np.bool_]:
        """Return the record's (N,) verdicts."""
        return self.record.evaluation.right(name)


def check_pgd(replay: Replay) -> tuple[list[str], str]:
    """Run the protocol's PGD again, on the first images if all take too long; return reasons and what was done."""
    pgd, clean = replay.record.evaluation.pgd, replay.right("clean")
    passes = 2 * (pgd.steps + 1) * pgd.restarts
    time_of = pass_time(replay.network, replay.images, replay.record.evaluation.autoattack.batch_size)
    right = clean.nonzero()[0]
    fitting = fitting_images(len(right), passes, time_of, replay.seconds)
    if not fitting:
        return [], f"not tried: PGD with {pgd.steps} steps and {pgd.restarts} restarts takes too long here"
    among = np.zeros_like(clean)
    among[right[:fitting]] = True

    def run(places: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
        return pgd_verdicts(
            replay.network,
            replay.images,
            epsilon=replay.epsilon,
            step_size=float(Fraction(pgd.step_size)),
            steps=pgd.steps,
            restarts=pgd.restarts,
            seed=seed,
            batch_size=replay.record.evaluation.autoattack.batch_size,
            among=torch.from_numpy(places),
        ).numpy()

    measured, claimed = run(among, PGD_SEED), replay.right("pgd")
    differs = among & (claimed != measured)
    note = f"pgd-{pgd.steps} on {fitting} of {len(right)} images that are right, {int(differs.sum())} verdicts differ"
    if replay.exact and differs.any():
        return [f"pgd: {_difference(claimed, differs)}, on a machine that computes as the record's"], note
    if reason := agreement("pgd", claimed[among], measured[among]).reason:
        return [f"pgd: {reason}"], note
    fallen = among & replay.right("robust") & ~measured
    for more in range(1, OTHER_SEEDS + 1):
        if fallen.any():
            fallen &= ~run(fallen, PGD_SEED + more)
    return _always("pgd", fallen.nonzero()[0].tolist(), "robust"), note


def check_autoattack(replay: Replay, say: Callable[[str], None]) -> tuple[list[str], str]:
    """Run AutoAttack again as far as it fits the time; return reasons and what was done."""
    attacks = fitting_attacks(replay.record, replay.network, replay.images, replay.seconds)
    try:
        return _whole(replay, attacks, say) if attacks else _part(replay, say)
    except TooSlow:
        return [f"the attacks take more than {PATIENCE:g} times as long as the record's verdicts imply"], "broken off"


def _whole(replay: Replay, attacks: Sequence[str], say: Callable[[str], None]) -> tuple[list[str], str]:
    found = _attack(replay, replay.images, attacks, say, seed=replay.record.evaluation.autoattack.seed)
    reasons, differing = [], 0
    for name in attacks:
        claimed, measured = replay.right(name), found[name].numpy()
        differs = claimed != measured
        differing += int(differs.sum())
        if replay.exact and differs.any():
            reasons.append(f"{name}: {_difference(claimed, differs)}, on a machine that computes as the record's")
        elif not replay.exact and name == attacks[-1]:
            reasons += _doubts(replay, name, claimed & ~measured, measured & ~claimed, say)
        elif not replay.exact and (reason := agreement(name, claimed, measured).reason):
            reasons.append(f"{name}: {reason}")
    strict = "to the last bit" if replay.exact else "on another kind of machine"
    return reasons, f"{', '.join(attacks)} on all {len(replay.images)} images {strict}, {differing} verdicts differ"


def _part(replay: Replay, say: Callable[[str], None]) -> tuple[list[str], str]:
    """Attack a random part of the images that the record counts as robust."""
    robust = replay.right("robust").nonzero()[0].tolist()
    time_of = pass_time(replay.network, replay.images, replay.record.evaluation.autoattack.batch_size)
    costs = equivalents(replay.record)
    if not robust:
        return [], "no image is counted as robust"
    attacks: Sequence[str] = QUICK
    size = 0
    for attacks in (QUICK, QUICK[:1]):
        passes = sum(costs[name] for name in attacks)
        size = fitting_images(len(robust), passes, time_of, replay.seconds)
        if size:
            break
    places = sorted(random.Random(replay.draw).sample(robust, max(1, size)))
    found = _attack(replay, _subset(replay.images, places), attacks, say, seed=replay.draw % 2**31)
    lost = np.zeros(len(replay.images), dtype=bool)
    lost[[place for place, right in zip(places, found[attacks[-1]].tolist(), strict=True) if not right]] = True
    note = (
        f"{', '.join(attacks)} on {len(places)} of {len(robust)} images that the record counts as robust (--draw "
        f"{replay.draw}), {int(lost.sum())} broken"
    )
    return _doubts(replay, attacks[-1], lost, np.zeros_like(lost), say, tried=len(places)), note


def _doubts(
    replay: Replay,
    name: str,
    lost: NDArray[np.bool_],
    gained: NDArray[np.bool_],
    say: Callable[[str], None],
    *,
    tried: int | None = None,
) -> list[str]:
    """Hold differing verdicts against chance: by their number, and each by attacks with other seeds."""
    from scipy.stats import binom  # here, because it takes a second to import

    n = len(replay.images) if tried is None else tried
    allowed = int(binom.ppf(CONFIDENCE, n, FLIPS))
    count = int(lost.sum() + gained.sum())
    if count > max(allowed, 1) or count > MAX_DOUBTED:
        return [f"{name}: {_difference(lost, lost | gained)}; chance explains {max(allowed, 1)} of {n}"]
    reasons = []
    for what, places in (("robust", lost.nonzero()[0].tolist()), ("broken", gained.nonzero()[0].tolist())):
        if not places:
            continue
        falls = np.zeros(len(places), dtype=int)
        for seed in range(1, OTHER_SEEDS + 1):
            seed += replay.record.evaluation.autoattack.seed
            found = _attack(replay, _subset(replay.images, places), QUICK, say, seed=seed % 2**31)
            falls += (~found[QUICK[-1]]).numpy()
        every = OTHER_SEEDS * (what == "robust")
        reasons += _always(name, [place for place, fell in zip(places, falls, strict=True) if fell == every], what)
    return reasons


def _always(name: str, places: Sequence[int], what: str) -> list[str]:
    """Return the reason against a record that counts images as `what`, and every other seed says the contrary."""
    if not places:
        return []
    outcome = "broken" if what == "robust" else "withstood"
    return [
        f"{name}: the record counts image {places[0]} as {what}; with {OTHER_SEEDS} other seeds it was {outcome} "
        "every time"
    ]


def _difference(claimed: NDArray[np.bool_], differs: NDArray[np.bool_]) -> str:
    lost, gained = (differs & claimed).nonzero()[0], (differs & ~claimed).nonzero()[0]
    told = [
        f"{len(places)} images that the record counts as {what} ({', '.join(map(str, places[:5]))})"
        for what, places in (("robust are broken", lost), ("broken are robust", gained))
        if len(places)
    ]
    return " and ".join(told)


def _subset(images: Images, places: Collection[int]) -> Images:
    rows = torch.tensor(list(places), dtype=torch.int64)
    return Images(images.images[rows], images.labels[rows])


def _attack(
    replay: Replay, images: Images, attacks: Sequence[str], say: Callable[[str], None], *, seed: int
) -> dict[str, Tensor]:
    """Attack until the processor time is over: other processes on the machine do not count."""
    seconds = max(LEAST_PATIENCE, PATIENCE * replay.seconds) * torch.get_num_threads()
    ends = time.process_time() + seconds

    def check_time(_: int) -> None:
        if time.process_time() > ends:
            raise TooSlow

    found = autoattack(
        replay.network,
        images,
        num_classes=replay.record.dataset.num_classes,
        epsilon=replay.epsilon,
        seed=seed,
        batch_size=replay.record.evaluation.autoattack.batch_size,
        report=say,
        attacks=attacks,
        before_pass=check_time,
    )
    return found.robust
