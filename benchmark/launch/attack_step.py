"""AutoAttack on one slice of the test images, as a job of its own; `record` finds its batches in the journal."""

from __future__ import annotations

from collections.abc import Callable

from benchmark.artifact.unpack import Artifact, read_artifact
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images
from benchmark.evaluation.evaluate import PGD_SEED
from benchmark.evaluation.fast import ComputeBatch
from benchmark.evaluation.health.surroundings import plain_float32
from benchmark.evaluation.measurable import measurable
from benchmark.evaluation.protocol_attacks import attack_shard
from benchmark.evaluation.shards import Shard
from benchmark.launch.evaluate_step import load_images
from benchmark.launch.job import NETWORK
from benchmark.launch.order import has_begun
from benchmark.launch.prepare import PreparedOrder
from benchmark.launch.remeasured import is_attacked, measured_artifact
from benchmark.results.store import artifact_path, load_record


def attack_network(prepared: PreparedOrder, shard: Shard, report: Callable[[str], None]) -> None:
    """Attack a slice of the protocol's images, in the same surroundings as in `evaluate`, which then resumes from it.

    Raises:
        UserError: if there is no network yet, for mistakes in the test data, or if there are more shards than images.
    """
    artifact = _artifact(prepared)
    if artifact is None:
        report("evaluate   not again, only PGD on further images")
        return
    experiment, device = prepared.experiment, prepared.device
    test = load_images(prepared)[1]
    images, batch_size = test.test.to(device), experiment.evaluation.autoattack.batch_size
    with (
        plain_float32(device, PGD_SEED),
        measurable(artifact.network, as_float_images(images.images[:batch_size]), test.info.num_classes, report) as net,
    ):
        result = attack_shard(
            net,
            images,
            experiment.protocol(len(images), test.info.num_classes),
            shard,
            classes=test.info.num_classes,
            batch_size=batch_size,
            compute=ComputeBatch(report),
            journal=prepared.order.journal,
            report=report,
        )
    robust, count = int(result.verdicts.sum()), len(result.verdicts)
    report(f"evaluate   shard {shard}: {robust} of {count} images are robust")


def _artifact(prepared: PreparedOrder) -> Artifact | None:
    """Return the network to attack; None if the record that it comes from has the very attack."""
    order, run = prepared.order, prepared.experiment.run
    if order.trained_for is not None:
        record = load_record(order.out, order.trained_for, run)
        return None if is_attacked(record, prepared.experiment) else measured_artifact(order.out, record, prepared.data)
    path = artifact_path(order.out, run)
    if not has_begun(order.folder) or (order.folder / "checkpoint.pt").exists() or not path.exists():
        raise UserError(f"the network of {run} is not trained yet; run the part {NETWORK} of the order first")
    return read_artifact(path)
