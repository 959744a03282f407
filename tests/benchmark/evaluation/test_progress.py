"""AutoAttack reports its progress: counts, upper bounds on the time left, and lines within long batches."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmark.data.load import Images
from benchmark.evaluation import progress
from benchmark.evaluation.autoattack import autoattack
from benchmark.evaluation.progress import Cost, Place, Progress, attack_costs, seconds_left
from benchmark.results.evaluation import CASCADE


class Sure(nn.Module):
    """Puts every image into class 0, whatever an attack does, and counts its passes."""

    def __init__(self):
        super().__init__()
        self.passes = self.gradients = 0

    def forward(self, images):
        self.passes += 1
        scores = torch.arange(4.0, 0.0, -1.0)[None] + 1e-3 * images.flatten(1)[:, :4]
        if scores.requires_grad:
            scores.register_hook(self.count_gradient)
        return scores

    def count_gradient(self, gradient):
        self.gradients += 1


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock with one that shows `now`, which only the test changes."""
    time = SimpleNamespace(now=0.0)
    monkeypatch.setattr("benchmark.runtime.progress.perf_counter", lambda: time.now)
    return time


def place(attack="fab-t", number=1, *, images=10, later=5, robust=40):
    return Place(attack, number, 2, images=images, later=later, robust=robust)


def test_the_costs_are_those_of_an_image_that_survives_every_attack(monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    model, lines = Sure(), []
    data = Images(torch.full((1, 1, 4, 4), 128, dtype=torch.uint8), torch.tensor([0]))
    before_the_attacks = 9  # seven passes of the package's checks, one clean verdict, one for the journal

    result = autoattack(model, data, num_classes=4, epsilon=8 / 255, seed=0, batch_size=5, report=lines.append)

    costs = attack_costs(3)
    assert result.verdicts.tolist() == [True]
    assert model.passes == before_the_attacks + sum(cost.passes for cost in costs.values())
    assert model.gradients == sum(cost.gradients for cost in costs.values())
    for attack in CASCADE:
        last = [line for line in lines if attack in line and " pass " in line][-1]
        assert f"batch 1/1   pass {costs[attack].passes}/{costs[attack].passes}   1/1 still robust" in last
    assert lines[-1].endswith("at most about 0s left")


def test_square_is_half_of_the_cost():
    equivalents = {attack: cost.passes + cost.gradients for attack, cost in attack_costs(9).items()}

    shares = {attack: round(100 * value / sum(equivalents.values())) for attack, value in equivalents.items()}

    assert shares == {"apgd-ce": 2, "apgd-t": 19, "fab-t": 28, "square": 51}


def test_a_measured_attack_is_extrapolated_from_itself_and_others_by_their_cost():
    costs = {"first": Cost(10, 10), "second": Cost(20, 0)}
    measured = {"first": (40, 8.0)}  # forwarded images and seconds: 0.2 s a pass, 0.1 s a forward-equivalent

    assert seconds_left(measured, {"first": 3}, costs) == pytest.approx(3 * 10 * 0.2)
    assert seconds_left(measured, {"second": 3}, costs) == pytest.approx(3 * 20 * 0.1)
    assert seconds_left(measured, {"first": 1.5, "second": 3}, costs) == pytest.approx(3.0 + 6.0)
    assert seconds_left({**measured, "second": (20, 40.0)}, {"second": 1}, costs) == pytest.approx(40.0)


def test_within_a_batch_a_line_comes_every_ten_seconds_at_most(clock):
    lines: list[str] = []
    tracker = Progress(lines.append, total=50, targets=9)
    tracker.begin(place())

    at = []
    for second in range(1, 36):
        clock.now = float(second)
        tracker.forward(10)
        at += [second] * (len(lines) - len(at))

    assert at == [10, 20, 30]
    # 100 images forwarded in 10 s. Left are (10 + 5) * 1829 - 100 passes of FAB, and 40 * 5004 cheaper ones of Square.
    assert lines[0] == (
        "autoattack  fab-t    batch 1/2   pass 10/1829   40/50 still robust   10s, at most about "
        f"{(27335 + 40 * 5004 * 1829 / 2729) / 10 / 3600:.1f} h left"
    )


def test_after_a_batch_the_time_left_covers_the_images_still_robust(clock):
    lines: list[str] = []
    tracker = Progress(lines.append, total=50, targets=9)
    tracker.begin(place(later=5))

    tracker.end("fab-t", forwarded=1829, seconds=2729.0, robust=30)

    seconds = 5 * 2729 + 30 * 5004
    assert lines == [
        f"autoattack  fab-t    batch 1/2   30/50 still robust   45 min, at most about {seconds / 3600:.0f} h left"
    ]


def test_batches_of_earlier_sessions_are_counted_but_not_reported(clock):
    lines: list[str] = []
    tracker = Progress(lines.append, total=50, targets=9)

    tracker.end("apgd-ce", forwarded=100, seconds=60.0, robust=40)
    tracker.begin(place("square", 2, images=1, later=0))
    tracker.end("square", forwarded=10, seconds=6.0, robust=39)

    assert lines == ["autoattack  square   batch 2/2   39/50 still robust   66s, at most about 0s left"]
