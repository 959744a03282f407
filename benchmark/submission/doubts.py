"""Whether chance explains images that a claim counts as robust and that fall when an attack is repeated.

Rounding on another machine and other random draws change a few verdicts. But an image that falls to an attack with
every one of many seeds did not survive it honestly: the record had only one more seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

OTHER_SEEDS = 30  # an honest image that falls to nine seeds in ten, but not to the record's, falls to all with 4%
FLIPS = 0.005  # share of images whose verdict another machine or seed may change, see docs/submitting.md
CHANCE = 1e-4  # that an honest record has more than the allowed differences; a dozen checks ask this
SURVIVED_SEEDS = 5  # for an image that is counted as broken; an attack that fails takes all its steps

Again = Callable[[list[int], int], list[bool]]  # whether images at some positions fall with another seed, from 1


def allowed_differences(tried: int) -> int:
    """Return how many of `tried` verdicts may differ by chance."""
    from scipy.stats import binom  # here, because it takes a second to import

    return max(int(binom.ppf(1 - CHANCE, tried, FLIPS)), 1)


def far_more(name: str, count: int, tried: int, what: str) -> str:
    """Return a reason if there are more differences than chance explains, otherwise an empty text."""
    if count <= (allowed := allowed_differences(tried)):
        return ""
    return f"{name}: {count} images that the record counts as {what}; chance explains {allowed} of {tried}"


def fallen(places: Sequence[int], fell: Sequence[bool]) -> list[int]:
    """Return the positions of the images that fell."""
    return [place for place, broken in zip(places, fell, strict=True) if broken]


def doubted(name: str, lost: Sequence[int], tried: int, again: Again, *, seeds: int = OTHER_SEEDS) -> list[str]:
    """Return reasons if chance does not explain the images that count as robust and fell; empty if it may.

    Args:
        name: of the attack.
        lost: positions of the images that fell.
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
    """Return reasons if chance does not explain the images that count as broken and survived; empty if it may.

    Args:
        name: of the attack.
        gained: positions of the images that survived it.
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
    return [f"{name}: the record counts image {places[0]} as broken; with each of {seeds} it survived {attack}"]
