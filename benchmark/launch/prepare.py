"""First step of an order: its method, its training data, the network to build, and the threads to compute with."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmark.data.load import TrainingData, load_training
from benchmark.errors import UserError
from benchmark.launch.order import WorkOrder, started_order, started_threads
from benchmark.networks.count import multiply_adds
from benchmark.networks.resnet import NetworkPlan, network_plan
from benchmark.runtime.devices import choose_device, threads_for
from benchmark.suite.experiment import Experiment
from benchmark.suite.registry import ResolvedMethod
from benchmark.suite.target import target_of
from methods import load_method_class
from methods.base import Architecture, Method, Target


@dataclass(frozen=True)
class PreparedOrder:
    """A work order with everything that its further steps need, except the test images."""

    order: WorkOrder  # with the threads that this process computes with
    resolved_method: ResolvedMethod
    method: Method  # with the experiment's options
    target: Target
    data: TrainingData
    full_network: NetworkPlan  # before the method's `resize`; the budget is a share of its weights
    architecture: Architecture  # that is built

    @property
    def experiment(self) -> Experiment:
        """What is run."""
        return self.order.experiment

    @property
    def device(self) -> torch.device:
        """Where it is run."""
        return torch.device(self.order.device)


def prepare_order(order: WorkOrder) -> PreparedOrder:
    """Resolve the method, read the training data, and set this process's threads. Reads no test image.

    Raises:
        UserError: if the method's source was edited since the order was written, or for mistakes in the data.
    """
    experiment, order = order.experiment, _with_device(order)
    resolved_method = ResolvedMethod(load_method_class(experiment.method.target), experiment.method.target)
    if experiment.method.source_sha256 not in (None, resolved_method.source_sha256()):
        name = resolved_method.cls.name
        raise UserError(f"the source of {name} was edited after {experiment.run} was planned; run it again")
    method = resolved_method.create(experiment.method.options, experiment.run)
    target = target_of(experiment)
    data = load_training(experiment.dataset, order.data_dir, limit=experiment.train_images)
    full_network = network_plan(experiment.architecture, data.info)
    architecture = method.resize(full_network, target)
    order = set_threads(order, multiply_adds(architecture, data.info.channels, data.info.height))
    return PreparedOrder(order, resolved_method, method, target, data, full_network, architecture)


def _with_device(order: WorkOrder) -> WorkOrder:
    """Return the order with the device it runs on here; a run that has begun keeps its own unless the order says so."""
    started = started_order(order.out, order.experiment) if order.device == "auto" else None
    device = order.device if started is None else started.device
    return order if device == "cpu" == order.device else order.model_copy(update={"device": choose_device(device)})


def set_threads(order: WorkOrder, image_multiply_adds: int) -> WorkOrder:
    """Set torch's threads and return the order with their number, which is also that of a later resumption.

    Args:
        order: allows at most its number of threads; a run that has begun takes just as many.
        image_multiply_adds: of a forward pass of one image.
    """
    threads = started_threads(order.out, order.experiment)
    if threads is None:
        threads = threads_for(image_multiply_adds * order.experiment.training.batch_size, order.threads)
        if threads != order.threads or order.shards > 1:
            order.model_copy(update={"threads": threads}).save_beginning()
    torch.set_num_threads(threads)
    return order.model_copy(update={"threads": threads})
