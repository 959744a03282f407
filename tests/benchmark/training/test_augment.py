"""Crops and flips only move whole images, each by its own offset."""

from __future__ import annotations

import pytest
import torch

from benchmark.training.augment import random_crop_flip

HEIGHT, WIDTH = 3, 4


@pytest.fixture
def numbered():
    """Return images whose pixels are numbered: channel * 100 + row * 4 + column + 1."""
    pixels = torch.arange(1.0, HEIGHT * WIDTH + 1).view(1, 1, HEIGHT, WIDTH)
    return (pixels + 100 * torch.arange(2.0).view(1, 2, 1, 1)).repeat(400, 1, 1, 1)


def literal_views(image, padding, fill):
    """Return every crop of the padded image by (row, column, mirrored)."""
    channels, height, width = image.shape
    canvas = torch.full((channels, height + 2 * padding, width + 2 * padding), fill)
    canvas[:, padding : padding + height, padding : padding + width] = image
    views = {}
    for row in range(2 * padding + 1):
        for column in range(2 * padding + 1):
            crop = canvas[:, row : row + height, column : column + width]
            views[row, column, False] = crop
            views[row, column, True] = torch.stack([crop[:, :, width - 1 - x] for x in range(width)], dim=2)
    return views


def place_of(image, views):
    """Return the only view that equals an image."""
    (place,) = [place for place, view in views.items() if torch.equal(view, image)]
    return place


@pytest.mark.parametrize("fill", [0.0, 0.5])
def test_every_image_is_a_crop_of_its_padded_self_mirrored_or_not(numbered, fill):
    views = literal_views(numbered[0], 1, fill)

    images = random_crop_flip(numbered, padding=1, flip=True, generator=torch.Generator().manual_seed(0), fill=fill)

    places = [place_of(image, views) for image in images]
    assert images.shape == numbered.shape
    assert set(places) == set(views)  # all nine offsets, mirrored and not: each image draws its own
    for axis, values in ((0, 3), (1, 3), (2, 2)):
        counts = torch.tensor([int(place[axis]) for place in places]).bincount()
        assert len(counts) == values
        assert float((counts - 400 / values).abs().max()) < 5 * (400 / values) ** 0.5


def test_without_flip_no_image_is_mirrored(numbered):
    views = literal_views(numbered[0], 1, 0.0)

    images = random_crop_flip(numbered, padding=1, flip=False, generator=torch.Generator().manual_seed(0))

    assert not any(place_of(image, views)[2] for image in images)


def test_without_padding_images_are_mirrored_in_place_or_unchanged(numbered):
    images = random_crop_flip(numbered, padding=0, flip=True, generator=torch.Generator().manual_seed(0))

    mirrored = [torch.equal(image, numbered[0].flip(2)) for image in images]
    assert all(flipped or torch.equal(image, numbered[0]) for flipped, image in zip(mirrored, images, strict=True))
    assert 150 < sum(mirrored) < 250


def test_without_padding_and_flip_images_are_unchanged_and_nothing_is_drawn(numbered):
    generator = torch.Generator().manual_seed(0)
    stream = generator.get_state()

    images = random_crop_flip(numbered, padding=0, flip=False, generator=generator)

    assert torch.equal(images, numbered)
    assert torch.equal(generator.get_state(), stream)


def test_the_same_seed_gives_the_same_images(numbered):
    first, again, other = (
        random_crop_flip(numbered, padding=2, flip=True, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_input_is_not_modified(numbered):
    before = numbered.clone()

    random_crop_flip(numbered, padding=2, flip=True, generator=torch.Generator().manual_seed(0))

    assert torch.equal(numbered, before)
