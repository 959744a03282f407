"""From a work order to its record, step by step. Every engine that starts experiments ends here."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from benchmark.launch.attack_step import attack_network
from benchmark.launch.evaluate_step import evaluate_network
from benchmark.launch.group import in_group
from benchmark.launch.job import NETWORK, WHOLE, parse_part, part_leases
from benchmark.launch.lease import Lease
from benchmark.launch.make_record import make_record, provenance
from benchmark.launch.order import load_order
from benchmark.launch.prepare import prepare_order
from benchmark.launch.remeasured import has_record
from benchmark.launch.tracking import tracked
from benchmark.launch.train_step import train_or_find
from benchmark.results.store import save_record


def report(line: str) -> None:
    """Send a line of progress to the parent process and the log."""
    print(line, flush=True)


def run_order(path: Path, part: str = WHOLE) -> None:
    """Do a part of the order in a file; called again, it resumes what was interrupted.

    The parts "whole" and "record" end with the record, which is written last. The caller holds the lease of the part.

    Raises:
        UserError: for mistakes in what the user gave (order, data, plug-in).
        TrainingFailed, BadExport: if the method breaks its contract.
        Elsewhere: if another process attacks a shard that this one needs.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    order = load_order(path)
    kind, shard = parse_part(part, order.shards)
    if has_record(order.out, order.experiment):  # another process has done it meanwhile
        report("done       there is a record already")
        return
    prepared = prepare_order(order)
    if shard is not None:
        attack_network(prepared, shard, report)
        return
    with tracked(order, report) if not in_group() else nullcontext(report) as tracked_report:  # one of a group
        network = train_or_find(prepared, tracked_report)
    if kind == NETWORK:
        return
    with ExitStack() as leases:
        for lease in part_leases(order, part)[1:]:
            leases.enter_context(Lease(lease, part, order.lease_seconds))
        evaluated = evaluate_network(prepared, network, report)
        seconds = time.perf_counter() - clock
        record = make_record(prepared, network, evaluated, provenance(prepared.order, started, seconds))
        save_record(record, order.out)
        shutil.rmtree(order.journal, ignore_errors=True)  # there is none where nothing was attacked again
