"""Stored perturbations stay in their ball, move with the crop of their image, and survive a kill."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.data.catalog import DATASETS
from benchmark.data.splits import training_split
from benchmark.networks.resnet import plain_conv
from benchmark.training.fast_objective import LEVELS, FastObjective, PerturbationStore, SoftTarget, draw_window, pad

EPSILON, PADDING, CLASSES = 8 / 255, 3, 10


@pytest.fixture
def make_store():
    """Return a function that makes stores for twelve 8x8 colour images; keywords change its settings."""

    def make(**changes):
        settings = {
            "padding": PADDING,
            "epsilon": EPSILON,
            "generator": torch.Generator().manual_seed(0),
            "labels": torch.arange(12) % CLASSES,
            "num_classes": CLASSES,
            "soft_target": None,
        }
        return PerturbationStore(12, (3, 8, 8), **(settings | changes))

    return make


@pytest.fixture
def window():
    """Return a drawn window for five 8x8 images."""
    return draw_window(5, 8, 8, padding=PADDING, flip=True, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def make_fast(make_objective, make_store):
    """Return a function that makes fast objectives for the images of `make_batch(12)`."""

    def make(store=None, **changes):
        settings = {"store": store or make_store(), "fill": 0.5, "crop_padding": PADDING, "flip": True}
        return make_objective(kind=FastObjective, **(settings | changes))

    return make


ROWS = torch.tensor([7, 0, 3, 11, 4])


def test_a_window_equals_a_crop_and_mirror_image_cut_in_a_loop():
    window = draw_window(40, 8, 8, padding=PADDING, flip=True, generator=torch.Generator().manual_seed(0))
    canvas = torch.rand(40, 3, 8 + 2 * PADDING, 8 + 2 * PADDING)

    cut = window.of(canvas)

    mirrored = 0
    for index in range(40):
        row, columns = int(window.rows[index, 0]), window.columns[index].tolist()
        left = min(columns)
        expected = canvas[index, :, row : row + 8, left : left + 8]
        if columns[0] > columns[-1]:
            expected, mirrored = expected.flip(2), mirrored + 1
        assert torch.equal(cut[index], expected)
    assert 0 < mirrored < 40


def test_putting_a_cut_image_back_changes_nothing(window):
    canvas = torch.rand(5, 3, 14, 14)
    before = canvas.clone()

    window.put(canvas, window.of(canvas))

    assert torch.equal(canvas, before)


def test_images_can_be_cut_out_again_and_pixels_outside_are_unchanged(window):
    canvas, images = torch.rand(5, 3, 14, 14), torch.rand(5, 3, 8, 8) + 2
    before = canvas.clone()

    window.put(canvas, images)

    assert torch.equal(window.of(canvas), images)
    changed = canvas != before
    assert int(changed.sum()) == images.numel()
    for index in range(5):
        rows, columns = window.rows[index], window.columns[index]
        changed[index, :, rows[0] : rows[0] + 8, columns.min() : columns.min() + 8] = False
    assert not changed.any()


def test_every_offset_occurs_about_equally_often_and_half_are_mirrored():
    window = draw_window(7000, 4, 4, padding=PADDING, flip=True, generator=torch.Generator().manual_seed(0))

    for offsets in (window.rows[:, 0], window.columns.amin(1)):
        counts = torch.bincount(offsets)
        assert len(counts) == 2 * PADDING + 1
        assert int(counts.min()) > 850 and int(counts.max()) < 1150
    assert 0.47 < float((window.columns[:, 0] > window.columns[:, 1]).float().mean()) < 0.53


def test_without_padding_and_mirroring_the_window_is_the_image():
    window = draw_window(2, 8, 8, padding=0, flip=False, generator=torch.Generator())
    images = torch.rand(2, 3, 8, 8)

    assert torch.equal(window.of(images), images)


def test_padding_surrounds_the_image_with_its_value():
    padded = pad(torch.zeros(1, 3, 2, 2), 1, 0.5)

    assert padded.shape == (1, 3, 4, 4)
    assert float(padded.sum()) == 3 * 12 * 0.5
    assert not padded[:, :, 1:3, 1:3].any()


def test_the_first_perturbations_fill_the_ball_evenly(make_store):
    levels = make_store().levels

    assert (int(levels.min()), int(levels.max())) == (-LEVELS, LEVELS)
    assert abs(float(levels.float().mean())) < 2
    assert float(levels.float().var()) == pytest.approx(LEVELS**2 / 3, rel=0.05)


def bytes_of(store):
    """Count the bytes of every tensor a store holds."""
    tensors = [value for value in vars(store).values() if isinstance(value, torch.Tensor)]
    return sum(tensor.element_size() * tensor.nelement() for tensor in tensors)


@pytest.mark.parametrize(("soft_target", "per_image"), [(None, 0), (SoftTarget(0.9, 0.1), 4 * CLASSES)])
def test_the_store_takes_one_byte_per_pixel_of_the_padded_canvas_and_a_mean_per_soft_target(
    make_store, soft_target, per_image
):
    store = make_store(soft_target=soft_target)

    assert store.levels.shape == (12, 3, 8 + 2 * PADDING, 8 + 2 * PADDING)
    assert bytes_of(store) == store.levels.nelement() + 12 * per_image


def test_the_documented_size_is_that_of_a_store_for_cifar():
    count, padding = len(training_split("cifar10", 50_000)[0]), DATASETS["cifar10"].crop_padding
    store = PerturbationStore(
        *(10, (3, 32, 32)),
        padding=padding,
        epsilon=EPSILON,
        generator=torch.Generator().manual_seed(0),
        labels=torch.arange(10),
        num_classes=CLASSES,
        soft_target=None,
    )

    size = f"{bytes_of(store) // 10 * count / 1e6:.0f} MB"

    assert f"bytes; {size} for the {count:,} CIFAR training images" in PerturbationStore.__doc__
    assert f"int8, {size} for CIFAR" in (Path(__file__).parents[3] / "docs" / "methods.md").read_text(encoding="utf-8")


def test_writing_keeps_pixels_outside_the_window_and_other_images(make_store, window):
    store = make_store()
    before = store.levels.clone()

    store.write(ROWS, window, torch.full((5, 3, 8, 8), EPSILON))

    for index, row in enumerate(ROWS):
        inside = torch.zeros(14, 14, dtype=torch.bool)
        inside[window.rows[index, 0] : window.rows[index, -1] + 1, window.columns[index].sort().values] = True
        assert bool((store.levels[row][:, inside] == LEVELS).all())
        assert torch.equal(store.levels[row][:, ~inside], before[row][:, ~inside])
    others = [row for row in range(12) if row not in ROWS]
    assert torch.equal(store.levels[others], before[others])


def test_writing_back_read_perturbations_changes_nothing(make_store, window):
    store = make_store()
    before = store.levels.clone()

    store.write(ROWS, window, store.read(ROWS, window))

    assert torch.equal(store.levels, before)


def test_read_perturbations_differ_from_written_ones_by_at_most_half_a_step(make_store, window):
    store = make_store()
    perturbation = EPSILON * (2 * torch.rand(5, 3, 8, 8) - 1)

    store.write(ROWS, window, perturbation)

    read = store.read(ROWS, window)
    assert read.dtype == torch.float32
    assert float((read - perturbation).abs().max()) <= EPSILON / LEVELS / 2 * 1.001
    assert float(read.abs().max()) <= EPSILON * (1 + 1e-6)


def test_without_a_soft_target_the_label_is_the_target(make_store):
    store, labels = make_store(), torch.tensor([1, 0])

    target = store.target(torch.tensor([1, 0]), labels, torch.randn(2, CLASSES))

    assert target is labels
    assert set(store.state_dict()) == {"levels"}


def test_a_soft_target_mixes_the_label_with_the_running_mean_of_predictions(make_store):
    store = make_store(soft_target=SoftTarget(rho=0.75, beta=0.25))
    rows, labels = torch.tensor([1, 10]), torch.tensor([1, 0])
    first, second = torch.randn(2, CLASSES), torch.randn(2, CLASSES)

    store.target(rows, labels, first)
    target = store.target(rows, labels, second)

    for index, label in enumerate(labels.tolist()):
        for kind in range(CLASSES):
            hot = float(kind == label)
            mean = 0.75 * (0.75 * hot + 0.25 * float(first[index].softmax(0)[kind]))
            mean += 0.25 * float(second[index].softmax(0)[kind])
            assert float(target[index, kind]) == pytest.approx(0.25 * hot + 0.75 * mean, abs=1e-6)
    assert torch.equal(store.means[2], F.one_hot(torch.tensor(2), CLASSES).float())


def test_the_state_restores_perturbations_and_means(make_store, window):
    store = make_store(soft_target=SoftTarget(0.9, 0.1))
    store.write(ROWS, window, torch.zeros(5, 3, 8, 8))
    store.target(ROWS, ROWS % CLASSES, torch.randn(5, CLASSES))
    state = {name: value.clone() for name, value in store.state_dict().items()}

    other = make_store(generator=torch.Generator().manual_seed(5), soft_target=SoftTarget(0.9, 0.1))
    other.load_state_dict(state)

    assert torch.equal(other.levels, store.levels)
    assert torch.equal(other.means, store.means)


@pytest.mark.parametrize("step_size", [EPSILON / 2, 1.0])
def test_training_keeps_the_perturbed_images_in_ball_and_pixel_range(make_plan, make_batch, make_fast, step_size):
    model = make_plan()(conv=plain_conv, norm=nn.BatchNorm2d).train()
    batch, seen = make_batch(12), []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))

    objective = make_fast(step_size=step_size)
    for _ in range(3):
        objective(model, batch)

    assert len(seen) == 6
    for start, attacked in zip(seen[::2], seen[1::2], strict=True):
        assert float(attacked.min()) >= 0 and float(attacked.max()) <= 1
        assert float((attacked - start).abs().max()) <= 2 * EPSILON + 1e-6
    assert int(objective.store.levels.abs().max()) <= LEVELS


@pytest.mark.parametrize("epsilon", [8 / 255, 4 / 255, 26 / 255, 32 / 255])
def test_whole_and_half_epsilon_are_stored_exactly_whatever_their_last_bits(make_store, window, epsilon):
    store, halves = make_store(epsilon=epsilon), torch.arange(5 * 3 * 8 * 8).view(5, 3, 8, 8) % 5 - 2
    for error in (0.0, 1e-6, -1e-6):
        store.write(ROWS, window, halves * epsilon / 2 + error)

        assert torch.equal(window.of(store.levels[ROWS]).int() * 2, halves.int() * LEVELS)
    torch.testing.assert_close(store.read(ROWS, window), halves * epsilon / 2, rtol=1e-6, atol=0)


def test_training_moves_each_pixel_by_the_step_within_the_ball(make_plan, make_batch, make_fast, make_store):
    """Without crops, on mid-grey images, the new perturbation is the clipped sum of the old one and one signed step."""
    model, batch = make_plan()(conv=plain_conv, norm=nn.BatchNorm2d).train(), make_batch(12)
    batch.images.fill_(0.5).add_(0.1 * torch.rand(12, 3, 8, 8))
    store = make_store(padding=0)
    before = store.levels.int()

    make_fast(store, step_size=EPSILON / 2, crop_padding=0, flip=False)(model, batch)

    moved = store.levels.int()
    step = LEVELS // 2
    up, down = (before + step).clamp(max=LEVELS), (before - step).clamp(min=-LEVELS)
    assert bool(((moved == up) | (moved == down)).all())
    assert 0 < int((moved == up).sum()) < moved.numel()
