"""The search by squares: points and margins are those of the package's loop with whole passes, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pyautoattack.square import SquareAttack

from benchmark.evaluation.fast import AttackedNetwork, ComputeBatch, fold
from methods.sparse.network import SparseNetwork

EPSILON, QUERIES = 8 / 255, 60


@pytest.fixture(scope="module", autouse=True)
def _compiled(compiled):
    """Leave this file out without numba."""


@pytest.mark.parametrize(
    ("name", "channels", "size", "images"),
    [("resnet10", 3, (16, 16), 21), ("resnet6", 1, (8, 8), 5), ("resnet50", 3, (16, 16), 9)],
)
def test_the_search_ends_where_the_packages_loop_does(make_sparse, name, channels, size, images):
    from benchmark.evaluation.square_search import searching

    model = make_sparse(name, channels=channels, density=0.1, seed=3)
    attacked = AttackedNetwork(model, ComputeBatch(lambda line: None))
    x = torch.rand(images, channels, *size, generator=torch.Generator().manual_seed(1))
    y = attacked(x).argmax(1)
    attack = SquareAttack(attacked, n_queries=QUERIES, eps=EPSILON, p_init=0.8, resc_schedule=False)
    attack.init_hyperparam(x)
    outcomes = []
    for run in (attack.attack_single_run, searching(attack, attacked)):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(5)
            outcomes.append((run(x, y)[1], torch.rand(1)))

    (plain, next_plain), (searched, next_searched) = outcomes
    assert torch.equal(searched, plain) and not torch.equal(searched, x)
    if (attacked(plain).argmax(1) == y).any():  # else the loop stops drawing
        assert torch.equal(next_searched, next_plain)


def test_what_was_put_back_gives_the_logits_of_a_whole_pass(make_sparse, compiled):
    from methods.sparse.squares import SquareSearch

    network = SparseNetwork(fold(make_sparse(density=0.1)), compiled)
    images = torch.rand(11, 3, 16, 16, generator=torch.Generator().manual_seed(2)).numpy()
    labels = network(torch.from_numpy(images)).argmax(1).numpy()
    generator = np.random.default_rng(0)
    search = SquareSearch(network, images, images.copy(), labels, EPSILON)
    for side in (5, 2, 1, 3):
        squares = np.column_stack([generator.integers(0, 17 - side, (30, 2)), np.full(30, side)])
        search.run(squares, generator.choice(np.float32([-1, 1]), (30, 3)))

    assert np.abs(search.best - images).max() <= EPSILON * 1.001 and not np.array_equal(search.best, images)
    whole = network(torch.from_numpy(search.best[search.rows])).numpy()
    every = np.arange(len(search.rows))
    others = whole.copy()
    others[every, labels[search.rows]] = -np.inf
    assert np.array_equal(search.margins, whole[every, labels[search.rows]] - others.max(1))
