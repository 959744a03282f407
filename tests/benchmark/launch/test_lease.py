"""A job has one owner at a time: across hosts, kills, suspensions and clocks that disagree."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmark.errors import CannotWrite
from benchmark.files.writing import writing
from benchmark.launch import lease as lease_module
from benchmark.launch.exit_codes import ELSEWHERE
from benchmark.launch.lease import Elsewhere, Lease, Watch
from benchmark.launch.lease_file import lease_path, markers_of, nonce_of, read_holder, remove

ROOT = Path(__file__).resolve().parents[3]
OWNER = """
import sys, time
from pathlib import Path
from benchmark.files.writing import writing
from benchmark.launch.lease import Lease
folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
with Lease(folder / "lease-run.json", "whole", seconds):
    print("held", flush=True)
    while True:
        with writing(folder / "journal"), open(folder / "journal", "a") as file:
            file.write("owner\\n")
        time.sleep(0.01)
"""


@pytest.fixture
def path(tmp_path):
    """Return where the lease is."""
    return lease_path(tmp_path, "whole")


@pytest.fixture
def start_owner(tmp_path):
    """Return a function that starts a process which holds the lease and writes; it is killed in the end."""
    processes = []

    def start(seconds, host):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "BENCHMARK_HOST": host}
        process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(tmp_path), str(seconds)], stdout=subprocess.PIPE, env=environment
        )
        processes.append(process)
        assert process.stdout.readline() == b"held\n"
        while not (tmp_path / "journal").exists() or not (tmp_path / "journal").stat().st_size:
            time.sleep(0.01)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


class Clock:
    """A clock that goes on only when a test says so."""

    now = 0.0

    def __call__(self):
        return self.now


def test_a_job_has_one_owner_and_nothing_is_left_behind(tmp_path, path):
    with Lease(path, "whole", 0.4):
        assert read_holder(path).process.pid == os.getpid()
        with pytest.raises(Elsewhere, match=f"another process works on this, on .* \\(process {os.getpid()}\\) since"):
            Lease(path, "whole", 0.4)
        with Lease(lease_path(tmp_path, "attack 1/2"), "attack 1/2", 1):
            assert sorted(path.name for path in tmp_path.iterdir()) == ["lease-attack-1-of-2.json", "lease-run.json"]

    assert list(tmp_path.iterdir()) == []
    Lease(path, "whole", 1).release()


@pytest.mark.parametrize("hours", [-1, 1])
def test_clocks_that_disagree_by_an_hour_change_nothing(path, hours, monkeypatch):
    """The owner's clock differs from that of the waiter and from that of the file server."""
    clock, watch = Clock(), None
    now = 1.9e9
    monkeypatch.setattr(time, "time", lambda: now + hours * 3600)
    with Lease(path, "whole", 60) as lease:
        watch = Watch(path, 60, clock)
        for _ in range(5):
            clock.now += 50
            lease._verify()
            os.utime(path, (now - hours * 3600, now - hours * 3600))
            assert watch.holder() is not None
        fields = json.loads(path.read_text())
    fields["process"]["host"], fields["since"] = "dead", "2031-01-01 00:00:00"
    path.write_text(json.dumps(fields))
    assert watch.holder() is not None
    clock.now += 59
    assert watch.holder() is not None
    clock.now += 1
    assert watch.holder() is None and not path.exists()


def test_a_dead_owner_on_this_host_is_recognised_at_once(path, start_owner, monkeypatch):
    monkeypatch.setenv("BENCHMARK_HOST", "here")
    owner = start_owner(10_000, "here")
    owner.kill()
    while Path(f"/proc/{owner.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)  # not waited for: a process that has ended but is not reaped is dead, too

    Lease(path, "whole", 10_000).release()


def test_a_dead_owner_on_another_host_is_replaced_only_after_its_silence(path, start_owner):
    owner = start_owner(1, "there")
    owner.kill()
    owner.wait()
    clock = Clock()
    watch = Watch(path, 1, clock)

    assert watch.holder().startswith("on there (process")
    clock.now = 0.99
    assert watch.holder() is not None
    clock.now = 1
    assert watch.holder() is None and not path.exists()


def test_an_owner_that_was_suspended_ends_without_writing_once_it_is_replaced(tmp_path, path, start_owner):
    owner = start_owner(1, "there")
    owner.send_signal(signal.SIGSTOP)
    with Lease(path, "whole", 1):
        with writing(tmp_path / "journal"), open(tmp_path / "journal", "a") as file:
            file.write("successor\n")
        owner.send_signal(signal.SIGCONT)

        assert owner.wait() == ELSEWHERE
        assert b"lost: this process was suspended" in owner.stdout.read()
        assert read_holder(path).process.pid == os.getpid()
    assert (tmp_path / "journal").read_text().splitlines()[-2:] == ["owner", "successor"]


def test_an_owner_that_was_suspended_and_not_replaced_continues(tmp_path, path, start_owner):
    owner = start_owner(1, "there")
    owner.send_signal(signal.SIGSTOP)
    time.sleep(1.2)
    before = (tmp_path / "journal").stat().st_size
    owner.send_signal(signal.SIGCONT)
    while (tmp_path / "journal").stat().st_size == before:
        assert owner.poll() is None
        time.sleep(0.01)


def dead_lease(path):
    """Leave the lease of an owner on another host that has died."""
    fields = {
        "process": {"host": "dead", "boot": "x", "pid": 1, "started": "1"},
        **{"part": "whole", "nonce": os.urandom(8).hex(), "beat": "000000000007", "seconds": 0.05, "since": "then"},
    }
    path.write_text(json.dumps(fields))
    return fields["nonce"]


def test_of_many_that_take_over_at_once_one_wins(tmp_path, path):
    """Each owner writes that it begins and ends; two at once would interleave."""
    journal, rounds, errors = tmp_path / "journal", 15, []

    def take(barrier):
        barrier.wait()
        try:
            lease = Lease(path, "whole", 5)
        except Elsewhere:
            return
        except Exception as error:
            errors.append(error)
            return
        with lease, open(journal, "a") as file:
            for word in ("begin", "end"):
                file.write(f"{word}\n")
                file.flush()
                time.sleep(0.02)

    for _ in range(rounds):
        dead_lease(path)
        barrier = threading.Barrier(4)
        threads = [threading.Thread(target=take, args=(barrier,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not path.exists() and markers_of(path) == []
    lines = journal.read_text().splitlines()
    assert errors == []
    assert len(lines) >= 2 * rounds and lines == ["begin", "end"] * (len(lines) // 2)


def test_who_saw_the_dead_owner_too_removes_no_lease_of_its_successor(path):
    nonce = dead_lease(path)
    content = path.read_bytes()
    remove(path, nonce, (), lambda: path.read_bytes() == content)
    with Lease(path, "whole", 5):
        remove(path, nonce, (), lambda: path.read_bytes() == content)
        assert read_holder(path).process.pid == os.getpid()


def test_if_the_process_dies_that_removes_a_lease_another_one_does_after_the_same_time(path):
    nonce, clock = dead_lease(path), Clock()
    watch = Watch(path, 1, clock)
    assert watch.holder() is not None
    path.with_name(f".{path.name}.{nonce}.1").touch()  # of one that saw it earlier
    clock.now += 0.06
    assert watch.holder() is not None
    clock.now += 0.06
    assert watch.holder() is None and not path.exists() and markers_of(path) == []


def test_a_file_that_cannot_be_understood_belongs_to_nobody_after_a_while(path):
    path.write_text("{")  # the machine went down
    clock = Clock()
    watch = Watch(path, 1, clock)
    assert watch.holder() == "by a process that has not said who it is" and read_holder(path) is None
    clock.now += 1.1
    assert watch.holder() is None and not path.exists()
    assert nonce_of(b"{") != nonce_of(b"}")


@pytest.mark.parametrize(
    ("function", "number", "sentence"),
    [
        ("write", errno.ENOSPC, "cannot be written (No space left on device); free some space there"),
        ("open", errno.EROFS, "cannot be written (Read-only file system); name a writable folder"),
    ],
)
def test_a_disk_that_refuses_is_one_sentence_and_leaves_nothing(path, monkeypatch, function, number, sentence):
    original = getattr(os, function)

    def refuse(*arguments):
        if function == "write" or arguments[0] == path:
            raise OSError(number, os.strerror(number))
        return original(*arguments)

    monkeypatch.setattr(lease_module.os, function, refuse)
    with pytest.raises(CannotWrite) as error:
        Lease(path, "whole", 5)
    monkeypatch.undo()
    assert sentence in str(error.value) and not path.exists()


def test_a_lease_whose_file_cannot_be_read_prevents_writing(tmp_path, path, monkeypatch):
    with Lease(path, "whole", 0.2) as lease:
        monkeypatch.setattr(lease, "_is_own", lambda: (_ for _ in ()).throw(OSError(errno.EIO, "gone")))
        time.sleep(0.3)
        with pytest.raises(CannotWrite, match="its lease cannot be read"), writing(tmp_path / "file"):
            raise AssertionError("nothing may be written")
        monkeypatch.undo()
        with writing(tmp_path / "file"):
            pass
