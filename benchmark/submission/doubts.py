"""Whether images that a claim counts as robust, and that fall to an attack run again, can be chance.

Rounding on another machine and other random draws turn a few images. An attack that an image falls to with every one of
many seeds was not withstood by an honest one: one seed more is all that the record had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

OTHER_SEEDS = 30  # an honest image that falls to nine seeds in ten, and not to the record's, falls to all with 4%
FLIPS = 0.005  # share of images whose verdict another machine or another seed may turn, see docs/submitting.md
CHANCE = 1e-4  # with which an honest record has more than the allowed differences; there are a dozen such questions
SURVIVED_SEEDS = 5  # for an image that is counted as broken; an attack that fails takes all its steps

Again = Callable[[list[int], int], list[bool]]  # which of some places fall to the attack with another seed, from 1


def allowed_differences(tried: int) -> int:
    """Return how many of so many verdicts may differ by chance."""
    from scipy.stats import binom  # here, because it takes a second to import

    return max(int(binom.ppf(1 - CHANCE, tried, FLIPS)), 1)


def far_more(name: str, count: int, tried: int, what: str) -> str:
    """Return the reason against more differences than chance explains; empty if there are no more."""
    if count <= (allowed := allowed_differences(tried)):
        return ""
    return f"{name}: {count} images that the record counts as {what}; chance explains {allowed} of {tried}"


def fallen(places: Sequence[int], fell: Sequence[bool]) -> list[int]:
    """Return the places of the images that fell."""
    return [place for place, broken in zip(places, fell, strict=True) if broken]


def doubted(name: str, lost: Sequence[int], tried: int, again: Again, *, seeds: int = OTHER_SEEDS) -> list[str]:
    """Return the reasons against images that are counted as robust and fell; empty if chance may explain them.

    Args:
        name: of the attack.
        lost: places of the images that fell.
        tried: images that were attacked.
        again: attacks some of them with another seed.
        seeds: to attack with.
    """
    if reason := far_more(name, len(lost), tried, "robust are broken"):
        return [f"{reason} ({', '.join(map(str, lost[:5]))})"]
    places = list(lost)
    for seed in range(1, seeds + 1):
        if places:  # those that every seed so far has broken
            places = fallen(places, again(places, seed))
    if not places:
        return []
    return [
        f"{name}: the record counts image {places[0]} as robust; with each of {seeds} other seeds it was broken again"
    ]


def unbroken(name: str, gained: Sequence[int], tried: int, again: Again, *, attack: str) -> list[str]:
    """Return the reasons against images that are counted as broken and withstood; empty if chance may explain them.

    Args:
        name: of the attack.
        gained: places of the images that withstood it.
        tried: images that were attacked.
        again: attacks some of them with another seed and the strongest attack of this kind.
        attack: its name.
    """
    if reason := far_more(name, len(gained), tried, "broken are robust"):
        return [reason]
    places = list(gained)
    for seed in range(1, SURVIVED_SEEDS + 1):
        if places:  # those that no seed so far has broken
            places = [place for place, fell in zip(places, again(places, seed), strict=True) if not fell]
    if not places:
        return []
    seeds = f"{SURVIVED_SEEDS} other seeds"
    return [f"{name}: the record counts image {places[0]} as broken; with each of {seeds} it withstood {attack}"]
