"""The margin that remains near the boundary: all of it on a plateau, little where logits change evenly."""

from __future__ import annotations

import pytest
import torch

from benchmark.data.load import Images
from benchmark.evaluation.accuracy import as_float_images
from benchmark.evaluation.opponent.straight_way import straight_way


def both_classes(network):
    """Return images of both classes, as floats, and labels."""
    first = network.at(0.1, 0.2, 0.3)
    data = Images(torch.cat([first.images, 255 - first.images]), torch.tensor([0, 0, 0, 1, 1, 1]))
    return as_float_images(data.images), data.labels


@pytest.mark.parametrize(("kind", "share"), [("linear", 0.1), ("plateau", 1.0)])
def test_a_plateau_keeps_its_margin_which_is_a_hint_and_no_verdict(kind, share, request):
    network = request.getfixturevalue(kind)

    check = straight_way(network, *both_classes(network))

    assert check.value == pytest.approx(share, abs=0.02)
    assert check.verdict == "pass"


def test_an_image_without_a_margin_does_not_count(linear):
    images, labels = both_classes(linear)
    tied = images.clone()
    tied[0] = 0.5  # both logits are zero, and the first class wins

    assert straight_way(linear, tied, labels).value == pytest.approx(0.1, abs=0.02)
    assert straight_way(linear, torch.full_like(images, 0.5), labels).verdict == "not run"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_images_of_one_class_show_nothing(linear, count):
    images, labels = both_classes(linear)

    check = straight_way(linear, images[:count], labels[:count])

    assert (check.value, check.verdict) == (None, "not run")
