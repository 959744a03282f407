"""Runs the cases of `bench` one after another and saves the measurement after each: stopped, nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from time import perf_counter

import torch

from benchmark.bench.cases import TOTAL_SECONDS, Case, every_step_requests, rate_cases, suite_cases
from benchmark.bench.text import measurement_lines
from benchmark.errors import UserError
from benchmark.planning.machine import this_machine, threads_text
from benchmark.planning.measured import FILE, Machine, Measurement, load_measurement, save_measurement
from benchmark.runtime.devices import choose_device
from benchmark.runtime.progress import duration
from benchmark.session import Request, plan_suite
from benchmark.suite.registry import resolve

BUSY = 0.7  # load per core, before anything is measured


def bench(request: Request | None, *, out: Path, device: str, say: Callable[[str], None]) -> None:
    """Measure this machine and the training steps and networks of a suite; print the tables.

    Args:
        request: names the suite; None measures one network under every kind of training step, beside the plain
            implementation.
        out: where the measurement is kept; an earlier one of the same machine is added to.
        device: "auto", "cpu" or "cuda".
        say: receives one line at a time.

    Raises:
        UserError: for any mistake in the request, or if nothing of the suite can be measured.
    """
    place = torch.device(choose_device(device))
    machine = this_machine(place)
    cases = rate_cases(place)
    requests = every_step_requests(out, place) if request is None else [request]
    planned = [item for each in requests for item in plan_suite(each)]
    methods = {target: resolve(target) for target in {item.experiment.method.target for item in planned}}
    if request is None:
        if place.type == "cuda":
            say("the plain training steps run on a CPU only: no ratio is printed for training")
        own = suite_cases(planned, methods, place, compared=True)
    else:
        own = suite_cases(planned, methods, place, total_seconds=TOTAL_SECONDS)
    if not own:
        raise UserError(
            "nothing of this suite can be measured: its experiments are refused, or its data set or network is not "
            "among those `python -m benchmark list` shows"
        )
    cases += own
    measured = begin(machine, out, say)
    torch.set_num_threads(machine.threads)
    say(
        f"{len(cases)} measurements on {machine.name}, {threads_text(machine.threads)}; `run` keeps {machine.jobs} "
        f"experiments going on as many each; about {duration(sum(case.seconds for case in cases))} on an idle machine"
    )
    if os.getloadavg()[0] > BUSY * (os.cpu_count() or 1):
        say("note   other programs keep this machine busy: times will be too long")
    for line in measurement_lines(new_numbers(run_cases(cases, measured, out, say), measured)):
        say(line)
    say(f"kept in {out / FILE}; `python -m benchmark plan SUITE --out {out}` predicts hours from it")


def new_numbers(measured: Measurement, before: Measurement) -> Measurement:
    """Return a measurement without the training steps and evaluations that an earlier one has already."""
    return measured.model_copy(
        update={
            "training": [entry for entry in measured.training if entry not in before.training],
            "evaluation": [entry for entry in measured.evaluation if entry not in before.evaluation],
        }
    )


def begin(machine: Machine, out: Path, say: Callable[[str], None]) -> Measurement:
    """Return the measurement to add to: the one kept, if it is of the same machine, torch and commit."""
    try:
        kept = load_measurement(out)
    except UserError as error:
        say(f"note   {error}")
        kept = None
    if kept is not None and kept.machine == machine:
        return kept
    if kept is not None:
        say(f"note   {out / FILE} is of another machine, torch or commit and is replaced")
    return Measurement(machine=machine, date=date.today().isoformat())


@contextmanager
def tf32_restored() -> Iterator[None]:
    """Restore whether a GPU may round float32 to TF32: the evaluation forbids it, training does not."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def run_cases(cases: Sequence[Case], measured: Measurement, out: Path, say: Callable[[str], None]) -> Measurement:
    """Run the cases, save the measurement after each, and report progress.

    A case that fails, as a method of the user's may, is reported and left out.
    """
    started, done = perf_counter(), 0.0
    for number, case in enumerate(cases, 1):
        ahead = sum(other.seconds for other in cases[number - 1 :])
        left = ahead * (perf_counter() - started) / done if done else ahead
        say(f"[{number}/{len(cases)}] {case.title}   about {duration(left)} left")
        try:
            with tf32_restored():
                added = case.run(measured)
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0]
            say(f"note   {case.title} is left out: {type(error).__name__}: {reason}")
        else:
            measured = added.model_copy(update={"date": date.today().isoformat()})
            save_measurement(measured, out)
        done += case.seconds
    return measured
