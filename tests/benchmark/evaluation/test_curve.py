"""A security curve starts at clean accuracy, never rises, and has the area computed by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.data.load import Images
from benchmark.evaluation.accuracy import clean_verdicts, pgd_verdicts
from benchmark.evaluation.curve import CurvePoint, area_under, default_epsilons, security_curve
from benchmark.networks.resnet import plain_conv

SETTINGS = {"steps": 4, "seed": 3, "batch_size": 10}
EPSILONS = [0.0, 2 / 255, 4 / 255, 8 / 255, 16 / 255]


@pytest.fixture
def model(make_plan):
    """Return a small random network with statistics other than the initial ones."""
    model = make_plan(width=1 / 4)(conv=plain_conv, norm=nn.BatchNorm2d)
    for _ in range(20):
        model(torch.rand(32, 3, 8, 8))
    return model.eval()


@pytest.fixture
def data(model, make_images):
    """Return images of which the network classifies four fifths correctly."""
    images = make_images(40, model=model)
    images.labels[::5] = (images.labels[::5] + 1) % 10
    return images


def curve(model, data, epsilons=EPSILONS, report=lambda line: None):
    return security_curve(model, data, epsilons=epsilons, report=report, **SETTINGS)


class Constant(nn.Module):
    """Puts every image into class 0, whatever it looks like."""

    def forward(self, images):
        return F.one_hot(torch.zeros(len(images), dtype=torch.long), 10) + 0.0 * images.sum((1, 2, 3))[:, None]


class Ring(nn.Module):
    """Misclassifies only if the first pixel is slightly above its original 128: large steps jump over that range."""

    def forward(self, images):
        pixel = images[:, 0, 0, 0] - 128 / 255
        wrong = ((pixel > 0.005) & (pixel < 0.02)).float()
        return torch.stack([1 - pixel - 9 * wrong, 0 * pixel], dim=1)


def test_radius_zero_is_clean_accuracy_and_the_curve_only_falls(model, data):
    lines = []

    points = curve(model, data, report=lines.append)

    accuracies = [point.accuracy for point in points]
    assert [point.epsilon for point in points] == EPSILONS
    assert accuracies[0] == int(clean_verdicts(model, data, batch_size=10).sum()) / 40 == 0.8
    assert accuracies == sorted(accuracies, reverse=True) and accuracies[-1] < accuracies[1] < accuracies[0]
    assert len(lines) == len(points) and lines[0] == "curve      epsilon 0.0000 80.00"


def test_running_out_of_memory_is_reported_once_and_changes_no_point(model, data):
    class Cramped(nn.Module):
        def forward(self, images):
            if len(images) > 5:
                raise torch.OutOfMemoryError
            return model(images)

    lines, note = [], "evaluate   out of memory with 10 images at once; went on with 5"

    assert curve(Cramped(), data, report=lines.append) == curve(model, data)
    assert [line for line in lines if "memory" in line] == [note]


def test_a_point_counts_images_that_survive_all_attacks_up_to_its_radius(model, data):
    robust, expected = torch.ones(40, dtype=torch.bool), []
    for epsilon in EPSILONS[1:]:
        attack = {"epsilon": epsilon, "step_size": epsilon / 4, "restarts": 1}
        robust = robust & pgd_verdicts(model, data, **attack, **SETTINGS)
        expected.append(int(robust.sum()) / 40)

    assert [point.accuracy for point in curve(model, data, EPSILONS[1:])] == expected


def test_an_image_broken_within_a_small_ball_stays_broken_in_a_larger_one():
    data = Images(torch.full((8, 3, 8, 8), 128, dtype=torch.uint8), torch.zeros(8, dtype=torch.long))

    (large,) = curve(Ring(), data, [0.4])
    small, both = curve(Ring(), data, [0.015, 0.4])

    assert small.accuracy < large.accuracy  # PGD in the larger ball alone misses them
    assert both.accuracy <= small.accuracy


def test_a_network_that_no_attack_changes_has_its_accuracy_as_area(make_images):
    data = make_images(40)
    share = int((data.labels == 0).sum()) / 40

    points = curve(Constant(), data, default_epsilons(8 / 255))

    assert 0 < share < 1
    assert area_under(points) == pytest.approx(share)


def test_the_area_equals_one_computed_by_hand():
    points = [CurvePoint(0.0, 0.8), CurvePoint(0.1, 0.4), CurvePoint(0.3, 0.2), CurvePoint(0.4, 0.0)]

    assert area_under(points) == pytest.approx((0.1 * 0.6 + 0.2 * 0.3 + 0.1 * 0.1) / 0.4)
    assert area_under(points[1:3]) == pytest.approx(0.3)
    with pytest.raises(ValueError, match="at least two points, got 1"):
        area_under(points[:1])


def test_the_usual_radii_are_multiples_of_the_protocols_below_one():
    assert [round(255 * epsilon, 9) for epsilon in default_epsilons(8 / 255)] == [0, 2, 4, 6, 8, 12, 16, 32]
    assert default_epsilons(0.25) == [0.0, 0.0625, 0.125, 0.1875, 0.25, 0.375, 0.5]


@pytest.mark.parametrize("epsilons", [[0.1, 0.1], [0.2, 0.1], [-0.1, 0.1], [0.5, 1.0], [float("nan")]])
def test_radii_that_do_not_ascend_within_the_pixels_are_refused(model, data, epsilons):
    with pytest.raises(ValueError, match="must ascend within"):
        curve(model, data, epsilons)
