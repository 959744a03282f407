"""The adapter returns the verdicts of one plain call of the package and leaves no trace in the process."""

from __future__ import annotations

import logging
import re
from functools import partial
from itertools import pairwise

import pyautoattack
import pytest
import torch
from torch import nn

from benchmark.data.load import Images
from benchmark.errors import UserError
from benchmark.evaluation.autoattack import autoattack
from benchmark.results.evaluation import CASCADE

EPSILON, SEED, BATCH_SIZE = 4 / 255, 7, 5
QUERIES = 40  # of Square


class CheapAutoAttack(pyautoattack.AutoAttack):
    """AutoAttack standard with few iterations; keeps its last instance, and records each attack and its batch size."""

    last: CheapAutoAttack

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        for attack in (self.apgd, self.apgd_targeted):
            attack.n_iter = 5
        self.fab.n_iter = 3
        self.square.n_queries = QUERIES
        self.calls: list[tuple[str, int]] = []
        for name, attack in zip(CASCADE, (self.apgd, self.apgd_targeted, self.fab, self.square), strict=True):
            attack.perturb = partial(self.recorded, name, attack.perturb)
        type(self).last = self

    def recorded(self, name, perturb, images, labels):
        self.calls.append((name, len(images)))
        return perturb(images, labels)


class SmallNet(nn.Module):
    """Two random convolutions and a norm whose batch statistics differ from its running ones."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16)
        self.fc = nn.Conv2d(16, classes, 4)

    def forward(self, images):
        return self.fc(torch.relu(self.norm(self.conv(images)))).flatten(1)


@pytest.fixture
def cheap(monkeypatch):
    """Make the package's standard attack cheap, for the adapter and for plain calls alike."""
    monkeypatch.setattr(pyautoattack, "AutoAttack", CheapAutoAttack)


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs the adapter with small settings; `lines` collects its report."""
    monkeypatch.setattr(logging.getLogger("auto-attack"), "propagate", True)

    def call(model, data, *, num_classes=10, lines=None, **changes):
        settings = {"epsilon": EPSILON, "seed": SEED, "batch_size": BATCH_SIZE, "queries": QUERIES} | changes
        report = (lambda line: None) if lines is None else lines.append
        return autoattack(model, data, num_classes=num_classes, report=report, **settings)

    return call


@pytest.fixture
def model():
    """Return a random network in train mode."""
    model = SmallNet()
    for _ in range(20):
        model(torch.rand(16, 3, 8, 8))
    return model


@pytest.fixture
def data(model, make_images):
    """Return images of which the network misclassifies two."""
    images = make_images(18, model=model.eval())
    images.labels[[3, 11]] = (images.labels[[3, 11]] + 1) % 10
    model.train()
    return images


@pytest.mark.parametrize("seed", [0, SEED])
@pytest.mark.parametrize("batch_size", [BATCH_SIZE, 50])
def test_verdicts_and_images_equal_one_plain_call_image_by_image(cheap, run, model, data, seed, batch_size):
    result = run(model, data, seed=seed, batch_size=batch_size)

    model.eval()
    adversary = CheapAutoAttack(model, eps=EPSILON, norm="Linf", version="standard", seed=seed)
    images = data.images.float() / 255
    with torch.random.fork_rng(devices=[]):
        adversarial, predicted = adversary.run_standard_evaluation(images, data.labels, batch_size=batch_size)
    assert torch.equal(result.verdicts, predicted == data.labels)
    assert torch.equal(result.verdicts, model(adversarial).argmax(1) == data.labels)
    assert torch.equal(result.adversarial, adversarial)
    assert 2 <= int(result.verdicts.sum()) <= 14  # otherwise the comparison would prove little


def test_the_cascade_only_lowers_and_starts_from_the_correct_images(cheap, run, model, data):
    result = run(model, data)

    stages = [result.robust[attack] for attack in ("apgd-ce", "apgd-t", "fab-t", "square")]
    assert tuple(result.robust) == CASCADE
    assert all(not bool((after & ~before).any()) for before, after in pairwise(stages))
    assert not bool(stages[0][[3, 11]].any())
    assert result.verdicts is stages[-1]


def test_a_single_image_is_attacked_like_any_other(cheap, run, model, data):
    together = run(model, data, batch_size=1)

    rows = [3, int(together.verdicts.nonzero()[0])]  # one misclassified, one that survives
    alone = [run(model, Images(data.images[row : row + 1], data.labels[row : row + 1])) for row in rows]

    assert [result.verdicts.tolist() for result in alone] == [[False], [True]]


def test_radius_seed_and_batch_size_reach_the_standard_attack(cheap, run, model, data):
    result = run(model, data)

    adversary = CheapAutoAttack.last
    assert (adversary.version, adversary.norm, adversary.epsilon, adversary.seed) == ("standard", "Linf", EPSILON, SEED)
    assert (adversary.apgd_targeted.n_target_classes, adversary.fab.n_target_classes) == (9, 9)
    counts = [16, *(int(robust.sum()) for robust in result.robust.values())]
    for attack, before in zip(CASCADE, counts, strict=False):
        sizes = [size for name, size in adversary.calls if name == attack]
        assert sum(sizes) == before and set(sizes[:-1]) <= {BATCH_SIZE} and 0 < sizes[-1] <= BATCH_SIZE


@pytest.mark.parametrize("classes", [4, 5])
def test_with_few_classes_the_targeted_attacks_aim_at_all_others(cheap, run, make_images, classes):
    model = SmallNet(classes).eval()
    data = make_images(8, model=model)
    lines: list[str] = []

    result = run(model, data, num_classes=classes, lines=lines)

    adversary = CheapAutoAttack(model, eps=EPSILON, norm="Linf", version="standard", seed=SEED)
    adversary.apgd_targeted.n_target_classes = adversary.fab.n_target_classes = classes - 1
    with torch.random.fork_rng(devices=[]):
        adversarial, predicted = adversary.run_standard_evaluation(
            data.images.float() / 255, data.labels, batch_size=BATCH_SIZE
        )
    assert torch.equal(result.adversarial, adversarial)
    assert torch.equal(result.verdicts, predicted == data.labels)
    assert not [line for line in lines if "target classes" in line]


def test_a_network_with_fewer_logits_than_classes_causes_a_warning(cheap, run, make_images):
    model = SmallNet(8).eval()
    data, lines = make_images(8, model=model), []

    with pytest.raises(IndexError):
        run(model, data, num_classes=10, lines=lines)

    assert any("more target classes (9) than possible (7)" in line for line in lines)


def test_the_same_seed_gives_the_same_verdicts_whatever_the_random_stream(cheap, run, model, data):
    first = run(model, data).robust
    torch.manual_seed(12345)

    second = run(model, data).robust

    assert all(torch.equal(first[attack], second[attack]) for attack in CASCADE)


@pytest.mark.parametrize("training", [True, False])
def test_random_stream_mode_gradients_and_state_are_restored(cheap, run, model, data, training):
    model.train(training)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    stream = torch.get_rng_state()

    run(model, data)

    assert torch.equal(torch.get_rng_state(), stream)
    assert all(module.training == training for module in model.modules())
    assert all(value.requires_grad and value.grad is None for value in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_the_network_is_attacked_in_eval_mode(cheap, run, model, data):
    modes = set()
    model.register_forward_hook(lambda module, *_: modes.add(module.training))

    run(model, data)

    assert modes == {False}


def test_progress_and_warnings_are_reported_and_no_handler_is_left(cheap, run, make_images, capsys):
    class Softmax(SmallNet):
        """Returns probabilities, which the package warns about."""

        def forward(self, images):
            return super().forward(images).softmax(1)

    logger, lines = logging.getLogger("auto-attack"), []
    before = (list(logger.handlers), logger.propagate, logger.level)

    model = Softmax().eval()
    run(model, make_images(18, model=model), lines=lines)

    assert (list(logger.handlers), logger.propagate, logger.level) == before
    assert any("warning" in line and "probability distribution" in line for line in lines)
    progress = [line for line in lines if "still robust" in line]
    time = r"[0-9.]+(?:s| min| h)"
    shape = rf"autoattack  (\S+) +batch \d+/\d+   \d+/18 still robust   {time}, at most about {time} left"
    assert list(dict.fromkeys(re.fullmatch(shape, line)[1] for line in progress)) == list(CASCADE)
    assert capsys.readouterr() == ("", "")


def test_the_process_is_restored_when_the_network_fails(cheap, run, model, data):
    def fail(*_):
        raise ArithmeticError

    logger, stream = logging.getLogger("auto-attack"), torch.get_rng_state()
    before = (list(logger.handlers), logger.propagate)
    model.register_forward_hook(fail)

    with pytest.raises(ArithmeticError):
        run(model, data)

    assert (list(logger.handlers), logger.propagate) == before
    assert torch.equal(torch.get_rng_state(), stream)
    assert model.training and all(value.requires_grad for value in model.parameters())


def test_images_that_are_all_misclassified_need_no_attack(cheap, run, model, data):
    wrong = Images(data.images, (model.eval()(data.images.float() / 255).argmax(1) + 1) % 10)

    result = run(model, wrong)

    assert all(not bool(robust.any()) for robust in result.robust.values())
    assert list(result.robust) == list(CASCADE)


def test_each_kind_of_warning_is_reported_once(cheap, run):
    class Blind(SmallNet):
        """Maps all images to the same logits, so that every gradient is zero."""

        def forward(self, images):
            return super().forward(images.clamp(0.5, 0.5))

    model, lines = Blind().eval(), []
    label = int(model(torch.zeros(1, 3, 8, 8)).argmax())
    data = Images(torch.randint(256, (7, 3, 8, 8), dtype=torch.uint8), torch.full((7,), label))

    run(model, data, lines=lines)

    assert [line for line in lines if "warning" in line] == [line for line in lines if "zero gradient" in line]
    assert sum("there are 5 points with zero gradient" in line for line in lines) == 1


def test_a_dynamic_network_causes_a_warning_and_does_not_incriminate_the_next(cheap, run, model, data):
    class Dynamic(SmallNet):
        """Calls a function of the name that the package looks for."""

        def forward(self, images):
            return self.grad(super().forward(images))

        def grad(self, logits):
            return logits

    reported = []
    for network in (Dynamic(), model):
        lines: list[str] = []
        run(network, data, lines=lines)
        reported.append(any("dynamic defense" in line for line in lines))

    assert reported == [True, False]


def test_images_that_only_square_breaks_cause_a_warning(cheap, run, model, data, monkeypatch):
    class OnlySquare(CheapAutoAttack):
        """Its gradient attacks break nothing."""

        def recorded(self, name, perturb, images, labels):
            if name != "square":
                return images
            return super().recorded(name, perturb, images, labels)

    monkeypatch.setattr(pyautoattack, "AutoAttack", OnlySquare)
    lines: list[str] = []

    result = run(model, data, lines=lines)

    counts = [int(robust.sum()) for robust in result.robust.values()]
    assert counts[0] == counts[2] > counts[3]
    assert any("Square Attack has decreased the robust accuracy" in line for line in lines)


def test_lines_within_a_batch_change_nothing(cheap, run, model, data, monkeypatch):
    silent = run(model, data)
    monkeypatch.setattr("benchmark.evaluation.progress.LINE_SECONDS", 0.0)
    lines: list[str] = []

    reporting = run(model, data, lines=lines)

    assert sum(" pass " in line for line in lines) > 100
    assert torch.equal(reporting.adversarial, silent.adversarial)
    assert all(torch.equal(reporting.robust[attack], silent.robust[attack]) for attack in CASCADE)


class Watchful(nn.Module):
    """Puts black images into class 0 and everything else into class 1."""

    def forward(self, images):
        black = (images == 0).all(1).all(1).all(1)
        return torch.stack([black.float(), (~black).float(), *[torch.zeros(len(images))] * 8], 1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2 * EPSILON, r"an image 0\.031373 away \(epsilon 0\.015686\)"),
        (-EPSILON / 2, r"with pixels in \[-0\.007843, -0\.007843\]"),
        (float("nan"), "an image nan away"),
    ],
)
def test_an_attack_that_leaves_the_ball_is_refused(monkeypatch, run, value, message):
    class Cheating(CheapAutoAttack):
        """Returns invalid images."""

        def recorded(self, name, perturb, images, labels):
            return torch.full_like(images, value)

    monkeypatch.setattr(pyautoattack, "AutoAttack", Cheating)
    data = Images(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), torch.zeros(3, dtype=torch.long))

    with pytest.raises(RuntimeError, match=f"apgd-ce returned {message}" if "away" in message else message):
        run(Watchful(), data)


def test_fewer_than_four_classes_are_refused(run, model, data):
    with pytest.raises(UserError, match="AutoAttack needs at least 4 classes, the data set has 3"):
        run(model, data, num_classes=3)
