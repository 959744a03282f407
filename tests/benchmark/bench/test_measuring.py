"""Timing with a simulated clock, attacks that are stopped early, and cases that keep what they measured."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmark.bench import attack_times, cases, measure, timing
from benchmark.bench.attack_times import autoattack_times, evaluation_times, unbreakable
from benchmark.bench.cases import Case, affordable, every_step_requests, suite_cases
from benchmark.bench.peak import convolution_rates, memory_rate
from benchmark.bench.steps import experiment_step, random_data
from benchmark.bench.timing import fastest, medians
from benchmark.data.hashes import LocalData
from benchmark.evaluation.progress import attack_costs
from benchmark.networks.resnet import network_plan, plain_conv
from benchmark.planning.measured import ConvolutionRate, Machine, Measurement, load_measurement
from benchmark.planning.states import plan
from benchmark.planning.work import work_of
from benchmark.session import plan_suite
from benchmark.suite.registry import resolve
from methods.layers import compressed_layers

CPU = torch.device("cpu")
EMPTY = Measurement(
    machine=Machine(device="cpu", name="cpu (some)", threads=1, jobs=1, torch="2.13.0", commit=None), date="2026-01-31"
)


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock by one that stands still until its `now` is changed."""
    time = SimpleNamespace(now=0.0)
    monkeypatch.setattr(timing, "perf_counter", lambda: time.now)
    monkeypatch.setattr(attack_times, "perf_counter", lambda: time.now)
    return time


@pytest.fixture
def taking(clock):
    """Return the maker of steps that take given seconds, the last of them for ever, and note their calls."""

    def make(name, *seconds, calls):
        remaining = list(seconds)

        def step():
            calls.append(name)
            clock.now += remaining.pop(0) if len(remaining) > 1 else remaining[0]

        return step

    return make


def test_steps_are_warmed_then_timed_in_turn_and_the_median_counts(taking):
    calls = []
    steps = {"a": taking("a", 99.0, 1.0, 5.0, 2.0, calls=calls), "b": taking("b", 99.0, 3.0, calls=calls)}

    seconds = medians(steps, CPU, budget=14.5)

    assert seconds == {"a": 2.0, "b": 3.0}
    assert calls == ["a", "b"] * 4


def test_a_long_step_is_timed_twice_and_a_short_one_not_for_ever(taking):
    calls = []

    medians({"long": taking("long", 100.0, calls=calls)}, CPU, budget=1.0)
    assert len(calls) == 1 + timing.FEWEST
    medians({"short": taking("short", 1e-6, calls=calls)}, CPU, budget=1.0)
    assert len(calls) == 1 + timing.FEWEST + 1 + timing.MOST


def test_the_fastest_call_leaves_out_the_first(taking):
    assert fastest(taking("a", 0.1, 0.5, 0.3, 0.4, calls=[]), CPU, budget=1.0) == pytest.approx(0.3)


def test_rates_are_of_both_precisions_and_positive(monkeypatch):
    monkeypatch.setattr("benchmark.bench.peak.BUDGET", 0.0)
    monkeypatch.setattr("benchmark.bench.peak.BATCH", {"cpu": 2})
    monkeypatch.setattr("benchmark.bench.peak.COPIED", {"cpu": 4096})

    rates = convolution_rates(CPU, 8, 8)

    assert [(rate.precision, rate.channels, rate.side) for rate in rates] == [("fp32", 8, 8), ("bf16", 8, 8)]
    assert memory_rate(CPU) > 0


def test_a_convolution_s_rate_is_its_flops_by_its_time(monkeypatch):
    monkeypatch.setattr("benchmark.bench.peak.BATCH", {"cpu": 2})
    monkeypatch.setattr("benchmark.bench.peak.fastest", lambda step, device, budget: 1e-6)

    rate = convolution_rates(CPU, 8, 4)[0]

    assert rate.forward == pytest.approx(2 * 9 * 8 * 8 * 16 * 2 / 1e3)  # FLOPs in a microsecond, in GFLOP/s
    assert rate.backward == pytest.approx(2 * rate.forward)


class Slow(nn.Module):
    """Four classes that no small step leaves; a forward pass takes a second of the clock for each image."""

    def __init__(self, clock):
        super().__init__()
        self.clock, self.passes = clock, 0

    def forward(self, images):
        self.clock.now += len(images)
        self.passes += 1
        return torch.arange(4.0, 0.0, -1.0)[None] + 1e-3 * images.flatten(1)[:, :4]


def test_each_attack_is_stopped_early_and_scaled_to_the_passes_of_a_survivor(clock):
    model = Slow(clock).eval()
    data = unbreakable(model, 3, 1, 4, CPU)

    seconds = autoattack_times(model, data, 4, budget=0.0)

    # An image's pass takes a second whichever attack makes it, so that its passes are its seconds.
    assert seconds == pytest.approx({attack: cost.passes for attack, cost in attack_costs(3).items()})
    assert model.passes < 4 * 40 + 1


def test_a_network_s_evaluation_is_timed_beside_the_plain_one_and_leaves_no_hook(make_plan, monkeypatch):
    monkeypatch.setattr(attack_times, "FEWEST_PASSES", 2)
    tried = []

    def plain(model, images, labels, **settings):
        tried.append(sorted(settings))
        return model(images).argmax(1) == labels

    entry = evaluation_times(make_plan(), 8, 2, CPU, budget=0.0, plain_pgd=plain)

    assert list(entry.autoattack) == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert all(seconds > 0 for seconds in entry.autoattack.values())
    assert entry.plain_pgd_seconds > 0
    assert tried[0] == ["epsilon", "seed", "step_size", "steps"]
    assert (entry.images, entry.network.size, entry.network.width) == (2, 8, 1 / 16)


def test_every_image_survives_while_autoattack_is_timed(make_plan):
    model = make_plan()(conv=plain_conv, norm=nn.BatchNorm2d).eval()
    data = unbreakable(model, 4, 3, 8, CPU)
    generator = torch.Generator().manual_seed(1)
    noise = attack_times.EPSILON * (2 * torch.rand(4, 3, 8, 8, generator=generator) - 1)

    with torch.no_grad():
        assert torch.equal(model(data.images / 255 + noise).argmax(1), data.labels)


TINY = {
    "dataset": "digits",
    "architecture": {"name": "resnet6", "width": 1 / 16},
    "training": {"batch_size": 16, "attack": {"num_steps": 1}},
    "epsilon": "32/255",
    "keep_ratio": 0.3,
    "evaluation": {"images": 4},
}
HYDRA = {"method": {"name": "hydra", "target": "methods.hydra:Hydra"}, "weights": "fp", "objective": "trades"}
METHODS = {method.target: method for method in map(resolve, ("edge_popup", "hydra"))}


@pytest.mark.parametrize("changes", [{}, {"objective": "fast"}, HYDRA], ids=["pgd", "fast", "trades"])
def test_an_experiment_s_own_step_trains_its_network(make_experiment, changes):
    experiment = make_experiment(**TINY, **changes)

    step = experiment_step(experiment, METHODS[experiment.method.target], batch_size=8, device=CPU)
    before = [layer.scores.clone() for layer in compressed_layers(step.model) if layer.scores is not None]
    weights = [layer.weight.clone() for layer in compressed_layers(step.model)]
    step()

    after = [layer.scores for layer in compressed_layers(step.model) if layer.scores is not None]
    moved = any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    trained = any(
        not torch.equal(old, layer.weight) for old, layer in zip(weights, compressed_layers(step.model), strict=True)
    )
    assert moved or trained
    assert step.batch.images.shape == (8, 1, 8, 8)


def test_the_work_of_an_experiment_is_what_it_computes(make_experiment):
    experiment = make_experiment(evaluation={"images": 100, "pgd": {"steps": 20, "restarts": 2}}, train_images=512)
    network = network_plan(experiment.architecture, random_data("cifar10", 2).info)

    work = work_of(experiment, network, epochs=7)

    assert (work.epochs, work.training_images, work.validation_images) == (7, 512, 1000)
    assert (work.test_images, work.pgd_steps, work.autoattack_batch) == (100, 40, 500)
    assert work.key.batch_size == 256 and work.key.network.name == "resnet34"
    bounded = make_experiment(training={"selection_images": 30})
    assert work_of(bounded, network, epochs=7).validation_images == 30
    assert work_of(bounded, network, epochs=7).training_images == 49_000  # validation images are not trained on
    assert work_of(make_experiment(dataset="my-images"), network, epochs=7) is None


def test_equal_steps_of_a_suite_are_measured_once_with_fewer_images_where_they_are_dear(
    make_experiment, tmp_path, monkeypatch
):
    monkeypatch.setattr(attack_times, "FEWEST_PASSES", 2)
    experiments = [make_experiment(**TINY, seed=seed) for seed in (0, 1)] + [make_experiment(**TINY, **HYDRA)]
    planned = plan(experiments, METHODS, tmp_path, LocalData(None))

    measurements = suite_cases(planned, METHODS, CPU, total_seconds=0.1)
    slow = EMPTY.with_rates([ConvolutionRate(precision="fp32", channels=8, side=8, forward=1e-6, backward=1e-6)])
    measured = slow
    for case in measurements:
        measured = case.run(measured)

    assert [entry.key.method for entry in measured.training] == ["edge_popup", "hydra"]
    assert [entry.key.batch_size for entry in measured.training] == [8, 8]
    assert [entry.images for entry in measured.evaluation] == [2]  # 45% of four
    assert len(measurements) == 3


def test_steps_that_differ_in_precision_alone_are_timed_in_turn(make_experiment, tmp_path):
    training = [TINY["training"] | {"precision": precision} for precision in ("fp32", "bf16-attack")]
    experiments = [make_experiment(**(TINY | {"training": settings})) for settings in training]
    planned = plan(experiments, METHODS, tmp_path, LocalData(None))

    first, _ = suite_cases(planned, METHODS, CPU, total_seconds=0.0)

    assert first.title == "edge_popup/pgd binary on resnet6-w0.0625 8x8, batch 16"
    assert [entry.key.precision for entry in first.run(EMPTY).training] == ["fp32", "bf16-attack"]


def test_a_batch_is_halved_until_it_fits_but_not_below_the_smallest():
    machine = EMPTY.with_rates([ConvolutionRate(precision="fp32", channels=8, side=8, forward=100.0, backward=90.0)])

    assert affordable(256, 1e9, 10.0, machine) == 256  # at 30 GFLOP/s
    assert affordable(256, 1e9, 3.0, machine) == 64
    assert affordable(256, 1e9, 0.0, machine) == cases.SMALLEST_BATCH
    assert affordable(4, 1e9, 0.0, machine) == 4


@pytest.mark.parametrize(("device", "batches"), [("cpu", [64]), ("cuda", [256, 512])])
def test_the_bundled_suite_has_every_kind_of_step_under_the_names_that_were_always_printed(tmp_path, device, batches):
    requests = every_step_requests(tmp_path, torch.device(device))
    planned = [item for request in requests for item in plan_suite(request)]

    measurements = suite_cases(planned, {}, torch.device(device), compared=True)

    names = [
        f"{step}, batch {batch}"
        for batch in batches
        for step in (
            "at/pgd fp on NETWORK",
            "edge_popup/pgd binary on NETWORK",
            "edge_popup/fast binary on NETWORK",
            "hydra/trades fp on NETWORK",
            "atmc/half_clean fp on NETWORK",
        )
    ]
    network, images = ("resnet18-w0.25 32x32", 16) if device == "cpu" else ("resnet34 32x32", 500)
    titles = [name.replace("NETWORK", network) for name in names]
    assert [case.title for case in measurements] == [*titles, f"evaluation of {network}, {images} images"]


@pytest.mark.parametrize(
    ("case", "phase"),
    [
        ("at/pgd", "train"),
        ("edge_popup/pgd", "search"),
        ("edge_popup/fast", "search"),
        ("hydra/trades", "prune"),
        ("atmc/half_clean", "sparse"),
    ],
)
def test_a_method_of_the_bundled_suite_is_timed_in_the_phase_it_is_known_for(make_step, case, phase):
    assert make_step(case, "architecture.name=resnet10", "architecture.width=0.0625").phase.name == phase


def test_every_kind_of_step_is_compared_with_the_yardstick(monkeypatch, tmp_path):
    monkeypatch.setattr(cases, "MOST_SECONDS", 0.0)
    tiny = ("architecture.name=resnet10", "architecture.width=0.0625", "training.attack.num_steps=1")
    smallest = (*tiny, "training.batch_size=2")
    variants = [(*smallest, f"training.precision={precision}") for precision in ("fp32", "bf16-attack")]
    monkeypatch.setitem(cases.VARIANTS, "cpu", tuple(variants))
    planned = [item for request in every_step_requests(tmp_path, CPU) for item in plan_suite(request)]
    methods = {item.experiment.method.target: resolve(item.experiment.method.name) for item in planned}
    *training, _ = suite_cases(planned, methods, CPU, compared=True)

    measured = EMPTY
    for case in training:
        measured = case.run(measured)

    steps = {(entry.key.method, entry.key.objective, entry.key.precision): entry for entry in measured.training}
    assert len(steps) == 10
    assert all((entry.plain_seconds is not None) == (key[2] == "fp32") for key, entry in steps.items())
    assert steps["edge_popup", "fast", "fp32"].key.weights == "binary"


def test_what_was_measured_before_a_stop_or_a_failure_is_kept(tmp_path):
    lines = []

    def fail(measured):
        raise RuntimeError("no such luck\nand more")

    def stop(measured):
        raise KeyboardInterrupt

    measurements = [
        Case("first", 1.0, lambda measured: measured.model_copy(update={"memory": 3.0})),
        Case("second", 1.0, fail),
        Case("third", 8.0, stop),
    ]

    with pytest.raises(KeyboardInterrupt):
        measure.run_cases(measurements, EMPTY, tmp_path, lines.append)

    assert load_measurement(tmp_path).memory == 3.0
    assert lines[0] == "[1/3] first   about 10s left"
    assert lines[2] == "note   second is left out: RuntimeError: no such luck"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_waited_for(make_plan):
    device = torch.device("cuda")

    assert convolution_rates(device, 64, 32)[1].forward > 100
    assert evaluation_times(make_plan(), 32, 8, device, budget=0.1).pgd_seconds > 0
