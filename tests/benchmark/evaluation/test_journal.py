"""The journal of finished batches: an attack stopped anywhere resumes and ends with the same verdicts and images."""

from __future__ import annotations

import os
import shutil
from functools import partial
from types import SimpleNamespace

import pyautoattack
import pytest
import torch
from torch import nn

from benchmark.data.load import Images
from benchmark.evaluation import autoattack as module
from benchmark.evaluation.autoattack import autoattack
from benchmark.evaluation.journal import FinishedBatch, Journal
from benchmark.results.evaluation import CASCADE

CLASSES = 5
SETTINGS = {"num_classes": CLASSES, "epsilon": 10 / 255, "seed": 7, "batch_size": 3, "queries": 10}


class Stopped(Exception):
    """Ends a session early."""


class Cheap(pyautoattack.AutoAttack):
    """AutoAttack standard with few iterations; records the batches that run and can stop before one of them."""

    calls: list[tuple[str, int]] = []
    stop_at: int | None = None

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.apgd.n_iter = self.apgd_targeted.n_iter = 4
        self.fab.n_iter = 2
        for name, attack in zip(CASCADE, (self.apgd, self.apgd_targeted, self.fab, self.square), strict=True):
            attack.perturb = partial(self.recorded, name, attack.perturb)

    def recorded(self, name, perturb, images, labels):
        if len(self.calls) == self.stop_at:
            raise Stopped
        self.calls.append((name, len(images)))
        return perturb(images, labels)


@pytest.fixture(autouse=True)
def _cheap(monkeypatch):
    monkeypatch.setattr(pyautoattack, "AutoAttack", Cheap)


@pytest.fixture
def model():
    """Return a small random network."""
    layers = [
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, CLASSES),
    ]
    return nn.Sequential(*layers).eval()


@pytest.fixture
def data(model, make_images):
    """Return images of which the network misclassifies one."""
    images = make_images(9, model=model)
    images.labels[4] = (images.labels[4] + 1) % CLASSES
    return images


@pytest.fixture
def run(model, data):
    """Return a function that runs a session and returns the result, the batches that ran and the reported lines."""

    def session(journal, *, model=model, data=data, stop_at=None, **changes):
        Cheap.calls, Cheap.stop_at, lines = [], stop_at, []
        result = autoattack(model, data, journal=journal, report=lines.append, **(SETTINGS | changes))
        return result, Cheap.calls, lines

    return session


@pytest.fixture
def plain(run):
    """Return the result without a journal, and the batches that ran."""
    result, calls, _ = run(None)
    return result, calls


@pytest.fixture
def same(plain):
    """Return a function that checks that a result equals the one without a journal."""

    def check(result):
        assert torch.equal(result.adversarial, plain[0].adversarial)
        assert list(result.robust) == list(CASCADE)
        assert all(torch.equal(result.robust[attack], plain[0].robust[attack]) for attack in CASCADE)

    return check


def files(folder):
    """Return the bytes of every file below a folder by name."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_example_has_several_batches_in_every_attack(plain):
    result, calls = plain

    assert all(sum(name == attack for name, _ in calls) >= 2 for attack in CASCADE)
    assert 3 < int(result.verdicts.sum()) < 8


def test_a_journal_changes_nothing_and_a_second_session_runs_nothing(run, plain, same, tmp_path):
    first, calls, _ = run(tmp_path)
    written = files(tmp_path)
    again, none, lines = run(tmp_path)

    same(first)
    same(again)
    assert calls == plain[1] and none == []
    assert files(tmp_path) == written and len(written) == 1 + len(calls)
    assert again.seconds == first.seconds > 0
    assert [line for line in lines if "warning" not in line] == [
        f"autoattack  resumes from {len(written)} batches in {next(tmp_path.iterdir())}"
    ]


def test_a_session_stopped_before_any_batch_resumes_there(run, plain, same, tmp_path):
    for stop_at in range(len(plain[1])):
        journal = tmp_path / str(stop_at)
        with pytest.raises(Stopped):
            run(journal, stop_at=stop_at)

        result, calls, _ = run(journal)

        same(result)
        assert calls == plain[1][stop_at:]


def test_sessions_of_one_batch_each_finish_the_attack(run, plain, same, tmp_path):
    for call in plain[1][:-1]:
        with pytest.raises(Stopped):
            run(tmp_path, stop_at=1)
        assert Cheap.calls == [call]

    result, calls, _ = run(tmp_path)

    same(result)
    assert calls == plain[1][-1:]


def test_a_session_stopped_while_it_writes_loses_that_batch_only(run, plain, same, tmp_path, monkeypatch):
    replace = os.replace
    for stop_at in range(len(plain[1]) + 1):  # the clean verdicts are written too
        journal, written = tmp_path / str(stop_at), []

        def stopping(*arguments, written=written, stop_at=stop_at):
            if len(written) == stop_at:
                raise Stopped
            written.append(arguments)
            return replace(*arguments)

        monkeypatch.setattr(os, "replace", stopping)
        with pytest.raises(Stopped):
            run(journal)
        monkeypatch.setattr(os, "replace", replace)

        result, calls, _ = run(journal)

        same(result)
        assert calls == plain[1][max(0, stop_at - 1) :]


def test_seconds_are_summed_over_all_sessions(run, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.evaluation.progress.Progress.seconds", 2.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: 0.0))  # of the clean verdicts
    with pytest.raises(Stopped):
        run(tmp_path, stop_at=4)

    result, calls, _ = run(tmp_path)

    assert result.seconds == 2.0 * (4 + len(calls))


@pytest.mark.parametrize("changes", [{"epsilon": 5 / 255}, {"seed": 8}, {"batch_size": 4}, {"num_classes": 4}])
def test_batches_of_other_settings_are_not_used(run, tmp_path, changes):
    run(tmp_path)
    written = files(tmp_path)
    expected = run(None, **changes)

    result, calls, _ = run(tmp_path, **changes)

    assert calls == expected[1]
    assert torch.equal(result.adversarial, expected[0].adversarial)
    assert len(list(tmp_path.iterdir())) == 2
    assert written.items() <= {**files(tmp_path), **written}.items()


def test_batches_of_other_weights_buffers_layers_images_or_labels_are_not_used(run, plain, model, data, tmp_path):
    run(tmp_path)
    brighter = Images(data.images.clone(), data.labels)
    brighter.images[-1, 0, 0, 0] ^= 1
    relabelled = Images(data.images, torch.cat([data.labels[:-1], (data.labels[-1:] + 1) % CLASSES]))
    capped = nn.Sequential(*[nn.ReLU6() if isinstance(layer, nn.ReLU) else layer for layer in model])

    sessions = [
        partial(run, tmp_path, data=brighter),
        partial(run, tmp_path, data=relabelled),
        partial(run, tmp_path, model=capped),
    ]
    for session in sessions:
        assert len(session()[1]) > 0
    for value in (model[0].weight, model[1].running_mean):
        with torch.no_grad():
            value.flatten()[0] += 1e-3
        assert len(run(tmp_path)[1]) > 0

    assert len(list(tmp_path.iterdir())) == 6


@pytest.mark.parametrize("changed", ["package", "torch"])
def test_batches_of_another_version_are_not_used(run, plain, tmp_path, monkeypatch, changed):
    run(tmp_path)
    if changed == "torch":
        monkeypatch.setattr(torch, "__version__", "2.0.0")
    else:
        monkeypatch.setattr(module, "package_version", lambda: "0.0.1")

    assert run(tmp_path)[1] == plain[1]


def test_damaged_files_are_reported_and_their_batches_run_again(run, plain, same, tmp_path):
    run(tmp_path)
    (folder,) = tmp_path.iterdir()
    whole = files(folder)
    damaged = [("apgd-ce-0002", whole["apgd-ce-0002.safetensors"][:-1]), ("fab-t-0001", b""), ("clean", b"text")]
    for name, content in damaged:
        (folder / f"{name}.safetensors").write_bytes(content)
    shutil.copy(folder / "square-0001.safetensors", folder / "square-0002.safetensors")

    result, calls, lines = run(tmp_path)

    same(result)
    assert [name for name, _ in calls] == ["apgd-ce", "fab-t", "square"]
    assert sum("is damaged or holds other images; this batch runs again" in line for line in lines) == 4
    assert {name: len(content) for name, content in files(folder).items()} == {
        name: len(content) for name, content in whole.items()
    }


def test_half_a_file_under_its_temporary_name_is_not_read(run, plain, same, tmp_path):
    run(tmp_path)
    (folder,) = tmp_path.iterdir()
    path = folder / "fab-t-0002.safetensors"
    path.with_suffix(".tmp").write_bytes(path.read_bytes()[:50])
    path.unlink()

    result, calls, lines = run(tmp_path)

    same(result)
    assert [name for name, _ in calls] == ["fab-t"]
    assert not any("damaged" in line for line in lines)


def test_without_a_journal_nothing_is_written(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    run(None)

    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def stored(tmp_path):
    """Return a journal with one finished batch, the batch's rows and content, and its file."""
    journal, rows = Journal(tmp_path, {"epsilon": 0.1}, report=lambda line: None), torch.tensor([3, 5, 9])
    batch = FinishedBatch(torch.tensor([3, 9]), torch.rand(2, 1, 2, 2), forwarded=42, seconds=1.25)
    journal.save("square-0001", rows, batch)
    (path,) = tmp_path.rglob("*.safetensors")
    return journal, rows, batch, path


def equal(first, second):
    same_tensors = torch.equal(first.broken, second.broken) and torch.equal(first.adversarial, second.adversarial)
    return same_tensors and (first.forwarded, first.seconds) == (second.forwarded, second.seconds)


def test_a_batch_is_read_as_it_was_written_for_its_own_rows_and_settings_only(stored, tmp_path):
    journal, rows, batch, path = stored
    other = Journal(tmp_path, {"epsilon": 0.2}, report=lambda line: None)
    shutil.copytree(path.parent, other.folder)

    assert equal(journal.load("square-0001", rows), batch)
    assert journal.load("square-0001", torch.tensor([3, 5, 8])) is None
    assert journal.load("square-0002", rows) is None
    assert other.load("square-0001", rows) is None


def test_no_changed_or_missing_byte_is_read_as_something_else(stored):
    journal, rows, batch, path = stored
    whole = path.read_bytes()
    changed = [whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :] for at in range(len(whole)) for bit in (1, 32)]
    refused = 0

    for content in [*changed, *(whole[:length] for length in range(len(whole)))]:
        path.write_bytes(content)
        read = journal.load("square-0001", rows)
        refused += read is None
        assert read is None or equal(read, batch)

    assert refused >= 2.9 * len(whole)  # all but a few bytes that hold no information
