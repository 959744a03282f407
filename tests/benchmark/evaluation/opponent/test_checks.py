"""The opponent's attacks: their images break the network itself, and a stopped run resumes to the same verdicts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmark.evaluation.accuracy import as_float_images
from benchmark.evaluation.fast.compute_batch import ComputeBatch
from benchmark.evaluation.opponent import attacks
from benchmark.evaluation.opponent.attacks import HARD_LABEL, LEAKY, opponent_attacks, stages_of
from benchmark.evaluation.opponent.checks import FIRST_IMAGES, opponent_checks
from benchmark.evaluation.probes import PROBE_IMAGES
from benchmark.results.evaluation import OPPONENT_CHECKS

EPSILON = 0.1
MARGINS = (0.02, 0.2, 0.06, 0.09, 0.11)
REACHED = [0, 2, 3]  # by the ball
ORDERS = {"rows": 40, "columns": 40, "random": 40}
ORIGINAL = attacks.rays
STAGES = (*stages_of(LEAKY), *stages_of(HARD_LABEL))


class Masked(nn.Module):
    """A network whose gradient is zero, through leaky ReLUs too: only the predicted class carries information."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        logits = self.inner(images)
        return torch.nn.functional.one_hot(logits.argmax(1), 2).float() + 0.0 * images.sum()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(attacks, "ORDERS", ORDERS)


def run(network, images, verdicts=None, **settings):
    """Return the result on images that survived everything, unless verdicts are passed, and the reported lines."""
    verdicts = {"clean": torch.ones(len(images), dtype=torch.bool)} if verdicts is None else verdicts
    compute, lines = ComputeBatch(lambda line: None), []
    settings = {"epsilon": EPSILON, "seed": 0, "compute": compute, "report": lines.append, **settings}
    return opponent_checks(network, images, verdicts, **settings), lines


@pytest.mark.parametrize(("wrap", "finder"), [(lambda inner: inner, LEAKY), (Masked, HARD_LABEL)])
def test_broken_images_have_adversarial_images_in_the_ball_that_the_network_misclassifies(plateau, wrap, finder):
    network, images = wrap(plateau), plateau.at(*MARGINS)

    result, _ = run(network, images)

    assert [check.name for check in result.checks] == list(OPPONENT_CHECKS)
    assert result.broken.tolist() == REACHED
    assert result.right.tolist() == [place not in REACHED for place in range(len(MARGINS))]
    assert (network(result.adversarial).argmax(1) != images.labels[result.broken]).all()
    assert (result.adversarial - as_float_images(images.images)[result.broken]).abs().max() <= EPSILON + 1e-6
    assert result.adversarial.min() >= 0 and result.adversarial.max() <= 1
    shares = {check.name: check.value for check in result.checks}
    assert shares[finder] == 3 / 5
    assert {check.name: check.verdict for check in result.checks}[finder] == "fail"
    assert shares[HARD_LABEL] == (0.0 if finder == LEAKY else 3 / 5)


def test_only_the_first_survivors_of_everything_are_attacked(plateau):
    count = PROBE_IMAGES + 8
    images = plateau.at(*[0.02] * count)
    verdicts = {"clean": torch.ones(count, dtype=torch.bool), "pgd": torch.arange(count) % 9 > 0}

    result, _ = run(plateau, images, verdicts)

    assert result.broken.tolist() == verdicts["pgd"].nonzero().flatten()[:PROBE_IMAGES].tolist()


def test_without_survivors_nothing_is_run(plateau):
    images = plateau.at(*MARGINS)

    result, _ = run(plateau, images, {"clean": torch.zeros(len(MARGINS), dtype=torch.bool)})

    assert result.right.all() and len(result.broken) == len(result.adversarial) == 0
    assert [check.verdict for check in result.checks] == ["not run"] * 3


@pytest.mark.parametrize("error", [ValueError("no such images"), RuntimeError("sizes")])
def test_a_network_that_raises_fails(linear, error):
    class Raising(nn.Module):
        def forward(self, images):
            raise error

    result, lines = run(Raising().eval(), linear.at(*MARGINS))

    assert {check.name: check.verdict for check in result.checks}[LEAKY] == "fail"
    assert f"The network failed with {type(error).__name__}: {error}" in result.checks[0].reason
    assert result.right.all() and not len(result.broken)
    assert any("fail: leaky_bpda" in line for line in lines)


@pytest.mark.parametrize("stop_at", range(1, len(STAGES)))
def test_a_stopped_run_resumes_to_the_same_bits(plateau, tmp_path, monkeypatch, stop_at):
    class Stopped(BaseException):
        pass

    network, images, finished = Masked(plateau), plateau.at(*MARGINS), []
    whole, _ = run(network, images)

    class Stage(attacks._Stage):
        def __call__(self):
            if len(finished) == stop_at:
                raise Stopped
            finished.append(self.name)
            return super().__call__()

    monkeypatch.setattr(attacks, "_Stage", Stage)
    with pytest.raises(Stopped):
        run(network, images, journal=tmp_path)
    stop_at = None
    result, lines = run(network, images, journal=tmp_path)

    assert finished == list(STAGES)  # each of them once
    assert any("resumes from" in line for line in lines)
    assert torch.equal(result.right, whole.right) and torch.equal(result.adversarial, whole.adversarial)
    assert result.checks == whole.checks


def test_a_journal_belongs_to_one_network_and_one_ball(plateau, linear, tmp_path):
    images = plateau.at(*MARGINS)
    run(plateau, images, journal=tmp_path)

    assert run(plateau, images, journal=tmp_path, epsilon=0.05)[0].broken.tolist() == [0]
    plateau.signs.zero_()
    assert run(plateau, images, journal=tmp_path)[0].broken.tolist() == run(plateau, images)[0].broken.tolist()


@pytest.mark.parametrize(("margins", "total"), [((0.2,), FIRST_IMAGES), ((0.02, 0.2), PROBE_IMAGES)])
def test_rays_attacks_more_than_the_first_images_only_if_it_breaks_one_of_these(plateau, monkeypatch, margins, total):
    images, counts = plateau.at(*margins, *[0.2] * PROBE_IMAGES), []

    def rays(classify, images, labels, **settings):
        counts.append(len(images))
        yield from ORIGINAL(classify, images, labels, **settings)

    monkeypatch.setattr(attacks, "ORDERS", {"rows": 40})
    monkeypatch.setattr(attacks, "rays", rays)

    result, _ = run(Masked(plateau), images)

    (check,) = (check for check in result.checks if check.name == HARD_LABEL)
    assert sum(counts) == total
    assert check.value == (0 if total == FIRST_IMAGES else 1 / PROBE_IMAGES)


@pytest.mark.parametrize("stage", STAGES[:2])
def test_an_attack_can_be_run_alone(plateau, stage):
    images, places = plateau.at(*MARGINS), torch.tensor([0, 1])
    settings = {"epsilon": EPSILON, "seed": 0, "compute": ComputeBatch(print), "report": lambda line: None}

    result = opponent_attacks(plateau, images, places, stages=[stage], **settings)

    assert result.broken.tolist() == [True, False]
    assert (plateau(result.adversarial).argmax(1) != 0).tolist() == [True, False]
