"""RayS finds a boundary from the predicted class alone, within the ball, and asks no more often than it may."""

from __future__ import annotations

import pytest
import torch

from benchmark.evaluation.accuracy import as_float_images
from benchmark.evaluation.opponent.hard_label import ORDERS, pixel_ranks, rays

EPSILON = 0.1


class Asked:
    """A network that gives its predicted class, and remembers what it was asked about."""

    def __init__(self, network):
        self.network, self.points = network, []

    def __call__(self, points):
        self.points.append(points.clone())
        return self.network(points).argmax(1)


def attack(network, images, *, order="rows", queries=250, seed=0):
    """Return the rows that fall, the points, and what the network was asked."""
    classify, pixels = Asked(network), as_float_images(images.images)
    ranks = pixel_ranks(pixels.shape[1:], order, seed)
    turns = list(rays(classify, pixels, images.labels, epsilon=EPSILON, ranks=ranks, queries=queries))
    return torch.cat([rows for rows, _ in turns]), torch.cat([points for _, points in turns]), classify.points


@pytest.mark.parametrize("kind", ["linear", "plateau"])
def test_what_the_ball_reaches_is_found_and_nothing_else(kind, request):
    network = request.getfixturevalue(kind)
    images = network.at(0.02, 0.06, 0.09, 0.11, 0.2)

    rows, points, _ = attack(network, images)

    assert sorted(rows.tolist()) == [0, 1, 2]
    pixels = as_float_images(images.images)[rows]
    assert (points - pixels).abs().max() <= EPSILON + 1e-6
    assert points.min() >= 0 and points.max() <= 1
    assert (network(points).argmax(1) == 1).all()


def test_no_point_leaves_the_range_of_pixels_at_the_edge_of_it(linear):
    images = linear.at(0.06)
    images.images[0, 0, :2] = 255
    images.images[0, 0, 6:] = 0  # more margin, which nothing takes away

    rows, points, asked = attack(linear, images)

    assert all(float(points.min()) >= 0 and float(points.max()) <= 1 for points in asked)
    assert len(rows) == len(points) == 0


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 5, 7)])
def test_an_order_has_every_pixel_once(shape, order):
    ranks = pixel_ranks(torch.Size(shape), order, 0)

    assert ranks.sort().values.tolist() == list(range(shape[0] * shape[1] * shape[2]))


def test_orders_put_their_neighbours_side_by_side():
    def first(order, count):
        ranks = pixel_ranks(torch.Size((3, 8, 8)), order, 0).view(3, 8, 8)
        return sorted(tuple(place) for place in (ranks < count).nonzero().tolist())

    assert first("rows", 4) == [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3)]
    assert first("columns", 4) == [(0, 0, 0), (0, 1, 0), (0, 2, 0), (0, 3, 0)]
    ranks = [pixel_ranks(torch.Size((3, 8, 8)), "random", seed) for seed in (0, 0, 1)]
    assert torch.equal(ranks[0], ranks[1]) and not torch.equal(ranks[1], ranks[2])


@pytest.mark.parametrize("queries", [1, 7, 40])
def test_an_image_is_asked_about_no_more_often_than_it_may_and_no_more_once_it_fell(linear, queries):
    images = linear.at(0.02, 0.2)

    rows, _, asked = attack(linear, images, queries=queries)

    assert len(asked) == queries
    fell = [len(points) for points in asked].count(2) if len(rows) else queries
    assert [len(points) for points in asked] == [2] * fell + [1] * (queries - fell)
    assert (queries < 40) or rows.tolist() == [0]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 5, 7)])
def test_every_shape_can_be_attacked(shape, order):
    """A network that looks at one pixel: all of them are turned at once, or soon on their own."""
    images = torch.full((2, *shape), 0.5)
    ranks = pixel_ranks(images.shape[1:], order, 0)

    def classify(points):
        return (points[:, 0, 0, 0] < 0.45).long()

    turns = rays(classify, images, torch.zeros(2, dtype=torch.int64), epsilon=EPSILON, ranks=ranks, queries=40)

    assert sorted(torch.cat([rows for rows, _ in turns]).tolist()) == [0, 1]
