"""Gradient health: honest networks pass every check, and each planted trick fails the check meant for it."""

from __future__ import annotations

import copy
import math
from functools import cache, partial

import pyautoattack
import pytest
import torch
from torch import nn

from benchmark.data.load import Images, load_test, load_training
from benchmark.evaluation.accuracy import as_float_images, clean_verdicts, pgd_verdicts
from benchmark.evaluation.autoattack import autoattack
from benchmark.evaluation.health.health import Check, gradient_health
from benchmark.evaluation.health.verdict import Limits, judge_number, judge_share
from benchmark.networks.resnet import NetworkPlan
from benchmark.results.evaluation import CASCADE, CHECKS, worst_verdict
from benchmark.training.objectives import PgdObjective
from benchmark.training.schedule import make_optimizer, set_trainable
from methods.at import AT
from methods.base import Batch, Target
from methods.edge_popup import EdgePopup

EPSILON, STEP = 32 / 255, 8 / 255
QUERIES = 500  # of Square


@cache
def test_images(count):
    return load_test("digits", None, limit=count).test


test_images.__test__ = False


@cache
def trained(method, weights, last_norm):
    """Train a narrow network for a few epochs by adversarial training or edge-popup and export it."""
    data = load_training("digits", None)
    plan = NetworkPlan("resnet6", 10, data.info.mean, data.info.std, width=1 / 8, last_norm=last_norm)
    target = Target(0.3 if isinstance(method, EdgePopup) else 1.0, weights, 1.0)
    objective = PgdObjective(
        epsilon=EPSILON,
        step_size=EPSILON / 2,
        num_steps=2,
        random_start=True,
        train_mode_attack=True,
        attack_bf16=False,
        update_bf16=False,
        crop_padding=0,
        flip=False,
        generator=torch.Generator().manual_seed(0),
    )
    torch.manual_seed(0)
    model = method.build(plan, target)
    (phase,) = method.phases(4, target)
    optimizer = make_optimizer(phase, set_trainable(model, phase))
    method.begin_phase(model, phase)
    model.train()
    for step in range(4 * 22):
        rows = torch.randint(len(data.train), (64,))
        batch = Batch(as_float_images(data.train.images[rows]), data.train.labels[rows], rows)
        optimizer.zero_grad()
        method.loss(model, phase, batch, objective).backward()
        optimizer.step()
        method.after_step(model, phase, step)
    return method.export(model)


honest = partial(trained, AT(), "fp", True)


def verdicts_of(model, data):
    """Return clean and PGD verdicts."""
    pgd = pgd_verdicts(model, data, epsilon=EPSILON, step_size=STEP, steps=10, restarts=1, seed=0, batch_size=100)
    return {"clean": clean_verdicts(model, data, batch_size=100), "pgd": pgd}


@cache
def of_honest(count):
    """Return the honest network's verdicts."""
    return verdicts_of(honest(), test_images(count))


class Short(pyautoattack.AutoAttack):
    """AutoAttack standard with fewer iterations."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.apgd.n_iter = self.apgd_targeted.n_iter = 50
        self.fab.n_iter = 20
        self.square.n_queries = QUERIES


def of_autoattack(model, data, attacks=CASCADE):
    """Return the verdicts of AutoAttack's cascade, or of some attacks that break what there is to break."""
    settings = {"num_classes": 10, "epsilon": EPSILON, "seed": 0, "batch_size": 200, "queries": QUERIES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyautoattack, "AutoAttack", Short)
        return autoattack(model, data, attacks=attacks, **settings, report=lambda line: None).robust


def checked(model, data, verdicts=None, only=CHECKS, **changes):
    """Return the checks by name, all unless some are named."""
    settings = {"epsilon": EPSILON, "pgd_step_size": STEP, "pgd_steps": 10, "seed": 0, "batch_size": 100, "only": only}
    checks = gradient_health(
        model, data, verdicts or of_honest(len(data)), report=lambda line: None, **(settings | changes)
    )
    assert [check.name for check in checks] == list(only)
    for check in checks:
        assert check.value is None or math.isfinite(check.value)
        assert check.reason.endswith(".") and "\n" not in check.reason
    return {check.name: check for check in checks}


class Around(nn.Module):
    """A trick around a copy of a network."""

    def __init__(self, model):
        super().__init__()
        self.model = copy.deepcopy(model)
        self.eval()


class Rounded(Around):
    def forward(self, images):
        return self.model(torch.round(images * 4) / 4)


class BlurredAndRounded(Around):
    """Noise on single pixels does not affect the rounding; shifts of whole regions do."""

    def forward(self, images):
        blurred = nn.functional.interpolate(nn.functional.avg_pool2d(images, 4), scale_factor=4)
        return self.model(torch.round(blurred * 8) / 8)


class Dead(Around):
    """Pruned too far: no path leads from dark images to any logit."""

    def forward(self, images):
        lit = torch.relu(images.sum((1, 2, 3)) - 28)[:, None]
        return lit * self.model(images) + torch.arange(10.0, device=images.device)


class StraightThrough(Around):
    def forward(self, images):
        return self.model(images + (torch.round(images * 255) / 255 - images).detach())


class Sign(Around):
    def forward(self, images):
        model = self.model
        x = torch.sign(model.bn1(model.conv1(model.normalize(images))))
        return model.last_norm(model.fc(model.layer2(model.layer1(x)).mean((2, 3), keepdim=True))).flatten(1)


class Noisy(Around):
    def forward(self, images):
        return self.model(images + 0.05 * torch.randn_like(images))


class NoisyUnderAttack(Around):
    def forward(self, images):
        return self.model(images + 0.05 * torch.randn_like(images) * images.requires_grad)


class ForcesTraining(Around):
    def forward(self, images):
        self.model.train()
        logits = self.model(images)
        self.model.eval()
        return logits


class StaysInTraining(Around):
    def train(self, mode=True):
        return super().train(True)

    def forward(self, images):
        return self.model(images)


class Large(Around):
    def forward(self, images):
        return 1e4 * self.model(images)


class Detached(Around):
    def forward(self, images):
        return self.model(images.detach())


class PartlyDetached(Around):
    def forward(self, images):
        return 0.7 * self.model(images) + 0.3 * self.model(images.detach())


class NoGradients(Around):
    def forward(self, images):
        with torch.inference_mode():
            return self.model(images)


class HalfPrecision(Around):
    def forward(self, images):
        return self.model(images.half().float())


class OnlyFloat32(Around):
    """Honest, but its code supports no other type."""

    def forward(self, images):
        return self.model(images.float())


class Refusing(Around):
    """Honest, but refuses to be copied."""

    def __deepcopy__(self, memo):
        raise RuntimeError("no copies")

    def forward(self, images):
        return self.model(images)


class WritesIntoInput(Around):
    def forward(self, images):
        return self.model(images.clamp_(0, 1))


class NotANumber(Around):
    def forward(self, images):
        return self.model(images) * float("nan")


class Raising(Around):
    def forward(self, images):
        raise KeyError("lost")


class Pair(Around):
    def forward(self, images):
        return self.model(images), images


def without_statistics(model):
    """Return a copy whose batch norms use the batch's statistics in eval mode too."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = module.running_var = None
    return model


@pytest.mark.parametrize(
    "network",
    [
        partial(trained, AT(), "fp", True),
        partial(trained, AT(binary_lr=0.01), "binary", True),
        partial(trained, EdgePopup(), "fp", True),
        partial(trained, EdgePopup(), "binary", False),
    ],
    ids=["at fp", "at bin", "edge_popup fp", "edge_popup bin no LBN"],
)
def test_an_honest_network_passes_every_check_for_few_and_for_many_images(network):
    model = network()
    of_all = verdicts_of(model, test_images(120)) | of_autoattack(model, test_images(120), ("apgd-ce", "apgd-t"))
    of_all["fab-t"] = of_all["square"] = of_all["apgd-t"]
    for count in (24, 120):
        data, verdicts = test_images(count), {name: bits[:count] for name, bits in of_all.items()}

        checks = checked(model, data, verdicts, parent=honest() if count == 120 else None)

        ran = {name: check.verdict for name, check in checks.items() if check.verdict != "not run"}
        assert verdicts["square"].any()  # so that the checks of survivors have images
        assert set(ran) == set(CHECKS) - (set() if count == 120 else {"transfer"})
        assert set(ran.values()) == {"pass"}, checks


def test_an_honest_network_passes_with_the_verdicts_of_autoattack():
    model, data = honest(), test_images(16)

    checks = checked(model, data, verdicts_of(model, data) | of_autoattack(model, data))

    assert checks["black_box"].verdict == "pass"
    assert worst_verdict(check.verdict for check in checks.values()) == "pass"


@pytest.mark.parametrize(
    ("trick", "names", "count"),
    [
        (Sign, ["zero_gradients", "unbounded"], 64),
        (StraightThrough, ["true_gradients"], 64),
        (Sign, ["zero_gradients", "unbounded"], 24),
        (Rounded, ["zero_gradients", "unbounded"], 24),
        (BlurredAndRounded, ["zero_gradients", "unbounded"], 24),
        (StraightThrough, ["true_gradients"], 24),
        (Noisy, ["deterministic", "batch_independent"], 24),
        (NoisyUnderAttack, ["deterministic"], 24),
        (ForcesTraining, ["eval_mode", "batch_independent"], 24),
        (StaysInTraining, ["eval_mode", "batch_independent"], 24),
        (without_statistics, ["eval_mode", "batch_independent"], 24),
        (Large, ["zero_gradients"], 24),
        (Detached, ["zero_gradients", "true_gradients", "unbounded"], 24),
        (NoGradients, ["zero_gradients", "true_gradients", "unbounded"], 24),
        (PartlyDetached, ["true_gradients"], 24),
        (HalfPrecision, ["true_gradients"], 24),
        (NotANumber, ["eval_mode", "deterministic", "zero_gradients"], 24),
        (Raising, ["eval_mode", "true_gradients", "more_steps"], 24),
        (Pair, ["eval_mode", "true_gradients", "more_steps"], 24),
    ],
)
def test_a_planted_trick_fails_the_check_meant_for_it(trick, names, count):
    checks = checked(trick(honest()), test_images(count))

    assert {name: checks[name].verdict for name in names} == dict.fromkeys(names, "fail")
    assert worst_verdict(check.verdict for check in checks.values()) == "fail"


@pytest.mark.parametrize("variant", [OnlyFloat32, Refusing, WritesIntoInput])
def test_odd_but_honest_networks_pass(variant):
    checks = checked(variant(honest()), test_images(24))

    assert worst_verdict(check.verdict for check in checks.values()) == "pass", checks


def test_a_network_that_is_constant_in_the_ball_may_have_zero_gradients():
    model, data, only = Dead(honest()), test_images(64), ["zero_gradients"]
    verdicts = {name: torch.ones(64, dtype=torch.bool) for name in ("clean", "pgd")}
    assert as_float_images(data.images).sum((1, 2, 3)).max() < 24  # of 64 pixels: 1/16 on each cannot reach 28

    within = checked(model, data, verdicts, only, epsilon=1 / 16)["zero_gradients"]
    beyond = checked(model, data, verdicts, only, epsilon=1 / 2)["zero_gradients"]

    assert within.verdict == "pass" and "besides 64 whose margin" in within.reason
    assert beyond.verdict == "fail" and beyond.value == 1


def test_a_network_passed_in_train_mode_fails_and_is_otherwise_judged_in_eval_mode():
    model = copy.deepcopy(honest()).train()

    checks = checked(model, test_images(24))

    assert [name for name, check in checks.items() if check.verdict == "fail"] == ["eval_mode"]
    assert checks["eval_mode"].value == len(list(model.modules()))


def test_large_logits_are_broken_by_rescaled_attacks_if_only_pgd_with_cross_entropy_was_run():
    model, data = Large(honest()), test_images(64)
    verdicts = {
        "clean": clean_verdicts(model, data, batch_size=64),
        "pgd": pgd_verdicts(model, data, epsilon=EPSILON, step_size=STEP, steps=10, restarts=1, seed=0, batch_size=64),
    }

    checks = checked(model, data, verdicts)

    assert checks["logit_scale"].verdict == "fail"
    assert "saturated on 100%" in checks["logit_scale"].reason
    assert checks["black_box"].verdict == "not run"


def test_images_that_only_square_breaks_count_against_the_gradients():
    data = test_images(64)
    verdicts = {name: torch.ones(64, dtype=torch.bool) for name in ("clean", "pgd", "fab-t", "square")}
    verdicts["square"][:16] = False

    check = checked(honest(), data, verdicts, ["black_box"])["black_box"]

    assert (check.value, check.verdict) == (0.25, "fail")
    assert check.reason.startswith("16 of 64 images that survived the white-box attacks are broken by Square")


def test_more_steps_reveal_too_few_steps():
    data = test_images(64)
    clean = clean_verdicts(honest(), data, batch_size=64)

    verdicts, only = {"clean": clean, "pgd": clean}, ["more_steps"]
    check = checked(honest(), data, verdicts, only, pgd_step_size=STEP / 4, pgd_steps=2)["more_steps"]

    more = pgd_verdicts(honest(), data, epsilon=EPSILON, step_size=STEP / 4, steps=8, restarts=2, seed=9, batch_size=64)
    broken = int((clean & ~more).sum())
    assert check.value == pytest.approx(broken / int(clean.sum()), abs=0.05)
    assert check.value > 0.02


def test_images_made_on_the_parent_expose_a_network_without_gradients():
    data = test_images(64)
    model = Detached(honest())
    robust = clean_verdicts(model, data, batch_size=64)
    verdicts = {"clean": robust, "pgd": robust, "fab-t": robust, "square": robust}

    for parent, verdict in ((honest(), "fail"), (Raising(honest()), "not run")):
        assert checked(model, data, verdicts, ["transfer"], parent=parent)["transfer"].verdict == verdict


def test_checks_of_survivors_are_not_run_if_no_image_survives():
    data, broken = test_images(24), torch.zeros(24, dtype=torch.bool)

    checks = checked(honest(), data, dict.fromkeys(("clean", "pgd", "fab-t", "square"), broken))

    not_run = {name for name, check in checks.items() if check.verdict == "not run"}
    assert not_run == {"logit_scale", "black_box", "more_steps", "unbounded", "transfer"}
    assert worst_verdict(check.verdict for check in checks.values()) == "pass"


def test_modes_buffers_parameters_and_random_state_are_restored():
    model = ForcesTraining(honest())
    model.model.layer1.train()
    model.model.fc.weight.requires_grad_(True)
    modes = [module.training for module in model.modules()]
    state = copy.deepcopy(model.state_dict())
    before = torch.random.get_rng_state()

    checked(model, test_images(24))

    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == ["model.fc.weight"]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_same_seed_gives_the_same_checks_even_for_a_random_network():
    first = checked(Noisy(honest()), test_images(24))
    torch.rand(3)

    assert checked(Noisy(honest()), test_images(24)) == first
    assert checked(Noisy(honest()), test_images(24), seed=1) != first


def test_the_checks_cost_less_than_a_twentieth_of_autoattack():
    passed = []
    model = copy.deepcopy(honest())
    model.register_forward_pre_hook(lambda module, arguments: passed.append(len(arguments[0])))
    data = test_images(64)
    verdicts = of_honest(64)

    checked(model, data, verdicts, pgd_steps=20)

    assert 20 * 64 < sum(passed) < 0.05 * 7864 * int(verdicts["clean"].sum())


def test_only_checks_that_do_not_pass_are_reported_in_one_line_each():
    lines = []
    data = test_images(24)
    settings = {"epsilon": EPSILON, "pgd_step_size": STEP, "pgd_steps": 2, "seed": 0, "batch_size": 10}

    checks = gradient_health(honest().train(), data, of_honest(24), report=lines.append, **settings)

    bad = [check for check in checks if check.verdict in ("suspect", "fail")]
    assert "eval_mode" in {check.name for check in bad}
    assert lines == [f"health     {check.verdict}: {check.name}: {check.reason}" for check in bad]


@pytest.mark.parametrize(
    ("verdicts", "message"),
    [
        ({"clean": torch.ones(24, dtype=torch.bool)}, "pgd"),
        ({"clean": torch.ones(24, dtype=torch.bool), "pgd": torch.ones(23, dtype=torch.bool)}, "'pgd': 23"),
    ],
)
def test_wrong_verdicts_are_refused(verdicts, message):
    with pytest.raises(ValueError, match=message):
        checked(honest(), test_images(24), verdicts)


def test_no_images_are_refused():
    data = test_images(24)
    with pytest.raises(ValueError, match="at least one image"):
        checked(honest(), Images(data.images[:0], data.labels[:0]), {"clean": torch.ones(0), "pgd": torch.ones(0)})


@pytest.mark.parametrize(
    ("verdicts", "worst"),
    [
        (["pass", "suspect", "fail", "not run"], "fail"),
        (["pass", "suspect", "not run"], "suspect"),
        (["pass", "not run"], "pass"),
        (["not run"], "suspect"),
    ],
)
def test_the_worst_verdict_counts_and_a_check_that_was_not_run_does_not(verdicts, worst):
    assert worst_verdict(verdicts) == worst


def test_a_share_is_judged_by_the_lower_end_of_its_interval():
    judge = partial(judge_share, "name", limits=Limits(0.02, 0.1), observation="break", advice="look")

    assert [judge(count, 24).verdict for count in (0, 1, 2, 5, 6, 24)] == [
        *("pass", "pass", "suspect", "suspect", "fail", "fail")
    ]
    assert judge(1, 24).reason == "1 of 24 images break."
    assert judge(6, 24) == Check("name", 0.25, "fail", "6 of 24 images break; look.")
    assert judge(0, 0).verdict == "not run"


@pytest.mark.parametrize(
    ("number", "verdict"), [(0.1, "pass"), (0.2, "suspect"), (0.3, "fail"), (math.inf, "fail"), (math.nan, "fail")]
)
def test_a_number_that_is_not_finite_fails_and_is_not_reported(number, verdict):
    check = judge_number("name", number, Limits(0.1, 0.25), observation="differ", advice="look")

    assert check.verdict == verdict
    assert check.value == (number if math.isfinite(number) else None)
