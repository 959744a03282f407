"""The attack package: its standard attack, its checks, and its side effects contained."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from benchmark.evaluation.fast import AllBroken, AttackedNetwork, Rows
from benchmark.results.evaluation import CASCADE

PACKAGE = "pyautoattack"


def package_version() -> str:
    """Return the installed version of the attack package."""
    return version(PACKAGE)


def standard_attack(
    attacked: AttackedNetwork, *, epsilon: float, seed: int, targets: int, queries: int | None, device: torch.device
) -> Any:
    """Return the package's standard attack; on a folded network, the form that computes less.

    `queries` are those of Square; None leaves the package's, the standard's 5,000.
    """
    from pyautoattack import AutoAttack

    adversary = AutoAttack(attacked, eps=epsilon, norm="Linf", version="standard", seed=seed, device=device)
    adversary.apgd_targeted.n_target_classes = adversary.fab.n_target_classes = targets
    adversary.fab.targeted = True
    if queries is not None:
        adversary.square.n_queries = queries
    if attacked.folded:
        from benchmark.evaluation.fab_targets import FabTargets

        for attack in (adversary.apgd, adversary.apgd_targeted):
            attack.attack_single_run = _skipping_broken(attack, attacked)
        adversary.fab = FabTargets(adversary.fab, attacked)
    if attacked.sparse is not None:
        from benchmark.evaluation.square_search import searching  # compiles kernels

        adversary.square.attack_single_run = searching(adversary.square, attacked)
    return adversary


def _skipping_broken(attack: Any, attacked: AttackedNetwork) -> Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Return a replacement for `attack_single_run` of APGD that computes only rows that are not broken yet.

    Rows do not influence each other, and random numbers are drawn before the first pass: the outcome is the same.
    """
    run = attack.attack_single_run

    def single_run(x: Tensor, y: Tensor, x_init: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows = Rows(labels=y, images=x, places=torch.arange(len(y), device=y.device))
        loss = torch.zeros(len(y), device=y.device)
        with suppress(AllBroken), attacked.watching(rows):
            _, _, loss, _ = run(x, y, x_init)
        return rows.adversarial, ~rows.broken, loss, rows.adversarial

    return single_run


def check_network(adversary: Any, model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> None:
    """Make the package's checks of the network, which a plain call makes at its beginning."""
    from pyautoattack import checks

    checks.funcs.update(dict.fromkeys(checks.funcs, 0))  # otherwise one dynamic network incriminates all after it
    checks.check_randomized(model, images, labels, bs=len(images), logger=adversary.logger)
    classes = checks.check_range_output(model, images, logger=adversary.logger)
    checks.check_dynamic(model, images, False, logger=adversary.logger)
    targets = adversary.fab.n_target_classes
    checks.check_n_classes(classes, CASCADE, targets, targets, logger=adversary.logger)


def check_square(adversary: Any, after: dict[str, Tensor]) -> None:
    """Make the package's last check: Square should break almost nothing that the gradient attacks missed."""
    from pyautoattack import checks

    shares = {attack: float(robust.double().mean()) for attack, robust in after.items()}
    checks.check_square_sr(shares, logger=adversary.logger)


@contextmanager
def contained(device: torch.device) -> Iterator[None]:
    """Restore torch's global generators and the tracing function, which the package reseeds and removes."""
    trace = sys.gettrace()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        sys.settrace(trace)


@contextmanager
def logged_warnings(report: Callable[[str], None]) -> Iterator[None]:
    """Pass each kind of warning of the package (random or vanishing gradients, odd logits) to `report` once."""
    logger = logging.getLogger("auto-attack")
    reported: set[str] = set()

    class Forward(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage()
            kind = re.sub(r"[0-9.]+", "#", message)  # counts of zero gradients differ from batch to batch
            if kind not in reported:
                reported.add(kind)
                report(f"autoattack  warning: {message}")

    handler, propagate = Forward(logging.WARNING), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
