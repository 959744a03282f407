"""Third step of an order: its network under attack on the test images, and what one image costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmark.data.fitness import check_fitness
from benchmark.data.load import TestData, load_test
from benchmark.evaluation.evaluate import evaluate
from benchmark.evaluation.further_images import widen
from benchmark.launch.artifact_step import measure_cost, parent_network
from benchmark.launch.prepare import PreparedOrder
from benchmark.launch.remeasured import recorded_evaluation
from benchmark.launch.train_step import RecordedNetwork, TrainedNetwork
from benchmark.results.evaluation import EvaluationPart
from benchmark.results.parts import CostPart


@dataclass(frozen=True)
class EvaluatedNetwork:
    """What was measured on a network."""

    test: TestData  # the protocol's images
    evaluation: EvaluationPart
    cost: CostPart


def load_images(prepared: PreparedOrder) -> tuple[TestData, TestData]:
    """Return the test images: all that are measured, and the protocol's, which are the first of them.

    Raises:
        UserError: for mistakes in the test data.
    """
    settings = prepared.experiment.evaluation
    # The test part is read only now, when nothing can be chosen any more.
    limit = settings.images if settings.pgd.images is None else None
    whole = load_test(prepared.experiment.dataset, prepared.order.data_dir, limit=limit)
    test = whole.first(settings.images)
    check_fitness(prepared.data, test)
    return whole, test


def evaluate_network(
    prepared: PreparedOrder, network: TrainedNetwork | RecordedNetwork, report: Callable[[str], None]
) -> EvaluatedNetwork:
    """Attack the network, unless its record has the very evaluation, add PGD on further images, and count costs.

    Raises:
        UserError: for mistakes in the test data, or if a recorded evaluation was made on other images.
    """
    experiment, device = prepared.experiment, prepared.device
    settings = experiment.evaluation
    whole, test = load_images(prepared)
    evaluation = None
    if isinstance(network, RecordedNetwork):
        evaluation = recorded_evaluation(network.record, experiment, test)
    if evaluation is None:
        evaluation = evaluate(
            network.artifact.network,
            test,
            experiment.protocol(len(test.test), test.info.num_classes),
            device=device,
            batch_size=settings.autoattack.batch_size,
            parent=parent_network(prepared.order.out, experiment),
            journal=prepared.order.journal,
            report=report,
            shards=prepared.order.shards,
        )
    else:
        report("evaluate   not again, only PGD on further images")
    if wide_images := settings.wide_images(len(whole.test)):
        evaluation = widen(
            network.artifact.network,
            evaluation,
            whole.test.first(wide_images),
            device=device,
            batch_size=settings.autoattack.batch_size,
            report=report,
        )
    return EvaluatedNetwork(test, evaluation, measure_cost(network.artifact, device))
