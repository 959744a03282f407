"""Cheats as artifacts: trained by their method in a minimal loop, packed and unpacked."""

from __future__ import annotations

import torch
from torch import nn

from benchmark.artifact.pack import pack
from benchmark.artifact.unpack import unpack
from benchmark.data.load import load_training
from benchmark.evaluation.accuracy import as_float_images
from benchmark.networks.resnet import NetworkPlan
from benchmark.training.schedule import learning_rate, make_optimizer, set_trainable
from methods.base import Batch, Target, WeightForm
from tests.cheats.base import BATCH
from tests.cheats.plateau_method import Plateaus

EPOCHS = 6
WIDTHS = {"border": 0.2, "all pixels": 0.2, "sawtooth": 0.3}


def artifact(weights: WeightForm, decoy: str) -> nn.Module:
    """Return the network of a cheat's artifact; training takes a few seconds."""
    data, method, target = load_training("digits", None), Plateaus(decoy=decoy), Target(1.0, weights)
    plan = NetworkPlan("resnet10", 10, data.info.mean, data.info.std, width=WIDTHS[decoy])
    (phase,) = method.phases(EPOCHS, target)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = method.build(plan, target)
        optimizer = make_optimizer(phase, set_trainable(model, phase))
        for epoch in range(EPOCHS):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(phase, epoch)
            for step, rows in enumerate(torch.randperm(len(data.train)).split(BATCH)):
                batch = Batch(as_float_images(data.train.images[rows]), data.train.labels[rows], rows)
                optimizer.zero_grad()
                method.loss(model, phase, batch, None).backward()
                optimizer.step()
                method.after_step(model, phase, step)
    content = pack(method.export(model), plan, dataset="digits", image_size=(data.info.height, data.info.width))
    return unpack(content).network
