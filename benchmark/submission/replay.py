"""Runs the claimed attacks again, as many as fit the time, and compares their verdicts image by image.

An attack that fits its share of the time runs on all images it met, with the claim's own batches and draws. Any other
runs on images that count as robust and that the verifier draws: somebody who knew them in advance could lie about all
others. A short PGD runs first, since it breaks nearly everything that any attack breaks and fits many images where
AutoAttack fits few.

On a machine that gives the claimed numbers to the last bit, no verdict of a whole attack may differ. Nothing else
depends on what a submission says about its machine: whether chance explains images that count as robust and fall is
decided by their number and by attacking them again, see `doubts`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.attacks import ascent_step, random_point
from benchmark.evaluation.accuracy import as_float_images, pgd_verdicts
from benchmark.evaluation.evaluate import PGD_SEED
from benchmark.evaluation.fast import ComputeBatch
from benchmark.evaluation.health.gradient_checks import summed_margin
from benchmark.results.evaluation import CASCADE
from benchmark.runtime.seeding import generator_for
from benchmark.submission.affordable import equivalents, whole_time
from benchmark.submission.doubts import doubted, fallen, far_more, unbroken
from benchmark.submission.replayed import SHORT_QUERIES, Replay, TooSlow, computing

Outcome = tuple[list[str], str]  # reasons, and what was done

SHORT_STEPS = 10
SHORT_STEP_SIZE = 0.25  # of the radius
SHORT_SQUARE = SHORT_QUERIES + 4  # passes for an image that survives it
APGD, SQUARE = CASCADE[:2], CASCADE[-1]
LEAST = {
    "short": 16,
    "pgd": 4,
    "apgd-ce": 4,
    "apgd-t": 1,
    "fab-t": 1,
    "square": 4,
}  # images, however little time there is


def check_short(replay: Replay) -> Outcome:
    """Attack images that count as robust with a short PGD; return reasons and what was done."""
    places = replay.part("short", replay.robust, 2 * (SHORT_STEPS + 1), LEAST["short"])
    if not places:
        return [], "no image is counted as robust"

    def again(doubtful: list[int], seed: int | None) -> list[bool]:
        with computing(replay.threads):
            return short_pgd(replay, doubtful, seed)

    lost = fallen(places, again(places, None))
    note = f"pgd-{SHORT_STEPS} on the margin, {_of(places, replay.robust)} images counted as robust, {len(lost)} broken"
    return doubted("a short PGD", lost, len(places), again), note + replay.shown(places, replay.robust)


def short_pgd(replay: Replay, places: Sequence[int], seed: int | None) -> list[bool]:
    """Return which images fall to a few steps of PGD on the margin, from the image or from random points by `seed`."""
    data = replay.subset(places)
    images, broken = as_float_images(data.images), torch.zeros(len(places), dtype=torch.bool)
    compute = ComputeBatch(lambda line: None)
    points = images
    if seed is not None:
        points = random_point(images, replay.claim.epsilon, generator_for(torch.device("cpu"), "short-pgd", seed))
    size = SHORT_STEP_SIZE * replay.claim.epsilon
    for _ in range(SHORT_STEPS + 1):
        if broken.all():
            break
        points, logits = ascent_step(
            lambda batch: compute.forward(replay.network, batch),
            *(points, images, data.labels),
            epsilon=replay.claim.epsilon,
            step_size=size,
            loss=summed_margin,
        )
        broken |= logits.argmax(1) != data.labels
    return broken.tolist()


def check_pgd(replay: Replay) -> Outcome:
    """Run the protocol's PGD again, on a drawn part if all images take too long; return reasons and what was done."""
    claim, pgd = replay.claim, replay.claim.evaluation.pgd
    claimed, right = claim.widest("pgd"), claim.widest("clean").nonzero()[0].tolist()
    passes = 2 * (pgd.steps + 1) * pgd.restarts
    if right and (reasons := replay.too_long("pgd", passes, replay.time_as_claimed)):
        return reasons, ""
    places = replay.part("pgd", right, passes, LEAST["pgd"], time_of=replay.time_as_claimed)
    among = np.zeros(len(claimed), dtype=bool)
    among[places] = True

    def run(chosen: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
        return pgd_verdicts(
            replay.network,
            replay.images,
            epsilon=claim.epsilon,
            step_size=claim.step_size,
            steps=pgd.steps,
            restarts=pgd.restarts,
            seed=seed,
            batch_size=claim.batch_size,
            among=torch.from_numpy(chosen),
        ).numpy()

    def again(doubtful: list[int], seed: int) -> list[bool]:
        chosen = np.zeros(len(claimed), dtype=bool)
        chosen[doubtful] = True
        return [not right for right in run(chosen, PGD_SEED + seed)[doubtful].tolist()]

    measured = run(among, PGD_SEED)
    differs = among & (claimed != measured)
    note = f"pgd-{pgd.steps} on {_of(places, right)} images that are right, {differs.sum()} verdicts differ"
    note += replay.shown(places, right)
    if replay.exact and differs.any():
        return [f"pgd: {_difference(claimed, differs)}, on a machine that computes as the record's"], note
    gained = int((differs & ~claimed).sum())
    if reason := far_more("pgd", gained, len(places), "broken are robust"):
        return [reason], note
    return doubted("pgd", (differs & claimed).nonzero()[0].tolist(), len(places), again), note


def check_autoattack(replay: Replay, say: Callable[[str], None]) -> Outcome:
    """Run the attacks of AutoAttack again, each on all images or on a drawn part; return reasons and what was done."""
    reasons, notes = list[str](), list[str]()
    try:
        for name in CASCADE:
            allowed = replay.budget.allowed(name)
            needed = whole_time(replay.claim, name, replay.time_as_claimed)
            if needed <= allowed:
                replay.budget.spent(needed)
                more, note = _whole(replay, name, say)
            else:
                more, note = _part(replay, name, say)
            reasons += more
            notes.append(note)
            if reasons:
                break
    except TooSlow as error:
        return [*reasons, str(error)], "broken off"
    return reasons, "; ".join(notes)


def _whole(replay: Replay, name: str, say: Callable[[str], None]) -> Outcome:
    """Run an attack on every image it met, which are those that survived the one before it."""
    met, claimed = replay.claim.met(name).nonzero()[0].tolist(), replay.claim.right(name)
    if not met:
        return [], f"{name} on 0 images"
    seed = replay.claim.evaluation.autoattack.seed
    broken = replay.attack(met, name, say, seed=seed, threads=replay.claim.threads)
    measured = claimed.copy()
    measured[met] = ~np.array(broken)
    differs = claimed != measured
    note = f"{name} on all {len(met)} images {'to the last bit' if replay.exact else 'on another kind of machine'}, "
    note += f"{int(differs.sum())} verdicts differ"
    if replay.exact and differs.any():
        return [f"{name}: {_difference(claimed, differs)}, on a machine that computes as the record's"], note
    lost, gained = ((differs & side).nonzero()[0].tolist() for side in (claimed, ~claimed))
    return _doubts(replay, name, lost, len(met), say) + _gains(replay, name, gained, len(met), say), note


def _part(replay: Replay, name: str, say: Callable[[str], None]) -> Outcome:
    """Run an attack on images drawn from those that count as robust; Square with a fifth of its queries."""
    passes = SHORT_SQUARE if name == SQUARE else equivalents(replay.claim)[name]
    places = replay.part(name, replay.robust, passes, LEAST[name])
    if not places:
        return [], f"{name} on 0 images"
    broken = replay.attack(places, name, say, seed=replay.draw % 2**31, queries=SHORT_QUERIES)
    lost = fallen(places, broken)
    short = f" ({SHORT_QUERIES:,} queries)" if name == SQUARE else ""
    note = f"{name}{short} on {_of(places, replay.robust)} images counted as robust, {len(lost)} broken"
    return _doubts(replay, name, lost, len(places), say), note + replay.shown(places, replay.robust)


def _doubts(replay: Replay, name: str, lost: list[int], tried: int, say: Callable[[str], None]) -> list[str]:
    def again(doubtful: list[int], seed: int) -> list[bool]:
        # FAB starts at the image and draws nothing: another seed would repeat it, so use a smaller ball.
        shrink = 1 - 0.002 * seed if name == "fab-t" else 1.0
        seed = (replay.claim.evaluation.autoattack.seed + seed) % 2**31
        return replay.attack(doubtful, name, say, seed=seed, queries=SHORT_QUERIES, shrink=shrink)

    return doubted(name, lost, tried, again)


def _gains(replay: Replay, name: str, gained: list[int], tried: int, say: Callable[[str], None]) -> list[str]:
    if (
        name not in APGD
    ):  # what FAB and Square broke may survive them with other random numbers, and always survive APGD
        return [reason] if (reason := far_more(name, len(gained), tried, "broken are robust")) else []
    attack = APGD[-1]  # breaks what either of them breaks, with few exceptions

    def again(doubtful: list[int], seed: int) -> list[bool]:
        seed = (replay.claim.evaluation.autoattack.seed + seed) % 2**31
        return replay.attack(doubtful, attack, say, seed=seed)

    return unbroken(name, gained, tried, again, attack=attack)


def _of(places: Sequence[int], all_places: Sequence[int]) -> str:
    return f"{len(places)} of {len(all_places)}"


def _difference(claimed: NDArray[np.bool_], differs: NDArray[np.bool_]) -> str:
    lost, gained = (differs & claimed).nonzero()[0], (differs & ~claimed).nonzero()[0]
    parts = [
        f"{len(places)} images that the record counts as {what} ({', '.join(map(str, places[:5]))})"
        for what, places in (("robust are broken", lost), ("broken are robust", gained))
        if len(places)
    ]
    return " and ".join(parts)
