"""Trackers get every epoch once, also when a run is resumed, and never fail a run."""

from __future__ import annotations

import json
import sys
import types

import pytest

from benchmark.errors import UserError
from benchmark.launch import tracking
from benchmark.launch.order import WorkOrder
from benchmark.launch.trackers import check_tracker
from benchmark.launch.tracking import tracked
from benchmark.training.history import EpochLine, append, truncate

# What these packages import has deprecations of its own.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def order(make_experiment, tmp_path):
    """Return the maker of an order, whose work folder exists."""

    def make(track):
        made = WorkOrder(
            experiment=make_experiment(),
            out=tmp_path,
            data_dir=None,
            device="cpu",
            threads=1,
            command="",
            track=track,
        )
        made.folder.mkdir(parents=True, exist_ok=True)
        return made

    return make


def train(order, epochs, lines=None):
    """Play the worker of a training: append each epoch to the history, then report it; return what was reported."""
    lines = [] if lines is None else lines
    with tracked(order, lines.append) as report:
        report("train")
        for epoch in epochs:
            values = {"validation_clean_accuracy": 0.5, "validation_robust_accuracy": 0.25, "kept_weights": 9}
            append(
                order.folder / "history.jsonl",
                EpochLine(epoch=epoch, phase="train", lr=0.1, loss=1 / epoch, seconds=2.0 * epoch, **values),
            )
            report(f"epoch {epoch}")
            report("a line between")
    return lines


@pytest.fixture
def trackio(monkeypatch):
    """Put a module in the place of trackio, and return what it was called with."""
    calls = []
    module = types.ModuleType("trackio")
    module.__spec__ = types.SimpleNamespace(name="trackio")
    module.init = lambda **given: calls.append(("init", given))
    module.log = lambda values, step: calls.append(("log", step, values))
    module.finish = lambda: calls.append(("finish",))
    monkeypatch.setitem(sys.modules, "trackio", module)
    return calls, module


def test_every_epoch_is_sent_once_with_the_name_and_the_settings_of_the_run(order, trackio):
    calls, _ = trackio
    made = order("trackio")

    reported = train(made, [1, 2, 3])

    assert reported[0] == "train" and len(reported) == 7
    assert [call[0] for call in calls] == ["init", "log", "log", "log", "finish"]
    assert [call[1] for call in calls[1:4]] == [1, 2, 3]
    assert calls[1][2]["loss"] == 1.0 and calls[1][2]["phase"] == "train" and "epoch" not in calls[1][2]
    given = calls[0][1]
    assert given["name"].startswith(made.experiment.run)
    assert given["project"] == made.experiment.suite
    assert given["config"]["training"]["epochs"] == made.experiment.training.epochs
    assert given["config"]["run_hash"] == made.experiment.run_hash


def test_a_resumed_run_continues_the_same_tracked_run_without_an_epoch_twice(order, trackio):
    calls, _ = trackio
    train(order("trackio"), [1, 2, 3])
    truncate(order("trackio").folder / "history.jsonl", 2)  # the checkpoint was of epoch 2

    train(order("trackio"), [3, 4])
    train(order("trackio"), [])  # as the job that only evaluates: nothing is opened

    first, second = (call[1] for call in calls if call[0] == "init")
    assert (first["name"], first["resume"]) == (second["name"], "allow")
    assert [call[1] for call in calls if call[0] == "log"] == [1, 2, 3, 4]


def test_epochs_that_a_killed_process_did_not_send_are_sent_by_the_next(order, trackio):
    calls, _ = trackio
    train(order(None), [1, 2])

    train(order("trackio"), [3])

    assert [call[1] for call in calls if call[0] == "log"] == [1, 2, 3]


def test_a_tracker_that_fails_is_one_warning_and_the_run_goes_on(order, trackio):
    calls, module = trackio

    def refuse(values, step):
        raise RuntimeError(f"no network at step {step}\nand much more")

    module.log = refuse

    reported = train(order("trackio"), [1, 2])

    warning = (
        "warning: trackio takes no more of this run (RuntimeError no network at step 1); history.jsonl has everything"
    )
    assert [line for line in reported if "trackio" in line] == [warning]
    assert reported[-1] == "a line between"
    assert ("finish",) not in calls


def test_a_tracker_that_fails_or_hangs_at_the_end_is_one_warning(order, trackio, monkeypatch):
    _, module = trackio
    monkeypatch.setattr(tracking, "_CLOSE_SECONDS", 0.05)
    forever = tracking.threading.Event()

    def refuse():
        raise OSError("gone")

    module.finish = refuse
    assert "warning: trackio takes no more of this run (OSError gone)" in train(order("trackio"), [1])[-1]
    module.finish = forever.wait
    assert "warning: trackio has not ended within 0s" in train(order("trackio"), [2])[-1]
    forever.set()


@pytest.mark.parametrize("content", ["", "[]", '{"id": 3}', '{"id": "a", "epoch": "x"}'])
def test_a_damaged_state_begins_a_new_tracked_run(order, trackio, content):
    calls, _ = trackio
    made = order("trackio")
    (made.folder / "tracking-trackio.json").write_text(content, encoding="utf-8")

    train(made, [1])

    assert [call[0] for call in calls] == ["init", "log", "finish"]
    assert json.loads((made.folder / "tracking-trackio.json").read_text(encoding="utf-8"))["epoch"] == 1


def test_without_a_tracker_lines_are_passed_on_and_nothing_is_written(order):
    made = order(None)

    assert train(made, [1]) == ["train", "epoch 1", "a line between"]
    assert sorted(path.name for path in made.folder.iterdir()) == ["history.jsonl"]


def test_an_order_without_a_tracker_is_as_before(order):
    assert order(None).experiment.run_hash == order("wandb").experiment.run_hash


def test_what_is_missing_or_unknown_is_one_sentence(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(
        UserError, match=r"--track wandb needs a package that is not installed: pip install -e '\.\[wandb"
    ):
        check_tracker("wandb")
    with pytest.raises(UserError, match=r"unknown tracker 'wandbb'\. Did you mean wandb"):
        check_tracker("wandbb")


def test_a_tracker_that_is_missing_where_the_job_runs_is_a_warning(order, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    assert (
        "warning: tensorboard takes no more of this run (UserError --track tensor"
        in train(order("tensorboard"), [1])[2]
    )


def test_tensorboard_reads_back_every_epoch_once(order):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    made = order("tensorboard")
    train(made, [1, 2, 3])
    (made.folder / "tracking-tensorboard.json").write_text('{"id": "a", "epoch": 2}')  # killed after it had sent 3
    train(made, [4])

    events = accumulator.EventAccumulator(str(made.out / "tracking" / "tensorboard" / made.experiment.run)).Reload()

    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        (epoch, pytest.approx(1 / epoch)) for epoch in (1, 2, 3, 4)
    ]
    assert [event.value for event in events.Scalars("kept_weights")] == [9.0] * 4
    (config,) = events.Tensors("config/text_summary")
    assert made.experiment.run_hash.encode() in config.tensor_proto.string_val[0]


def leveldb_records(content):
    """Yield the records of wandb's offline file after its header: LevelDB's log format, seven bytes less at first."""
    place, parts = 0, b""
    while place + 7 <= len(content):
        room = 32768 - (place + 7) % 32768  # left in this block
        if room < 7:
            place += room
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_wandb_offline_keeps_name_settings_and_epochs(order, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    made = order("wandb")

    reported = train(made, [1, 2])
    reported += train(made, [3])

    assert [line for line in reported if "warning" in line] == []
    runs, steps = set(), []
    for path in sorted(made.out.rglob("*.wandb")):
        for content in leveldb_records(path.read_bytes()[7:]):
            entry = wandb_internal_pb2.Record()
            entry.ParseFromString(content)
            if entry.HasField("run"):
                runs.add((entry.run.run_id, entry.run.display_name, entry.run.project))
            if entry.HasField("history"):
                values = {item.key or "/".join(item.nested_key): item.value_json for item in entry.history.item}
                steps.append((int(values["_step"]), json.loads(values["kept_weights"])))
    ((_, name, project),) = runs
    assert (name, project) == (made.experiment.run, made.experiment.suite)
    assert steps == [(1, 9), (2, 9), (3, 9)]
