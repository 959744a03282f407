"""A network of this project is attacked in another form: for less work, with the package's verdicts per image."""

from __future__ import annotations

import copy
from functools import partial

import pyautoattack
import pytest
import torch
import torch.nn.functional as F
from pyautoattack.fab_projections import projection_linf
from torch import nn

from benchmark.bench.yardstick.evaluation import plain_autoattack
from benchmark.data.load import Images, load_test, load_training
from benchmark.evaluation import progress
from benchmark.evaluation.accuracy import clean_verdicts, pgd_verdicts
from benchmark.evaluation.autoattack import autoattack
from benchmark.evaluation.fab_targets import project_to_plane
from benchmark.evaluation.fast import attacked as attacked_module
from benchmark.evaluation.fast.attacked import AllBroken, AttackedNetwork, Rows
from benchmark.evaluation.fast.compute_batch import ComputeBatch
from benchmark.evaluation.fast.folding import can_fold, fold
from benchmark.networks.resnet import BasicBlock, convolutions, plain_conv
from benchmark.results.evaluation import CASCADE

EPSILON, SEED, COUNT = 38 / 255, 3, 70
QUERIES = 60  # of Square


class Short(pyautoattack.AutoAttack):
    """AutoAttack standard with fewer iterations."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.apgd.n_iter = self.apgd_targeted.n_iter = 7
        self.fab.n_iter, self.square.n_queries = 7, QUERIES


@pytest.fixture
def short(monkeypatch):
    """Shorten the package's standard attack, for this project and for plain calls alike."""
    monkeypatch.setattr(pyautoattack, "AutoAttack", Short)


@pytest.fixture
def make_network(make_plan):
    """Return a function that makes random networks in eval mode, with norms that have seen images."""

    def make(**changes):
        plan = make_plan(width=1 / 8, **changes)
        model = plan(conv=plain_conv, norm=nn.BatchNorm2d)
        for _ in range(3):
            model(torch.rand(16, plan.in_channels, 16, 16))
        return model.eval()

    return make


@pytest.fixture(scope="module")
def trained():
    """Return a small ResNet trained on noisy digits; attacks break only some of its images."""
    from benchmark.networks.resnet import NetworkPlan

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = NetworkPlan("resnet6", 10, (0.3,), (0.4,), width=1 / 8)(conv=plain_conv, norm=nn.BatchNorm2d)
        data = load_training("digits", None).train
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(5):
            for rows in torch.randperm(len(data)).split(64):
                images = data.images[rows].float() / 255
                noisy = (images + 0.25 * torch.randn_like(images).sign()).clamp(0, 1)
                optimizer.zero_grad()
                F.cross_entropy(model(noisy), data.labels[rows]).backward()
                optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def digits():
    """Return test digits."""
    data = load_test("digits", None, limit=COUNT).test
    return Images(data.images, data.labels)


def run(model, data, **changes):
    settings = {"num_classes": 10, "epsilon": EPSILON, "seed": SEED, "batch_size": 25, "queries": QUERIES}
    return autoattack(model, data, **({"report": lambda line: None} | settings | changes))


def plain_stages(model, data, *, batch_size=25, epsilon=EPSILON):
    """Return the verdicts after each of the package's attacks on the network as it is."""
    adversary = pyautoattack.AutoAttack(model, eps=epsilon, norm="Linf", version="standard", seed=SEED)
    adversary.fab.targeted = True
    images, stages = data.images.float() / 255, {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        robust = model(images).argmax(1) == data.labels
        attacks = (adversary.apgd, adversary.apgd_targeted, adversary.fab, adversary.square)
        for name, attack in zip(CASCADE, attacks, strict=True):
            for rows in robust.nonzero().flatten().split(batch_size):
                adversarial = attack.perturb(images[rows].clone(), data.labels[rows].clone())
                robust[rows] &= model(adversarial).argmax(1) == data.labels[rows]
            stages[name] = robust.clone()
    return stages


@pytest.mark.parametrize("name", ["resnet10", "resnet18", "resnet50"])
@pytest.mark.parametrize("last_norm", [True, False])
@pytest.mark.parametrize("size", [16, 17])
def test_the_folded_copy_gives_the_networks_logits_and_gradients(make_network, name, last_norm, size):
    model = make_network(name=name, last_norm=last_norm)
    folded = fold(model)
    images, weights = torch.rand(5, 3, size, size, requires_grad=True), torch.randn(5, 10)

    (expected,) = torch.autograd.grad((model(images) * weights).sum(), images)
    (gradient,) = torch.autograd.grad((folded(images) * weights).sum(), images)

    assert torch.allclose(folded(images.detach()), model(images), rtol=1e-4, atol=1e-5)
    assert float((gradient - expected).norm()) < 0.01 * float(expected.norm())  # rounding flips a few ReLUs
    assert float((gradient - expected).abs().median()) < 1e-5 * float(expected.abs().median())


@pytest.mark.parametrize("name", ["resnet10", "resnet18", "resnet50"])
@pytest.mark.parametrize("kept", [0.2, 0.02, 0.004, 0.0])
def test_channels_without_weights_are_left_out_without_changing_outputs(make_network, name, kept):
    model = make_network(name=name)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight *= torch.rand_like(module.weight) < kept
            if isinstance(module, nn.BatchNorm2d):
                module.bias.normal_()  # so that channels without weights are often positive
    folded, images = fold(model), torch.rand(5, 3, 16, 16, requires_grad=True)
    weights = torch.randn(5, 10)

    (expected,) = torch.autograd.grad((model(images) * weights).sum(), images)
    (gradient,) = torch.autograd.grad((folded(images) * weights).sum(), images)

    assert torch.allclose(folded(images.detach()), model(images), rtol=1e-4, atol=1e-5)
    assert float((gradient - expected).norm()) <= 0.01 * float(expected.norm())
    convolved = sum(conv.weight.numel() for block in folded.blocks for conv in block.convs)
    assert kept > 0.004 or convolved < 0.8 * sum(conv.weight.numel() for conv in convolutions(model).values())


def test_a_gradient_can_be_taken_twice_and_the_network_does_not_change(make_network):
    model = make_network()
    state = copy.deepcopy(model.state_dict())
    folded, images = fold(model), torch.rand(4, 3, 16, 16, requires_grad=True)
    total = folded(images).square().sum()

    (first,) = torch.autograd.grad(total, images, retain_graph=True)
    (second,) = torch.autograd.grad(total, images)

    assert torch.equal(first, second)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(value.requires_grad and value.grad is None for value in model.parameters())


def test_only_plain_networks_of_this_project_are_folded(make_network, make_plan):
    class OtherConv(nn.Conv2d):
        """Might compute anything."""

    watched = make_network()
    watched.layer2[0].conv1.register_forward_hook(lambda *_: None)
    other = make_plan()(conv=lambda i, o, k, **how: OtherConv(i, o, k, bias=False, **how), norm=nn.BatchNorm2d)
    stateless = make_plan()(conv=plain_conv, norm=partial(nn.BatchNorm2d, track_running_stats=False))

    assert can_fold(make_network())
    assert [fold(model) for model in (watched, other, stateless, nn.Flatten())] == [None] * 4


class Gated(BasicBlock):
    """A block that computes something else with the usual layers."""

    def forward(self, x):
        return super().forward(x) * 0.5


ALTERATIONS = {
    "block of a subclass": lambda model: setattr(model.layer2[0], "__class__", Gated),
    "module after the blocks": lambda model: model.layer4.append(nn.Sigmoid()),
    "stage of a subclass": lambda model: setattr(model.layer3, "__class__", type("Stage", (nn.Sequential,), {})),
    "no normalisation": lambda model: setattr(model, "normalize", nn.Identity()),
    "other shortcut": lambda model: setattr(model.layer1[0], "shortcut", nn.Sequential(nn.Identity(), nn.Identity())),
    "patched network": lambda model: setattr(model, "forward", lambda images: images.flatten(1)),
    "patched layer": lambda model: setattr(model.conv1, "forward", lambda maps: maps),
    "gradients changed": lambda model: model.layer1[0].register_full_backward_pre_hook(lambda *_: None),
    "other kernel": lambda model: setattr(model, "conv1", nn.Conv2d(3, model.conv1.out_channels, 5, padding=2)),
}


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
def test_a_network_with_a_part_that_was_changed_is_attacked_as_it_is(make_network, alter):
    model = make_network()
    alter(model)

    assert fold(model) is None


@pytest.mark.parametrize("batch_size", [25, 100])
def test_the_verdicts_after_each_attack_are_those_of_the_package(short, trained, digits, batch_size):
    stages = plain_stages(trained, digits, batch_size=batch_size)

    result = run(trained, digits, batch_size=batch_size)

    for name in CASCADE:
        assert torch.equal(result.robust[name], stages[name]), name
    counts = [int(robust.sum()) for robust in stages.values()]
    assert COUNT - 5 > counts[0] > counts[-1] > 5  # otherwise the comparison would prove little


def test_one_plain_call_gives_the_same_verdicts_and_the_images_found_are_adversarial(short, trained, digits):
    images = digits.images.float() / 255
    plain = plain_autoattack(trained, images, digits.labels, epsilon=EPSILON, seed=SEED, batch_size=25)

    result = run(trained, digits)

    wrong = trained(result.adversarial).argmax(1) != digits.labels
    assert torch.equal(result.verdicts, plain)
    assert torch.equal(wrong, ~plain)
    assert float((result.adversarial - images).abs().max()) <= EPSILON + 1e-6
    assert float(result.adversarial.min()) >= 0 and float(result.adversarial.max()) <= 1


class Exact(nn.Module):
    """Rugged, and computed row by row, so that no row depends on the others in any bit."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.randn(10, 48))
        self.register_buffer("wave", 40 * torch.randn(10, 48))

    def forward(self, images):
        rows = [image.flatten() for image in images]
        return torch.stack([(self.weight * row + 0.02 * torch.sin(self.wave * row)).sum(1) for row in rows])


def test_leaving_out_broken_images_and_merging_targets_changes_no_verdict_where_nothing_rounds(short, monkeypatch):
    """Only the rounding of folding is missing here: broken rows are left out, all targets run at once, in parts."""
    model = Exact().eval()
    pixels = torch.randint(256, (30, 3, 4, 4), dtype=torch.uint8)
    data = Images(pixels, model(pixels.float() / 255).argmax(1))
    stages, passed = plain_stages(model, data, epsilon=0.03), []

    def noted(images):
        passed.append(len(images))
        return model(images)

    monkeypatch.setattr(attacked_module, "fold", lambda network: noted)
    monkeypatch.setattr("benchmark.evaluation.fab_targets.project_to_plane", projection_linf)
    result = run(model, data, epsilon=0.03, compute=ComputeBatch(lambda line: None, rows=40))

    for name in CASCADE:
        assert torch.equal(result.robust[name], stages[name]), name
    assert 28 > int(stages["apgd-ce"].sum()) > int(stages["square"].sum()) > 0
    assert max(passed) == 40


def test_rows_that_are_broken_are_not_computed_and_the_stored_network_decides(make_network, monkeypatch):
    stored, passed = make_network(), []
    images = torch.rand(6, 3, 16, 16)
    labels = stored(images).argmax(1)
    wrong_of_copy, wrong_of_both = 1, 4
    labels[wrong_of_both] = (labels[wrong_of_both] + 1) % 10

    def hasty(points):
        passed.append(len(points))
        logits = stored(points).clone()
        if len(points) == 6:
            logits[wrong_of_copy] = -logits[wrong_of_copy]
        return logits

    monkeypatch.setattr(attacked_module, "fold", lambda network: hasty)
    attacked = AttackedNetwork(stored, ComputeBatch(lambda line: None))
    rows = Rows(labels=labels, images=images, places=torch.arange(6))
    with attacked.watching(rows):
        first = attacked(images)
        second = attacked(images)

    assert rows.broken.nonzero().flatten().tolist() == [wrong_of_both]
    assert torch.equal(rows.adversarial, images)
    assert passed == [6, 5]
    assert torch.allclose(first, stored(images), atol=1e-5)
    assert second[wrong_of_both].argmax() != labels[wrong_of_both]
    rows.broken[:] = True
    with pytest.raises(AllBroken), attacked.watching(rows):
        attacked(images)


def test_points_outside_the_ball_break_no_row_and_rows_of_an_image_break_together(make_network):
    stored = make_network()
    clean = torch.rand(3, 3, 16, 16)
    labels = (stored(clean).argmax(1) + 1) % 10  # so that every point is misclassified
    rows = Rows(labels=labels, images=clean, places=torch.tensor([7, 7, 8]), radius=0.1)
    points = clean.clone()
    points[[0, 2]] += 0.2
    attacked = AttackedNetwork(stored, ComputeBatch(lambda line: None))

    with attacked.watching(rows):
        attacked.unjudged(points)
        unjudged = rows.broken.clone()
        attacked(points)

    assert not unjudged.any()
    assert rows.broken.tolist() == [True, True, False]
    assert torch.equal(rows.adversarial[0], points[1]) and torch.equal(rows.adversarial[1], points[1])


def test_the_projection_equals_the_packages():
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(200, 48, generator=generator)
    normals = torch.randn(200, 48, generator=generator)
    points[:20] = points[:20].round()  # corners: half of the pixels have no room
    normals[20:40, ::2] = 0
    normals[40] = 0
    reach = torch.linspace(0, 12, 200)[:, None] * torch.randn(200, 48, generator=generator)
    offsets = (normals * (points + reach)).sum(1)  # some planes are in the box, some outside

    step = project_to_plane(points, normals, offsets)

    expected = projection_linf(points, normals, offsets)
    assert torch.allclose(step, expected, atol=1e-5)
    on_plane = ((normals * (points + step)).sum(1) - offsets).abs() < 1e-3
    assert 20 < int(on_plane.sum()) < 180
    assert float((points + step).min()) >= -1e-6 and float((points + step).max()) <= 1 + 1e-6


def test_pgd_gives_the_verdicts_of_the_network_as_it_is(trained, digits):
    class Wrapped(nn.Module):
        """Hides the network that it wraps."""

        def __init__(self):
            super().__init__()
            self.network = trained

        def forward(self, images):
            return self.network(images)

    settings = {"epsilon": EPSILON, "step_size": EPSILON / 4, "steps": 10, "restarts": 2, "seed": 0}

    verdicts = pgd_verdicts(trained, digits, batch_size=25, **settings)

    assert torch.equal(verdicts, pgd_verdicts(Wrapped(), digits, batch_size=25, **settings))
    assert 5 < int(verdicts.sum()) < int(clean_verdicts(trained, digits, batch_size=25).sum())


class Cramped(nn.Module):
    """Runs out of memory with more than `room` images at once."""

    def __init__(self, network, room, error):
        super().__init__()
        self.network, self.room, self.error = network, room, error

    def forward(self, images):
        if len(images) > self.room:
            raise self.error
        return self.network(images)


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "cpu"])
def test_running_out_of_memory_shrinks_the_batches_and_changes_no_verdict(short, digits, trained, error, monkeypatch):
    data, lines = Images(digits.images[:12], digits.labels[:12]), []
    pgd = {"epsilon": EPSILON, "step_size": EPSILON / 4, "steps": 3, "restarts": 1, "seed": 0, "batch_size": 12}
    stages, expected = run(trained, data).robust, pgd_verdicts(trained, data, **pgd)
    plain_fold = attacked_module.fold
    monkeypatch.setattr(attacked_module, "fold", lambda model: Cramped(plain_fold(model.network), 3, error))
    compute = ComputeBatch(lines.append, rows=50)

    result = run(Cramped(trained, 3, error).eval(), data, compute=compute)
    verdicts = pgd_verdicts(Cramped(trained, 3, error).eval(), data, compute=compute, **pgd)

    assert all(torch.equal(result.robust[name], stages[name]) for name in CASCADE)
    assert torch.equal(verdicts, expected)
    assert compute.notes == [
        "out of memory with 8 images at once; went on with 4",
        "out of memory with 4 images at once; went on with 2",
    ]
    assert [line for line in lines if "memory" in line] == [f"evaluate   {note}" for note in compute.notes]


def test_a_single_image_that_does_not_fit_is_a_user_error(digits, trained):
    from benchmark.errors import UserError

    compute = ComputeBatch(lambda line: None)

    with pytest.raises(UserError, match="a single image does not fit into memory"):
        clean_verdicts(Cramped(trained, 0, ERRORS[1]), digits, batch_size=20, compute=compute)
    assert compute.notes[0] == "out of memory with 20 images at once; went on with 10"
    with pytest.raises(RuntimeError, match="another matter"):
        clean_verdicts(Cramped(trained, 0, RuntimeError("another matter")), digits, batch_size=20)


def test_memory_that_runs_out_before_any_pass_is_not_retried_forever():
    from benchmark.errors import UserError

    compute, attempts = ComputeBatch(lambda line: None, rows=50), []

    def run():
        attempts.append(compute.rows)
        raise ERRORS[0]

    with pytest.raises(UserError, match="does not fit into memory"):
        compute.until_it_fits(run)
    assert attempts == [50, 1]
    assert compute.notes == ["out of memory before the first pass; went on with 1"]


def test_progress_counts_merged_targets_to_the_end(short, make_network, monkeypatch):
    """A network that nothing breaks makes every pass of the estimate."""
    model, lines = make_network(), []
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.last_norm.bias.copy_(torch.arange(10.0, 0.0, -1.0))
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    data = Images(torch.full((3, 3, 8, 8), 128, dtype=torch.uint8), torch.zeros(3, dtype=torch.long))
    monkeypatch.setattr(progress, "ITERATIONS", 7)

    result = run(model, data, batch_size=2, report=lines.append, compute=ComputeBatch(lines.append, rows=5))

    assert result.verdicts.all()
    costs = progress.attack_costs(9, merged=True, queries=QUERIES)
    for attack in CASCADE:
        last = [line for line in lines if f" {attack} " in line and " pass " in line][-1]
        assert f"batch 2/2   pass {costs[attack].passes}/{costs[attack].passes}   3/3 still robust" in last


def test_a_journal_of_another_way_of_computing_is_not_used(short, trained, digits, tmp_path, monkeypatch):
    data, lines = Images(digits.images[:6], digits.labels[:6]), []
    first = run(trained, data, journal=tmp_path)
    again = run(trained, data, journal=tmp_path, report=lines.append)
    for way in ("WAY", "SPARSE_WAY"):
        monkeypatch.setattr(attacked_module, way, "another")
    run(trained, data, journal=tmp_path)

    assert torch.equal(first.adversarial, again.adversarial) and "resumes from" in lines[0]
    assert len(list(tmp_path.iterdir())) == 2
