"""Runs one experiment in its own process: data, training, export checks, evaluation, record.

    python -m benchmark.launch.worker path/to/order.json [--with-parent]

With --with-parent the process ends when its standard input closes, hence with the process that started it.
"""

from __future__ import annotations

import fcntl
import os
import platform
import select
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch

from benchmark.artifact.measure import measure_export
from benchmark.artifact.unpack import Artifact
from benchmark.data.fitness import check_fitness
from benchmark.data.load import TrainingData, load_test, load_training
from benchmark.errors import CannotWrite, UserError
from benchmark.evaluation.evaluate import evaluate
from benchmark.evaluation.further_images import widen
from benchmark.files.plain import no_link, refuse_links
from benchmark.files.writing import writing
from benchmark.launch.artifact_step import measure_cost, parent_network, write_network
from benchmark.launch.make_record import make_record, make_record_again, portable_config
from benchmark.launch.order import FAILURE, USER_MISTAKE, WorkOrder, has_begun, load_order, work_folder
from benchmark.launch.remeasured import known_evaluation, known_network
from benchmark.networks.count import multiply_adds
from benchmark.networks.resnet import NetworkPlan, network_plan, prunable_sizes
from benchmark.results.parts import ProvenancePart
from benchmark.results.record import Record
from benchmark.results.store import load_record, save_record, write_atomic
from benchmark.runtime.devices import threads_for
from benchmark.runtime.hashing import tensors_sha256
from benchmark.runtime.provenance import device_name, git_state, python_version
from benchmark.suite.registry import ResolvedMethod
from benchmark.training.allocator import keep_freed_memory
from benchmark.training.first_phase import load_first_phase
from benchmark.training.loop import train
from methods import load_method_class
from methods.allocation import weight_budget
from methods.base import Architecture, Method, Target


def report(line: str) -> None:
    """Send a progress line to the parent process and the log."""
    print(line, flush=True)


def run_order(order: WorkOrder) -> Record:
    """Run an experiment to its end and write its record last.

    Raises:
        UserError: for mistakes in what the user gave (data, plug-in).
        TrainingFailed, BadExport: if the method breaks its contract.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    experiment, device = order.experiment, torch.device(order.device)
    found = ResolvedMethod(load_method_class(experiment.method.target), experiment.method.target)
    if experiment.method.source_sha256 not in (None, found.source_sha256()):
        raise UserError(f"the source of {found.cls.name} was edited after {experiment.run} was planned; run it again")
    method = found.create(experiment.method.options, experiment.run)
    target = Target(experiment.keep_ratio, experiment.weights, experiment.allocation)

    data = load_training(experiment.dataset, order.data_dir, limit=experiment.train_images)
    plan = network_plan(experiment.architecture, data.info)
    architecture = method.resize(plan, target)
    order = _settle_threads(order, multiply_adds(architecture, data.info.channels, data.info.height))
    known = None if order.trained_for is None else load_record(order.out, order.trained_for, experiment.run)
    record_of: Callable[..., Record]
    if known is not None:
        report(f"train      not again: this network stands on {known.protocol}, its artifact is measured")
        stored, record_of = known_network(order.out, known, data), partial(make_record_again, known, experiment)
    else:
        stored, record_of = _trained(order, found, method, target, data, plan, architecture)

    # The test part is read only now, when nothing can be chosen any more.
    asked = experiment.evaluation
    whole = load_test(experiment.dataset, order.data_dir, limit=asked.images if asked.pgd.images is None else None)
    test = whole.first(asked.images)
    check_fitness(data, test)
    journal = refuse_links(order.folder / "autoattack", order.out)
    evaluation = None if known is None else known_evaluation(known, experiment, test)
    if evaluation is None:
        evaluation = evaluate(
            stored.network,
            test,
            experiment.protocol(len(test.test), test.info.num_classes),
            device=device,
            batch_size=asked.autoattack.batch_size,
            parent=parent_network(order.out, experiment),
            journal=journal,
            report=report,
        )
    else:
        report("evaluate   not again, only PGD on further images")
    if wide := asked.wide_images(len(whole.test)):
        evaluation = widen(
            stored.network,
            evaluation,
            whole.test.first(wide),
            device=device,
            batch_size=asked.autoattack.batch_size,
            report=report,
        )
    cost = measure_cost(stored, device)

    commit, dirty = git_state()
    provenance = ProvenancePart(
        config=portable_config(experiment),
        command=order.command,
        git_commit=commit,
        git_dirty=dirty,
        python=python_version(),
        torch=torch.__version__,
        platform=platform.platform(),
        device=device_name(device),
        threads=order.threads,
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.perf_counter() - clock, 3),
    )
    record = record_of(test=test, cost=cost, evaluation=evaluation, provenance=provenance)
    save_record(record, order.out)
    shutil.rmtree(journal, ignore_errors=True)  # there is none where nothing was attacked again
    return record


def _trained(
    order: WorkOrder,
    found: ResolvedMethod,
    method: Method,
    target: Target,
    data: TrainingData,
    plan: NetworkPlan,
    architecture: Architecture,
) -> tuple[Artifact, Callable[..., Record]]:
    """Return the trained network as it is read from its file, and what makes the record of its evaluation."""
    experiment = order.experiment
    first_phase = None
    if experiment.first_phase is not None:
        spec = experiment.first_phase
        first_phase = load_first_phase(work_folder(order.out, spec.run), spec, data.sha256)
    device = torch.device(order.device)
    trained = train(experiment, method, data, order.folder, device=device, report=report, first_phase=first_phase)
    budget = weight_budget(sum(prunable_sizes(plan).values()), target.keep_ratio)
    measured = measure_export(
        trained.network, prunable_sizes(architecture), budget=budget, binary=target.weights == "binary"
    )
    stored = write_network(experiment, trained.network, architecture, data.info, order.out)
    weights = tensors_sha256(stored.network.state_dict())
    return stored, partial(make_record, experiment, found, data, trained, measured, stored.part, weights)


def _settle_threads(order: WorkOrder, multiply_adds: int) -> WorkOrder:
    """Set torch's threads and return the order with their number, which is also that of a later resumption.

    Args:
        order: allows at most its number of threads; a run that has begun takes just as many.
        multiply_adds: of one image.
    """
    if not has_begun(order.folder):
        threads = threads_for(multiply_adds * order.experiment.training.batch_size, order.threads)
        if threads != order.threads:
            order = order.model_copy(update={"threads": threads})
            order.save()
    torch.set_num_threads(order.threads)
    return order


def exit_with_parent() -> None:
    """End this process when the parent does, even by kill -9: the parent's end of standard input closes then."""

    def watch() -> None:
        # Not sys.stdin: its lock would be held at interpreter shutdown.
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _only_worker(folder: Path) -> Iterator[None]:
    """Hold a lock that the system drops with the process, so that two workers never share a work folder."""
    with writing(folder / "lock"):
        file = open(folder / "lock", "w", opener=no_link)  # noqa: SIM115  # closed below
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is working in {folder}; wait for it or end it") from None
        yield


def main(order_path: Path) -> int:
    """Run the order at `order_path`; return 0, or USER_MISTAKE, or 1 for any other failure."""
    keep_freed_memory()
    try:
        with _only_worker(order_path.parent):
            (order_path.parent / FAILURE).unlink(missing_ok=True)
            run_order(load_order(order_path))
    except UserError as error:
        return _failed(order_path.parent, str(error), USER_MISTAKE)
    except KeyboardInterrupt:  # Ctrl-C reaches every process of the terminal: the parent says so
        return 1
    except Exception:
        return _failed(order_path.parent, traceback.format_exc(), 1)
    return 0


def _failed(folder: Path, reason: str, code: int) -> int:
    """Leave in the work folder why its run failed, if anybody is there to learn it, and return the exit code."""
    parent = select.poll()
    parent.register(1, 0)
    if parent.poll(0):  # nobody reads what this process says: the parent has ended, and that is the reason
        return code
    try:
        write_atomic(folder / FAILURE, f"{reason.rstrip()}\n")
    except CannotWrite:  # the parent, or the log, still gets the sentence
        report(reason.rstrip().splitlines()[-1])
    return code


if __name__ == "__main__":
    if "--with-parent" in sys.argv[2:]:
        exit_with_parent()
    sys.exit(main(Path(sys.argv[1])))
