"""Runs the cases of `bench` one after another and keeps what was measured after each: stopped, nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from time import perf_counter

import torch

from benchmark.bench.cases import Case, load_yardstick, rate_cases, suite_cases, usual_cases
from benchmark.bench.text import measurement_lines
from benchmark.errors import UserError
from benchmark.evaluation.progress import duration
from benchmark.planning.machine import this_machine, threads_text
from benchmark.planning.measured import FILE, Machine, Measurement, load_measurement, save_measurement
from benchmark.runtime.devices import choose_device
from benchmark.session import Request, plan_suite
from benchmark.suite.registry import resolve

BUSY = 0.7  # load per core, before anything is measured


def bench(request: Request | None, *, out: Path, device: str, say: Callable[[str], None]) -> None:
    """Measure this machine, and a suite's own steps if one is asked for; print the tables.

    Args:
        request: names the suite; None measures one network under every kind of training step, beside the plain
            implementation.
        out: where the measurement is kept; an earlier one of the same machine is gone on with.
        device: "auto", "cpu" or "cuda".
        say: receives one line at a time.

    Raises:
        UserError: for any mistake in the request, or if nothing of the suite can be measured.
    """
    place = torch.device(choose_device(device))
    machine = this_machine(place)
    cases = rate_cases(place)
    if request is None:
        yardstick = load_yardstick()
        if place.type == "cuda":
            yardstick.pop("training", None)  # it sorts its masks on the CPU
        if "training" not in yardstick:
            say("the plain implementation (tests/benchmarks) is not here or not for this device: no ratio is printed")
        cases += usual_cases(place, yardstick)
    else:
        planned = plan_suite(request)
        targets = {item.experiment.method.target for item in planned}
        own = suite_cases(planned, {target: resolve(target) for target in targets}, place)
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
    for line in measurement_lines(news(run_cases(cases, measured, out, say), measured)):
        say(line)
    say(f"kept in {out / FILE}; `python -m benchmark plan SUITE --out {out}` predicts hours from it")


def news(measured: Measurement, before: Measurement) -> Measurement:
    """Return a measurement without what an earlier one has already."""
    return measured.model_copy(
        update={
            "training": [entry for entry in measured.training if entry not in before.training],
            "evaluation": [entry for entry in measured.evaluation if entry not in before.evaluation],
        }
    )


def begin(machine: Machine, out: Path, say: Callable[[str], None]) -> Measurement:
    """Return the measurement to go on with: the one kept, if it is of the same machine, torch and commit."""
    try:
        kept = load_measurement(out)
    except UserError as error:
        say(f"note   {error}")
        kept = None
    if kept is not None and kept.machine == machine:
        return kept
    if kept is not None:
        say(f"note   {out / FILE} is of another machine, torch or commit and is begun anew")
    return Measurement(machine=machine, date=date.today().isoformat())


@contextmanager
def tf32_as_found() -> Iterator[None]:
    """Restore whether a GPU may round float32 to TF32: the evaluation forbids it, training does not."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def run_cases(cases: Sequence[Case], measured: Measurement, out: Path, say: Callable[[str], None]) -> Measurement:
    """Run the cases, keep the measurement after each, and tell how far it is.

    A case that fails, as a method of the user's may, is told and left out.
    """
    started, done = perf_counter(), 0.0
    for number, case in enumerate(cases, 1):
        ahead = sum(other.seconds for other in cases[number - 1 :])
        left = ahead * (perf_counter() - started) / done if done else ahead
        say(f"[{number}/{len(cases)}] {case.title}   about {duration(left)} left")
        try:
            with tf32_as_found():
                found = case.run(measured)
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0]
            say(f"note   {case.title} is left out: {type(error).__name__}: {reason}")
        else:
            measured = found.model_copy(update={"date": date.today().isoformat()})
            save_measurement(measured, out)
        done += case.seconds
    return measured
