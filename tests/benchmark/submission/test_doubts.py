"""What an image that fell says against a record: simulated attacks that break it with every seed, or with some."""

from __future__ import annotations

import random

import pytest

from benchmark.submission.doubts import OTHER_SEEDS, allowed_differences, doubted, unbroken

TRIALS = 4000


def attack(chance, generator):
    """Return an attack that breaks an image with a probability, whatever its seed."""
    return lambda places, seed: [generator.random() < chance for _ in places]


@pytest.mark.parametrize("chance", [0.5, 0.9])
def test_an_image_that_falls_to_some_seeds_is_rarely_held_against_a_record(chance):
    generator = random.Random(1)
    refused = sum(bool(doubted("x", [3], 40, attack(chance, generator))) for _ in range(TRIALS))

    expected = chance**OTHER_SEEDS
    assert expected < 0.043
    assert abs(refused / TRIALS - expected) < 5 * (expected * (1 - expected) / TRIALS) ** 0.5 + 1e-3


@pytest.mark.parametrize("lost", [[3], [1, 3], [0, 2, 4]])
def test_an_image_that_falls_to_every_seed_always_is(lost):
    tried = 200  # of which chance explains four
    assert allowed_differences(tried) >= len(lost)
    assert doubted("x", lost, tried, lambda places, seed: [place == lost[-1] for place in places]) == [
        f"x: the record counts image {lost[-1]} as robust; with each of 30 other seeds it was broken again"
    ]


def test_each_seed_attacks_what_all_before_it_broke():
    asked = []

    def again(places, seed):
        asked.append((seed, list(places)))
        return [place > seed for place in places]

    assert doubted("x", [1, 2, 3], 200, again) == []
    assert asked == [(1, [1, 2, 3]), (2, [2, 3]), (3, [3])]


def test_more_images_than_chance_explains_are_refused_without_another_attack():
    tried = 64
    lost = list(range(allowed_differences(tried) + 1))

    (reason,) = doubted("x", lost, tried, lambda places, seed: pytest.fail("attacked again"))

    assert reason.startswith(f"x: {len(lost)} images that the record counts as robust are broken; chance explains ")
    assert allowed_differences(1) == 1


def test_every_image_is_doubted_however_many_chance_allows():
    tried, lost = 1024, list(range(15))  # those that a submitter would place before the forged ones are honest
    assert allowed_differences(tried) >= len(lost)

    (reason,) = doubted("x", lost, tried, lambda places, seed: [place >= 14 for place in places])

    assert reason.startswith("x: the record counts image 14 as robust; ")


def test_an_image_counted_as_broken_is_held_against_a_record_if_no_seed_breaks_it():
    def never(places, seed):
        return [False for _ in places]

    def later(places, seed):
        return [seed == 5 for _ in places]

    assert unbroken("x", [7], 40, later, attack="y") == unbroken("x", [], 40, never, attack="y") == []
    assert unbroken("x", [7], 40, never, attack="y") == [
        "x: the record counts image 7 as broken; with each of 5 other seeds it survived y"
    ]
    many = list(range(allowed_differences(40) + 1))
    assert "broken are robust; chance explains " in unbroken("x", many, 40, later, attack="y")[0]
