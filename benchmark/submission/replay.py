"""Runs the claimed attacks again, as many as fit the time, and compares their verdicts image by image.

All images with the claim's own batches and draws if the two APGD attacks fit, then FAB and Square too if these fit as
well; otherwise APGD on a random part of the images that are claimed robust. PGD runs on a random part, too, if it does
not fit. The verifier draws these parts: whoever could compute one beforehand could lie about the other images.

On a machine that gives the claimed numbers to the last bit no verdict may differ. On another one rounding turns a few
images, and a part has other random draws. A difference is then held against chance twice: by its number, and by
attacking these very images with other seeds. An image that is claimed robust and that all of them break, or one claimed
broken by APGD that none breaks, was not measured so.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.data.load import Images
from benchmark.evaluation.accuracy import pgd_verdicts
from benchmark.evaluation.autoattack import autoattack
from benchmark.evaluation.evaluate import PGD_SEED
from benchmark.results.agreement import CONFIDENCE, agreement
from benchmark.submission.affordable import QUICK, equivalents, fitting_attacks, fitting_images, pass_time
from benchmark.submission.claim import Claim

FLIPS = 0.005  # share of images whose verdict another machine may turn, see docs/submitting.md
OTHER_SEEDS = 30  # an honest image that falls to nine seeds in ten, and not to the record's, falls to all with 4%
SURVIVED_SEEDS = 5  # each is a whole attack, while one that succeeds ends early
MAX_DOUBTED = 8  # images that are attacked with other seeds; more differences are no chance
PATIENCE = 2.5  # times the time that the verdicts imply
LEAST_PATIENCE = 60.0  # seconds; below, the noise of a shared machine is larger than any lie
FIXED = "fab-t"  # starts at no random point: other seeds would give the same outcome


class TooSlow(RuntimeError):
    """The attacks take much longer than the claimed verdicts imply."""


@dataclass(frozen=True)
class Replay:
    """A network under the attacks of its claim, within a time."""

    claim: Claim
    network: nn.Module
    images: Images  # all that the claim has verdicts on: the protocol's are the first of them
    exact: bool  # the machine gives the claimed numbers to the last bit
    seconds: float  # for each of PGD and AutoAttack, by estimate
    draw: int  # seed of the random parts

    @property
    def attacked(self) -> Images:
        """The images of AutoAttack."""
        return self.images.first(self.claim.evaluation.n_images)

    def drawn(self, what: str, places: Sequence[int]) -> list[int]:
        """Return places in an order that nobody knew before this verification began."""
        return random.Random(f"{what} {self.draw}").sample(list(places), len(places))


def check_pgd(replay: Replay) -> tuple[list[str], str]:
    """Run the protocol's PGD again, on a random part if all images take too long; return reasons and what was done."""
    claim, pgd = replay.claim, replay.claim.evaluation.pgd
    passes = 2 * (pgd.steps + 1) * pgd.restarts
    time_of = pass_time(replay.network, replay.images, claim.batch_size)
    claimed, right = claim.widest("pgd"), claim.widest("clean").nonzero()[0].tolist()
    fitting = fitting_images(len(right), passes, time_of, replay.seconds)
    if right and not fitting:
        reason = f"{pgd.steps} steps and {pgd.restarts} restarts take longer than {replay.seconds:g} s for one image"
        return [f"pgd: {reason}; give more --seconds"], ""
    among = np.zeros(len(claimed), dtype=bool)
    among[replay.drawn("pgd", right)[:fitting]] = True

    def run(places: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
        return pgd_verdicts(
            replay.network,
            replay.images,
            epsilon=claim.epsilon,
            step_size=claim.step_size,
            steps=pgd.steps,
            restarts=pgd.restarts,
            seed=seed,
            batch_size=claim.batch_size,
            among=torch.from_numpy(places),
        ).numpy()

    measured = run(among, PGD_SEED)
    differs = among & (claimed != measured)
    part = "" if fitting == len(right) else f" (--draw {replay.draw})"
    note = f"pgd-{pgd.steps} on {fitting} of {len(right)} images that are right{part}, {differs.sum()} verdicts differ"
    if replay.exact and differs.any():
        return [f"pgd: {_difference(claimed, differs)}, on a machine that computes as the record's"], note
    if right and (reason := agreement("pgd", claimed[among], measured[among]).reason):
        return [f"pgd: {reason}"], note
    fallen = differs & claimed
    for more in range(1, OTHER_SEEDS + 1):
        if fallen.any():
            fallen &= ~run(fallen, PGD_SEED + more)
    return _always("pgd", fallen.nonzero()[0].tolist(), "robust", OTHER_SEEDS), note


def check_autoattack(replay: Replay, say: Callable[[str], None]) -> tuple[list[str], str]:
    """Run AutoAttack again as far as it fits the time; return reasons and what was done."""
    attacks = fitting_attacks(replay.claim, replay.network, replay.attacked, replay.seconds)
    try:
        return _whole(replay, attacks, say) if attacks else _part(replay, say)
    except TooSlow:
        return [f"the attacks take more than {PATIENCE:g} times as long as the record's verdicts imply"], "broken off"


def _whole(replay: Replay, attacks: Sequence[str], say: Callable[[str], None]) -> tuple[list[str], str]:
    seed = replay.claim.evaluation.autoattack.seed
    robust = _attack(replay, replay.attacked, attacks, say, seed=seed)
    reasons, seen = list[str](), np.zeros(len(replay.attacked), dtype=bool)
    for name in attacks:
        claimed, measured = replay.claim.right(name), robust[name].numpy()
        # Verdicts are cumulative: an image counts where it differs first.
        differs = (claimed != measured) & ~seen
        seen |= differs
        if replay.exact and differs.any():
            reasons.append(f"{name}: {_difference(claimed, differs)}, on a machine that computes as the record's")
        elif not replay.exact:
            reasons += _doubts(replay, name, differs & claimed, differs & ~claimed, say)
    strict = "to the last bit" if replay.exact else "on another kind of machine"
    return reasons, f"{', '.join(attacks)} on all {len(seen)} images {strict}, {int(seen.sum())} verdicts differ"


def _part(replay: Replay, say: Callable[[str], None]) -> tuple[list[str], str]:
    """Attack a random part of the images that are claimed robust: many with APGD-CE, some of these with APGD-T."""
    robust = replay.claim.right("robust").nonzero()[0].tolist()
    if not robust:
        return [], "no image is counted as robust"
    time_of, costs = pass_time(replay.network, replay.attacked, replay.claim.batch_size), equivalents(replay.claim)
    order = replay.drawn("autoattack", robust)
    reasons, notes, broken = list[str](), list[str](), 0
    for name in QUICK:
        size = fitting_images(len(robust), costs[name], time_of, replay.seconds / len(QUICK))
        places = sorted(order[: max(1, size)])
        verdicts = _attack(replay, _subset(replay.attacked, places), (name,), say, seed=replay.draw % 2**31)[name]
        lost = np.zeros(len(replay.attacked), dtype=bool)
        lost[[place for place, right in zip(places, verdicts.tolist(), strict=True) if not right]] = True
        broken += int(lost.sum())
        order = [place for place in order if not lost[place]]
        notes.append(f"{name} on {len(places)}")
        reasons += _doubts(replay, name, lost, np.zeros_like(lost), say, tried=len(places))
    return reasons, (
        f"{', '.join(notes)} of {len(robust)} images that the record counts as robust (--draw {replay.draw}), "
        f"{broken} broken"
    )


def _doubts(
    replay: Replay,
    name: str,
    lost: NDArray[np.bool_],
    gained: NDArray[np.bool_],
    say: Callable[[str], None],
    *,
    tried: int | None = None,
) -> list[str]:
    """Hold differing verdicts of an attack against chance: by their number, and each by attacks with other seeds."""
    from scipy.stats import binom  # here, because it takes a second to import

    n = len(replay.attacked) if tried is None else tried
    allowed = max(int(binom.ppf(CONFIDENCE, n, FLIPS)), 1)
    count = int(lost.sum() + gained.sum())
    if count > allowed or count > MAX_DOUBTED:
        return [f"{name}: {_difference(lost, lost | gained)}; chance explains {allowed} of {n}"]
    reasons = []
    # What FAB and Square broke is not held against APGD, which may never break it.
    for what, differing in (("robust", lost), ("broken", gained & (name in QUICK))):
        places = [] if name == FIXED else differing.nonzero()[0].tolist()
        attacks, seeds = ((name,), OTHER_SEEDS) if what == "robust" else (QUICK, SURVIVED_SEEDS)
        for more in range(1, seeds + 1):
            if places:  # those that every seed so far contradicts
                seed = (replay.claim.evaluation.autoattack.seed + more) % 2**31
                robust = _attack(replay, _subset(replay.attacked, places), attacks, say, seed=seed)[
                    attacks[-1]
                ].tolist()
                kept = zip(places, robust, strict=True)
                places = [place for place, right in kept if right == (what == "broken")]
        reasons += _always(name, places, what, seeds)
    return reasons


def _always(name: str, places: Sequence[int], what: str, seeds: int) -> list[str]:
    """Return the reason against a record that counts images as `what`, and every other seed says the contrary."""
    if not places:
        return []
    outcome = "broken" if what == "robust" else "withstood"
    return [
        f"{name}: the record counts image {places[0]} as {what}; with {seeds} other seeds it was {outcome} every time"
    ]


def _difference(claimed: NDArray[np.bool_], differs: NDArray[np.bool_]) -> str:
    lost, gained = (differs & claimed).nonzero()[0], (differs & ~claimed).nonzero()[0]
    parts = [
        f"{len(places)} images that the record counts as {what} ({', '.join(map(str, places[:5]))})"
        for what, places in (("robust are broken", lost), ("broken are robust", gained))
        if len(places)
    ]
    return " and ".join(parts)


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

    result = autoattack(
        replay.network,
        images,
        num_classes=replay.claim.num_classes,
        epsilon=replay.claim.epsilon,
        seed=seed,
        batch_size=replay.claim.batch_size,
        report=say,
        attacks=attacks,
        before_pass=check_time,
    )
    return result.robust
