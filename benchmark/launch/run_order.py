"""From a work order to its record, step by step. Every engine that starts experiments ends here."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmark.launch.evaluate_step import evaluate_network
from benchmark.launch.make_record import make_record, provenance
from benchmark.launch.order import load_order
from benchmark.launch.prepare import prepare_order
from benchmark.launch.train_step import train_or_find
from benchmark.results.record import Record
from benchmark.results.store import save_record


def report(line: str) -> None:
    """Send a line of progress to the parent process and the log."""
    print(line, flush=True)


def run_order(path: Path) -> Record:
    """Run the order in a file to its end and write its record last; called again, it resumes what was interrupted.

    Raises:
        UserError: for mistakes in what the user gave (order, data, plug-in).
        TrainingFailed, BadExport: if the method breaks its contract.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    prepared = prepare_order(load_order(path))
    network = train_or_find(prepared, report)
    evaluated = evaluate_network(prepared, network, report)
    record = make_record(prepared, network, evaluated, provenance(prepared.order, started, time.perf_counter() - clock))
    save_record(record, prepared.order.out)
    shutil.rmtree(prepared.order.journal, ignore_errors=True)  # there is none where nothing was attacked again
    return record
