"""Jobs that run on their own: what they need comes first, what runs elsewhere is waited for, signals are passed on."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest

from benchmark.launch import alone
from benchmark.launch.alone import Alone, jobs_before, main
from benchmark.launch.exit_codes import DONE, ELSEWHERE, FAILED, STOPPED, USER_MISTAKE
from benchmark.launch.job import Job


@pytest.fixture
def workers(monkeypatch):
    """Return the words of the workers that are started; their exit codes are taken from `codes`, then DONE."""
    started = SimpleNamespace(words=[], codes=[], signals=[])

    def popen(command, **_):
        started.words.append(command[command.index("benchmark.launch.worker") + 1 :])
        code = started.codes.pop(0) if started.codes else DONE
        kill = started.signals.append
        return SimpleNamespace(wait=lambda: code, send_signal=kill, terminate=lambda: kill(signal.SIGTERM))

    monkeypatch.setattr(alone.subprocess, "Popen", popen)
    handlers = {number: signal.getsignal(number) for number in alone.SIGNALS}
    yield started
    for number, handler in handlers.items():
        signal.signal(number, handler)


def names(order, part):
    return [job.name for job in jobs_before(order, part)]


def test_training_and_the_first_phase_come_first(tiny_order):
    dense = tiny_order(shards=2)
    run = dense.experiment.run
    later = tiny_order(shards=2, seed=1, first_phase={"run": run, "run_hash": dense.experiment.run_hash})
    network = f"{later.experiment.run} network"

    assert names(later, "network") == [] and names(later, "record") == [network]  # nothing of the first phase is there
    dense.save()
    assert names(later, "network") == [f"{run} network"]
    assert names(later, "attack 1/2") == names(later, "record") == [f"{run} network", network]
    dense.path.unlink()
    tiny_order().save()
    assert names(later, "whole") == [run]


def test_what_is_needed_runs_before_and_its_failure_is_reported(workers, tiny_order, capsys):
    path = str(tiny_order(shards=2).save())
    words = [[path, "--part", part, "--with-parent"] for part in ("network", "attack 2/2")]

    assert main([path, "--part", "attack 2/2"]) == DONE and workers.words == words
    workers.codes += [FAILED]
    assert main([path, "--part", "attack 2/2"]) == FAILED and workers.words == [*words, words[0]]
    assert "not run: it needs" in capsys.readouterr().err
    workers.codes += [STOPPED]
    assert main([path, "--part", "record"]) == STOPPED and capsys.readouterr().err == ""


def test_what_runs_elsewhere_is_waited_for_until_the_time_is_up(workers, tiny_order):
    job, now = Job(tiny_order(lease_seconds=40), "whole"), [0.0]

    def sleep(seconds):
        now[0] += seconds

    workers.codes += [ELSEWHERE] * 2
    assert Alone(None, lambda: now[0], sleep).run(job) == DONE and now == [80.0]
    workers.codes += [ELSEWHERE] * 9
    assert Alone(100, lambda: now[0], sleep).run(job) == STOPPED and now == [180.0]
    assert [words[-1] for words in workers.words[3:]] == ["100", "60", "20"]


def test_a_signal_is_passed_on_and_nothing_starts_after_it(workers, tiny_order):
    job, alone_now = Job(tiny_order(), "whole"), Alone()
    assert alone_now.run(job) == DONE
    alone_now.pass_on(signal.SIGUSR1)

    assert workers.signals == [signal.SIGUSR1] and alone_now.run(job) == STOPPED and len(workers.words) == 1


@pytest.mark.parametrize(("code", "returned"), [(-9, FAILED), (FAILED, FAILED), (USER_MISTAKE, USER_MISTAKE)])
def test_a_worker_that_is_killed_is_a_failure(workers, tiny_order, code, returned):
    workers.codes += [code]

    assert Alone().run(Job(tiny_order(), "whole")) == returned and len(workers.words) == 1


@pytest.mark.parametrize(
    "words", [["missing.json"], ["order.json", "--part", "attack 1/3"], ["order.json", "--part", ""]]
)
def test_mistakes_are_one_sentence_and_nothing_starts(workers, tiny_order, capsys, monkeypatch, words):
    monkeypatch.chdir(tiny_order().save().parent)

    assert main(words) == USER_MISTAKE and workers.words == []
    assert len(capsys.readouterr().err.splitlines()) == 1
