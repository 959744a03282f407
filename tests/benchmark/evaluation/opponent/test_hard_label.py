"""RayS finds a boundary within the ball from the predicted class alone, and stays within its query budget."""

from __future__ import annotations

import pytest
import torch

from benchmark.evaluation.accuracy import as_float_images
from benchmark.evaluation.opponent.hard_label import ORDERS, pixel_ranks, rays

EPSILON = 0.1


class Recorder:
    """Returns a network's predicted classes and keeps the points that were queried."""

    def __init__(self, network):
        self.network, self.points = network, []

    def __call__(self, points):
        self.points.append(points.clone())
        return self.network(points).argmax(1)


def attack(network, images, *, order="rows", queries=250, seed=0):
    """Return the broken rows, their points, and all queries."""
    classify, pixels = Recorder(network), as_float_images(images.images)
    ranks = pixel_ranks(pixels.shape[1:], order, seed)
    turns = list(rays(classify, pixels, images.labels, epsilon=EPSILON, ranks=ranks, queries=queries))
    return torch.cat([rows for rows, _ in turns]), torch.cat([points for _, points in turns]), classify.points


@pytest.mark.parametrize("kind", ["linear", "plateau"])
def test_images_are_broken_exactly_if_their_margin_is_within_the_ball(kind, request):
    network = request.getfixturevalue(kind)
    images = network.at(0.02, 0.06, 0.09, 0.11, 0.2)

    rows, points, _ = attack(network, images)

    assert sorted(rows.tolist()) == [0, 1, 2]
    pixels = as_float_images(images.images)[rows]
    assert (points - pixels).abs().max() <= EPSILON + 1e-6
    assert points.min() >= 0 and points.max() <= 1
    assert (network(points).argmax(1) == 1).all()


def test_no_point_leaves_the_pixel_range(linear):
    images = linear.at(0.06)
    images.images[0, 0, :2] = 255
    images.images[0, 0, 6:] = 0  # more margin, which no point in the ball overcomes

    rows, points, queries = attack(linear, images)

    assert all(float(points.min()) >= 0 and float(points.max()) <= 1 for points in queries)
    assert len(rows) == len(points) == 0


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 5, 7)])
def test_an_order_has_every_pixel_once(shape, order):
    ranks = pixel_ranks(torch.Size(shape), order, 0)

    assert ranks.sort().values.tolist() == list(range(shape[0] * shape[1] * shape[2]))


def test_neighbours_in_an_order_are_adjacent_pixels():
    def first(order, count):
        ranks = pixel_ranks(torch.Size((3, 8, 8)), order, 0).view(3, 8, 8)
        return sorted(tuple(place) for place in (ranks < count).nonzero().tolist())

    assert first("rows", 4) == [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3)]
    assert first("columns", 4) == [(0, 0, 0), (0, 1, 0), (0, 2, 0), (0, 3, 0)]
    ranks = [pixel_ranks(torch.Size((3, 8, 8)), "random", seed) for seed in (0, 0, 1)]
    assert torch.equal(ranks[0], ranks[1]) and not torch.equal(ranks[1], ranks[2])


@pytest.mark.parametrize("queries", [1, 7, 40])
def test_an_image_is_queried_within_the_budget_and_no_longer_once_it_is_broken(linear, queries):
    images = linear.at(0.02, 0.2)

    rows, _, points = attack(linear, images, queries=queries)

    counts = [len(query) for query in points]
    assert len(counts) == queries
    both = counts.count(2) if len(rows) else queries
    assert counts == [2] * both + [1] * (queries - both)
    assert (queries < 40) or rows.tolist() == [0]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 5, 7)])
def test_every_shape_can_be_attacked(shape, order):
    """The network depends on one pixel: all pixels change at once, or soon one by one."""
    images = torch.full((2, *shape), 0.5)
    ranks = pixel_ranks(images.shape[1:], order, 0)

    def classify(points):
        return (points[:, 0, 0, 0] < 0.45).long()

    turns = rays(classify, images, torch.zeros(2, dtype=torch.int64), epsilon=EPSILON, ranks=ranks, queries=40)

    assert sorted(torch.cat([rows for rows, _ in turns]).tolist()) == [0, 1]
