"""The status of an output folder: who works on what, what failed, what can be resumed; of finished runs only names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import benchmark
from benchmark.errors import UserError
from benchmark.launch import status as status_module
from benchmark.launch.lease_file import Holder, lease_path
from benchmark.launch.process import ProcessId
from benchmark.launch.status import read_status
from benchmark.launch.status_text import SHOWN

ROOT = Path(__file__).resolve().parents[3]
RUN = "digits/resnet6/at/fp-keep1-pgd/seed{}-abcdef"


@pytest.fixture
def begin(tmp_path):
    """Return a function that makes the work folder of a run, with the given files."""

    def make(seed=0, epochs=12, trained_for=None, **files):
        folder = tmp_path / "work" / RUN.format(seed)
        folder.mkdir(parents=True)
        order = {"experiment": {"training": {"epochs": epochs}}, "trained_for": trained_for}
        (folder / "order.json").write_text(json.dumps(order), encoding="utf-8")
        for name, content in files.items():
            (folder / name.replace("_", ".")).write_text(content, encoding="utf-8")
        return folder

    return make


def hold(folder, part="whole", **changes):
    """Write a lease as a worker does, of this process or with changes; return its path."""
    process = replace(ProcessId.own(), **changes)
    holder = Holder(process, part, "0123456789abcdef", 0, 60.0, "2026-01-31 12:00:00")
    path = lease_path(folder, part)
    path.write_bytes(holder.text(7))
    return path


def history(*epochs):
    return "".join(json.dumps({"epoch": epoch, "seconds": seconds}) + "\n" for epoch, seconds in epochs)


def finish(out, run, protocol="digits-linf"):
    path = out / "records" / protocol / f"{run.replace('/', '__')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_a_running_training_has_place_epoch_and_time_left(tmp_path, begin):
    folder = begin(history_jsonl=history((1, 10.0), (2, 20.0), (3, 30.0)), log_txt="first\nnow \x1b[2J this\n\n")
    hold(folder)

    status = read_status(tmp_path)

    (run,) = status.runs
    assert (run.run, run.state, run.epoch, run.epochs) == (RUN.format(0), "running", 3, 12)
    assert run.seconds_left == 9 * 10.0
    (worker,) = run.workers
    assert (worker.host, worker.pid, worker.alive) == (ProcessId.own().host, os.getpid(), True)
    assert benchmark.status(tmp_path).text == (
        "running: 1\n"
        f"  {RUN.format(0)}  epoch 3/12, training ends in about 2 min\n"
        f"    whole: host {worker.host}, process {worker.pid}, since 2026-01-31 12:00:00 UTC\n"
        "    now \\x1b[2J this\n"
        f"{tmp_path}: 0 records, 1 running"
    )


def test_the_history_after_a_first_phase_of_another_run_begins_later(tmp_path, begin):
    hold(begin(history_jsonl=history((9, 30.0), (10, 60.0))))

    (run,) = read_status(tmp_path).runs

    assert (run.epoch, run.seconds_left) == (10, 2 * 30.0)


def test_shards_are_listed_one_by_one(tmp_path, begin):
    folder = begin(history_jsonl=history((12, 30.0)))
    hold(folder, "attack 1/2")
    hold(folder, "attack 2/2", host="elsewhere")

    (run,) = read_status(tmp_path).runs

    assert [(worker.part, worker.host) for worker in run.workers][1] == ("attack 2/2", "elsewhere")
    assert run.seconds_left is None  # training has ended


def test_a_process_that_died_here_has_abandoned_its_run_at_once(tmp_path, begin):
    hold(begin(checkpoint_pt=""), started="1")

    (run,) = read_status(tmp_path).runs

    assert (run.state, run.workers[0].alive) == ("abandoned", False)
    assert f"abandoned by host {ProcessId.own().host}, process {os.getpid()}" in benchmark.status(tmp_path).text


def test_a_silent_process_elsewhere_counts_as_dead_by_the_clock_of_the_disk(tmp_path, begin, monkeypatch):
    alive, silent = hold(begin(0), host="elsewhere"), hold(begin(1), host="elsewhere")
    os.utime(silent, (os.stat(alive).st_mtime - 61,) * 2)
    monkeypatch.setattr(status_module.time, "time", lambda: os.stat(alive).st_mtime + 3600)  # this host's is wrong

    assert [run.state for run in read_status(tmp_path).runs] == ["running", "abandoned"]


def test_failed_stopped_and_waiting_runs(tmp_path, begin):
    begin(0, failed_txt="Traceback:\n  a line\nValueError: loss is nan\n", checkpoint_pt="")
    begin(1, checkpoint_pt="", history_jsonl=history((1, 5.0)))
    begin(2)
    begin(3, trained_for="digits-linf", network_safetensors="")
    order = begin(4) / "order.json"
    order.rename(order.with_name("order-8-shards.json"))

    status = read_status(tmp_path)

    assert [run.state for run in status.runs] == ["failed", "stopped", "waiting", "stopped", "waiting"]
    assert [run.reason for run in status.runs] == ["ValueError: loss is nan", "", "", "", ""]
    assert [run.epochs for run in status.runs] == [12, 12, 12, None, 12]
    text = benchmark.status(tmp_path).text
    assert "failed: 1; `run` tries them again\n" in text
    assert f"  {RUN.format(1)}  epoch 1/12\n" in text  # no end is known for what does not run
    assert text.endswith("0 records, 1 failed, 2 stopped, 2 waiting")


def test_what_is_finished_is_only_counted_unless_it_is_measured_again(tmp_path, begin):
    begin(0, history_jsonl=history((12, 9.0)), failed_txt="old")
    hold(begin(1))
    hold(begin(2), started="1")  # died after its record was written
    for seed in range(3):
        finish(tmp_path, RUN.format(seed))
    finish(tmp_path, RUN.format(0), "digits-linf-wide")

    status = read_status(tmp_path)

    assert status.records == 4
    assert [(run.run, run.state) for run in status.runs] == [(RUN.format(1), "running")]


@pytest.mark.parametrize("content", ["", "no json", "[]", '{"experiment": 3}', '{"experiment": {"training": {}}}'])
def test_a_damaged_file_hides_no_run(tmp_path, begin, content):
    folder = begin(checkpoint_pt="", history_jsonl="[1]\n")
    (folder / "order.json").write_text(content, encoding="utf-8")
    (folder / "lease-run.json").write_text(content, encoding="utf-8")

    (run,) = read_status(tmp_path).runs

    assert (run.state, run.epoch, run.epochs) == ("stopped", 0, None)


def test_links_are_not_followed(tmp_path, begin):
    secret = tmp_path / "secret"
    secret.write_text("secret\n", encoding="utf-8")
    (begin() / "failed.txt").symlink_to(secret)

    assert "secret\n" not in benchmark.status(tmp_path).text
    with pytest.raises(UserError, match="link"):
        (tmp_path / "records").symlink_to(tmp_path / "work")
        read_status(tmp_path)


def test_a_long_list_is_cut_and_an_empty_folder_is_no_mistake(tmp_path, begin):
    assert benchmark.status(tmp_path).text == f"{tmp_path}: 0 records, nothing else"
    for seed in range(SHOWN + 5):
        begin(seed, checkpoint_pt="")

    text = benchmark.status(tmp_path).text

    assert len(text.splitlines()) == SHOWN + 3
    assert "  and 5 more\n" in text
    with pytest.raises(UserError, match="there is no folder"):
        benchmark.status(tmp_path / "nowhere")


def test_of_ten_thousand_finished_runs_no_file_is_opened(tmp_path, begin):
    for number in range(10_000):
        finish(tmp_path, RUN.format(number))
    for number in range(200):
        begin(number, history_jsonl="", log_txt="")
    hold(begin(10_000))
    code = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda name, given: name == 'open' and opened.append(str(given[0])))\n"
        "from benchmark.api.watching import status\n"
        "result = status(sys.argv[1])\n"
        "assert (result.records, len(result.runs)) == (10_000, 1), result\n"
        "assert 'torch' not in sys.modules\n"
        "print(*sorted(path.rsplit('/', 1)[-1] for path in opened if '/work/' in path and path.endswith('json')"
        " and path.startswith(sys.argv[1])))\n"
    )

    finished = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=True,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )

    assert finished.stdout == "lease-run.json order.json\n"
