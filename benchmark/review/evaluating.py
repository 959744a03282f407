"""`evaluate`: measures a network from a file by any protocol, whole or in shards, and keeps the result as JSON."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

from benchmark.evaluation.curve import area_under, default_epsilons, security_curve
from benchmark.evaluation.evaluate import PGD_SEED, evaluate
from benchmark.files.writing import writing
from benchmark.foreign.evaluating import with_notes
from benchmark.results.evaluated import CurvePart, Evaluated, ShardPart, load_evaluated
from benchmark.results.store import write_model
from benchmark.review.sources import measured_here
from benchmark.review.tasks import EvaluateRequest, Task, attackable, load_task


def evaluate_file(request: EvaluateRequest, say: Callable[[str], None]) -> tuple[Evaluated, Path]:
    """Measure the network of a file and return the result and its file; a finished result is only read.

    Raises:
        UserError: for mistakes in the request, the network's file or the data.
    """
    task = load_task(request)
    network, parent, data, part, protocol = task.network, task.parent, task.data, task.part, task.protocol
    shard, device, path = task.shard, task.device, task.path
    result = load_evaluated(path) if path.exists() else None
    if result is not None and result.test_sha256 != data.sha256:
        aside = path.with_name(f"{path.stem}__data-{result.test_sha256[:12]}.json")
        with writing(aside):
            os.replace(path, aside)
        say(f"set aside: {path} was measured on other test images or labels than those here; it is now {aside}")
        result = None
    if result is not None:
        say(f"already measured on {result.machine.started}; delete {path} to repeat it")
    else:
        started, clock = datetime.now(UTC), time.perf_counter()
        evaluation = evaluate(
            network.network,
            part,
            replace(protocol, images=len(part.test)),
            device=device,
            batch_size=request.batch_size,
            parent=parent.network if parent else None,
            journal=task.journal,
            report=say,
        )
        result = Evaluated(
            schema_version=1,
            artifact=network.part,
            protocol=protocol.id,
            test_sha256=data.sha256,
            shard=ShardPart(index=shard.index, count=shard.count) if shard else None,
            evaluation=with_notes(evaluation, network.notes),
            curve=None,
            curve_area=None,
            machine=measured_here(device, started, time.perf_counter() - clock),
            foreign=network.foreign_part,
        )
        write_model(path, result)
    shutil.rmtree(task.journal, ignore_errors=True)
    if request.curve and result.curve is None:
        result = _with_curve(result, task, request.batch_size, say)
        write_model(path, result)
    return result, path


def _with_curve(result: Evaluated, task: Task, batch_size: int, say: Callable[[str], None]) -> Evaluated:
    with attackable(task, batch_size, say) as (network, images):
        curve = security_curve(
            network,
            images,
            epsilons=default_epsilons(float(Fraction(task.protocol.epsilon))),
            steps=task.protocol.pgd_steps,
            seed=PGD_SEED,
            batch_size=batch_size,
            report=say,
        )
    points = [CurvePart(epsilon=point.epsilon, accuracy=point.accuracy) for point in curve]
    return result.model_copy(update={"curve": points, "curve_area": area_under(curve)})
