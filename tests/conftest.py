"""Shared makers of tiny networks, data, objectives and experiments. Test folders are no packages, hence fixtures."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

from benchmark.bench.cases import EVERY_STEP
from benchmark.bench.steps import TrainingStep, experiment_step
from benchmark.data.load import Images
from benchmark.launch.forking import ForkServer
from benchmark.networks.resnet import NetworkPlan
from benchmark.session import Request, resolve_request
from benchmark.suite.experiment import Experiment
from benchmark.training.objectives import PgdObjective
from benchmark.training.schedule import make_optimizer, set_trainable
from methods.base import Batch, Method, Objective, Phase, Target
from tests.warm_servers import WarmForkServer, WarmStart

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=100)
settings.load_profile("repeatable")
torch.set_num_threads(1)  # on tiny tensors a second thread costs more than it saves

HANGS_AFTER = 1800  # seconds; the longest test takes a twentieth of it on two idle cores
TINY = NetworkPlan("resnet10", num_classes=10, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), width=1 / 16)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Return what fills a folder of a name once for all workers, and returns it; nobody else writes into it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(autouse=True)
def _no_hang(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that hangs. How long one takes is no test's matter: the machine may be slow or busy."""
    marker = request.node.get_closest_marker("hangs_after")
    seconds = marker.args[0] if marker else HANGS_AFTER
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"still running after {seconds} s"))
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Give every test the same random numbers and leave none of its own behind."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack again with one thread: a test must not take long because another one runs beside it."""
    monkeypatch.setattr("benchmark.submission.replayed.Replay.threads", 1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep decoded images of tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUST_COMPRESSION_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


class KeptServers:
    """Fork servers for `run` inside of this process: one serves all tests that have its folder and environment.

    Starting one takes longer than most of the runs in tests, as it imports torch; those for CPUs are forked.
    """

    def __init__(self) -> None:
        self.stack, self.key = ExitStack(), object()
        self.warm_start: WarmStart | None = None

    def __call__(self, device: str) -> AbstractContextManager[ForkServer]:
        """Return what `ForkServer` would, but leave it running."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
        key = device, os.getcwd(), environment
        if key != self.key:
            self.stack.close()
            self.server, self.key = self.stack.enter_context(self._start(device)), key
        return nullcontext(self.server)

    def _start(self, device: str) -> ForkServer:
        if device != "cpu" or sys.platform != "linux":
            return ForkServer(device)
        self.warm_start = self.warm_start or WarmStart()
        return WarmForkServer(self.warm_start)

    def close(self) -> None:
        """End the server, and the process that it was forked from."""
        self.stack.close()
        if self.warm_start is not None:
            self.warm_start.close()


@pytest.fixture(autouse=True, scope="session")
def _kept_servers(_own_cache: None) -> Iterator[None]:
    """Let `run` inside of this process use servers that are kept."""
    kept = KeptServers()
    with pytest.MonkeyPatch.context() as patch, closing(kept):
        patch.setattr("benchmark.launch.engines.local.ForkServer", kept)
        yield


@pytest.fixture
def make_plan() -> Callable[..., NetworkPlan]:
    """Return the maker of network plans: a ResNet10 of a sixteenth of the width, changed by keyword."""
    return partial(replace, TINY)


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Return the maker of batches of random images."""

    def make(count: int = 16, *, channels: int = 3, size: int = 8, classes: int = 10, seed: int = 0) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        images = torch.rand(count, channels, size, size, generator=generator)
        labels = torch.randint(classes, (count,), generator=generator)
        return Batch(images, labels, torch.arange(count))

    return make


@pytest.fixture
def make_images() -> Callable[..., Images]:
    """Return the maker of stored images, labelled as `model` sees them if one is given."""

    def make(count: int = 24, *, model: nn.Module | None = None, size: int = 8, seed: int = 0) -> Images:
        generator = torch.Generator().manual_seed(seed)
        pixels = torch.randint(256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
        if model is None:
            return Images(pixels, torch.randint(10, (count,), generator=generator))
        with torch.no_grad():
            return Images(pixels, model(pixels.float() / 255).argmax(1))

    return make


@pytest.fixture
def make_objective() -> Callable[..., PgdObjective]:
    """Return the maker of training objectives: two PGD steps, no augmentation, changed by keyword.

    `kind` is another class of objectives.
    """

    def make(*, kind: type[PgdObjective] = PgdObjective, **changes: Any) -> PgdObjective:
        defaults: dict[str, Any] = {
            "epsilon": 8 / 255,
            "step_size": 4 / 255,
            "num_steps": 2,
            "random_start": True,
            "train_mode_attack": True,
            "attack_bf16": False,
            "update_bf16": False,
            "crop_padding": 0,
            "flip": False,
            "generator": torch.Generator().manual_seed(0),
        }
        return kind(**(defaults | changes))

    return make


@pytest.fixture
def train_steps() -> Callable[..., None]:
    """Return a bare training loop over one phase, the method's first if none is given.

    `after_each` sees the network after every update.
    """

    def train(
        method: Method,
        model: nn.Module,
        target: Target,
        batch: Batch,
        objective: Objective,
        *,
        steps: int = 3,
        phase: Phase | None = None,
        after_each: Callable[[nn.Module], None] = lambda model: None,
    ) -> None:
        phase = phase or method.phases(1, target)[0]
        optimizer = make_optimizer(phase, set_trainable(model, phase))
        method.begin_phase(model, phase)
        model.train()
        for step in range(steps):
            optimizer.zero_grad()
            method.loss(model, phase, batch, objective).backward()
            optimizer.step()
            method.after_step(model, phase, step)
            after_each(model)

    return train


@pytest.fixture
def copy_of_state() -> Callable[[nn.Module], dict[str, Tensor]]:
    """Return a function that copies every tensor of a network's state."""
    return lambda model: {
        name: value.clone() for name, value in model.state_dict().items() if isinstance(value, Tensor)
    }


@pytest.fixture
def make_experiment() -> Callable[..., Experiment]:
    """Return the maker of experiments with all settings at their defaults, changed by keyword."""

    def make(**changes: Any) -> Experiment:
        settings: dict[str, Any] = {
            "suite": "main",
            "preset": "own",
            "dataset": "cifar10",
            "epsilon": "8/255",
            "architecture": {},
            "method": {"name": "edge_popup", "target": "methods.edge_popup:EdgePopup"},
            "weights": "binary",
            "keep_ratio": 0.01,
            "allocation": 0.1,
            "training": {},
            "evaluation": {},
            "seed": 0,
        }
        return Experiment.model_validate(settings | changes)

    return make


@pytest.fixture
def make_step() -> Callable[..., TrainingStep]:
    """Return the maker of the training steps that `bench` times: of a method and its objective, on random images.

    Settings of the suite are changed by overrides, others by keyword.
    """

    def make(
        case: str, *overrides: str, batch_size: int = 6, device: torch.device | str = "cpu", channels_last: bool = True
    ) -> TrainingStep:
        request = Request(str(EVERY_STEP), None, None, None, None, overrides, None, Path("runs"))
        experiments, methods = resolve_request(request)
        (experiment,) = (each for each in experiments if f"{each.method.name}/{each.objective}" == case)
        return experiment_step(
            experiment,
            methods[experiment.method.target],
            batch_size=batch_size,
            device=torch.device(device),
            channels_last=channels_last,
        )

    return make
