"""What is left of the margin near the boundary: all of it on a plateau, little where logits fall evenly."""

from __future__ import annotations

import pytest
import torch

from benchmark.data.load import Images
from benchmark.evaluation.accuracy import as_float_images
from benchmark.evaluation.straight_way import straight_way


def both_classes(network):
    """Return images of both classes, as floats, and labels."""
    first = network.at(0.1, 0.2, 0.3)
    data = Images(torch.cat([first.images, 255 - first.images]), torch.tensor([0, 0, 0, 1, 1, 1]))
    return as_float_images(data.images), data.labels


@pytest.mark.parametrize(("kind", "left"), [("linear", 0.1), ("plateau", 1.0)])
def test_a_plateau_keeps_its_margin_which_is_a_hint_and_no_verdict(kind, left, request):
    network = request.getfixturevalue(kind)

    check = straight_way(network, *both_classes(network))

    assert check.value == pytest.approx(left, abs=0.02)
    assert check.verdict == "pass"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_images_of_one_class_show_nothing(linear, count):
    images, labels = both_classes(linear)

    check = straight_way(linear, images[:count], labels[:count])

    assert (check.value, check.verdict) == (None, "not run")
