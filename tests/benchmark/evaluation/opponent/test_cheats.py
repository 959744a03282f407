"""Networks that only look robust, with correct gradients that lead nowhere, fail under the opponent's attacks."""

from __future__ import annotations

import pytest
import torch

from benchmark.data.load import load_test
from benchmark.evaluation.accuracy import as_float_images, clean_verdicts, pgd_verdicts
from benchmark.evaluation.fast.compute_batch import ComputeBatch
from benchmark.evaluation.health.health import gradient_health
from benchmark.evaluation.opponent import attacks
from benchmark.evaluation.opponent.checks import opponent_checks
from benchmark.results.evaluation import OPPONENT_CHECKS
from tests.cheats import CHEATS, inside
from tests.cheats.base import EPSILON, hardened_base, robust_base

IMAGES, FEW_IMAGES = 40, 24


def attack(network, count=IMAGES):
    """Return test images, and a network's clean and PGD verdicts on them."""
    data = load_test("digits", None, limit=count).test
    settings = {"epsilon": EPSILON, "step_size": EPSILON / 4, "steps": 10, "restarts": 1, "seed": 0, "batch_size": 64}
    verdicts = {"clean": clean_verdicts(network, data, batch_size=64), "pgd": pgd_verdicts(network, data, **settings)}
    return data, verdicts


def opposed(network, data, verdicts):
    """Return the result of the opponent's attacks, and its checks by name."""
    compute = ComputeBatch(lambda line: None)
    result = opponent_checks(
        network, data, verdicts, epsilon=EPSILON, seed=0, compute=compute, report=lambda line: None
    )
    assert [check.name for check in result.checks] == list(OPPONENT_CHECKS)
    return result, {check.name: check for check in result.checks}


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_that_passes_the_other_checks_fails_and_loses_most_of_its_false_accuracy(name, monkeypatch):
    """Few images and half of RayS's queries are enough, except for a network that is robust inside."""
    count = IMAGES if name == "robust base" else FEW_IMAGES
    if count == FEW_IMAGES:
        monkeypatch.setattr(attacks, "ORDERS", {order: queries // 2 for order, queries in attacks.ORDERS.items()})
    cheat = CHEATS[name]()
    data, verdicts = attack(cheat, count)
    _, honest = attack(inside(cheat), count)
    reported = int((verdicts["clean"] & verdicts["pgd"]).sum())
    assert reported >= int(honest["pgd"].sum()) + 0.2 * count
    other_checks = gradient_health(
        cheat,
        data,
        verdicts,
        epsilon=EPSILON,
        pgd_step_size=EPSILON / 4,
        pgd_steps=10,
        seed=0,
        batch_size=64,
        only=["zero_gradients", "true_gradients", "deterministic"],
        report=lambda line: None,
    )
    assert "fail" not in {check.verdict for check in other_checks}

    result, checks = opposed(cheat, data, verdicts)

    failed = {check.name for check in checks.values() if check.verdict == "fail"}
    if name == "dead units":  # inactive units mislead leaky BPDA, but not a search by labels
        assert "leaky_bpda" not in failed and "hard_label" in failed
    assert failed & {"leaky_bpda", "hard_label"}
    assert int((verdicts["clean"] & verdicts["pgd"] & result.right).sum()) < reported - 0.15 * count
    wrong = cheat(result.adversarial).argmax(1) != data.labels[result.broken]
    distance = (result.adversarial - as_float_images(data.images[result.broken])).abs().max()
    assert wrong.all() and distance <= EPSILON + 1e-6
    assert result.adversarial.min() >= 0 and result.adversarial.max() <= 1
    assert torch.equal((~result.right).nonzero().flatten(), result.broken.sort().values)


@pytest.mark.parametrize("network", [hardened_base, robust_base])
def test_an_honest_network_does_not_fail_on_survivors_of_pgd_alone(network):
    _, checks = opposed(network(), *attack(network()))

    assert "fail" not in {check.verdict for check in checks.values()}
