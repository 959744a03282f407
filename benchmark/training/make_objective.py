"""Makes the objective of an experiment."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch

from benchmark.data.load import TrainingData
from benchmark.runtime.seeding import generator_for
from benchmark.suite.experiment import Experiment
from benchmark.training.fast_objective import FastObjective, PerturbationStore, SoftTarget
from benchmark.training.objectives import CleanObjective, HalfCleanObjective, PgdObjective, TradesObjective
from benchmark.training.processes import ALONE, Processes


def make_objective(
    experiment: Experiment, data: TrainingData, generator: torch.Generator, processes: Processes = ALONE
) -> PgdObjective:
    """Return the objective of an experiment on its training data; `generator` lives on the training device."""
    training, epsilon = experiment.training, float(Fraction(experiment.epsilon))
    common: dict[str, Any] = {
        "epsilon": epsilon,
        "step_size": float(Fraction(experiment.attack_step)),
        "num_steps": training.attack.num_steps,
        "random_start": training.attack.random_start,
        "train_mode_attack": training.attack.batch_norm == "train",
        "attack_bf16": training.precision != "fp32",
        "update_bf16": training.precision == "bf16",
        "crop_padding": data.info.crop_padding,
        "flip": data.info.flip,
        "generator": generator,
    }
    if experiment.objective == "trades":
        # TRADES attacks in eval mode, in its own code and in the paper's.
        return TradesObjective(**{**common, "train_mode_attack": False}, beta=training.trades_beta)
    if experiment.objective == "fast":
        soft = training.fast.soft_target
        store = PerturbationStore(
            len(data.train),
            (data.info.channels, data.info.height, data.info.width),
            padding=data.info.crop_padding,
            epsilon=epsilon,
            generator=generator_for(generator.device, experiment.seed, "perturbations"),
            labels=data.train.labels.to(generator.device),
            num_classes=data.info.num_classes,
            soft_target=SoftTarget(soft.rho, soft.beta) if soft.enabled else None,
            processes=processes,
        )
        step = {"step_size": float(Fraction(experiment.fast_step))}
        return FastObjective(**{**common, **step}, store=store, fill=training.fast.fill)
    plain: dict[str, type[PgdObjective]] = {
        "pgd": PgdObjective,
        "half_clean": HalfCleanObjective,
        "clean": CleanObjective,
    }
    return plain[experiment.objective](**common)
