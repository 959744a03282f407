"""Gradient health: whether a network's robust accuracy can be trusted, or its gradients mislead the attacks.

Ten checks on at most 64 images, each with less than a twentieth of the passes that AutoAttack needs for an image that
survives it. Whatever a network does becomes a verdict, exceptions included.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from torch import Tensor, nn

from benchmark.data.load import Images
from benchmark.evaluation.health import attack_checks, forward_checks, gradient_checks
from benchmark.evaluation.health.verdict import Check
from benchmark.evaluation.probes import Probe, own_randomness
from benchmark.evaluation.restored import left_as_found
from benchmark.runtime.devices import out_of_memory

__all__ = ["Check", "gradient_health", "guarded"]


def gradient_health(
    model: nn.Module,
    data: Images,
    verdicts: Mapping[str, Tensor],
    *,
    epsilon: float,
    pgd_step_size: float,
    pgd_steps: int,
    seed: int,
    batch_size: int,
    parent: nn.Module | None = None,
    only: Collection[str] | None = None,
    report: Callable[[str], None],
) -> list[Check]:
    """Check whether gradient attacks on a network can be trusted, in eval mode and float32.

    The network and torch's random generators are restored afterwards.

    Args:
        model: any network on [0, 1] images, in the mode the caller would evaluate it in, on the device of `data`.
        data: the N evaluated images.
        verdicts: attack -> (N,) bool on the CPU, whether an image is classified correctly: "clean", "pgd", and after
            each attack of AutoAttack's cascade and those before it, "apgd-ce", "apgd-t", "fab-t" and "square".
        epsilon: radius of the Linf ball, in (0, 1) pixels.
        pgd_step_size: of the protocol's PGD, in pixels.
        pgd_steps: of the protocol's PGD.
        seed: of every random draw.
        batch_size: images per forward pass, at most.
        parent: the network this one was compressed from, for the transfer check.
        only: names of the checks to make; None for all.
        report: receives a line for each check that is suspect or fails.

    Returns:
        The checks, always in the same order.

    Raises:
        ValueError: if there are no images, "clean" or "pgd" is missing, or verdicts are not for N images.
    """
    _check_verdicts(verdicts, len(data))
    probe = Probe(model, data, verdicts, epsilon, pgd_step_size, pgd_steps, seed, batch_size)
    runs: dict[str, Callable[[], Check]] = {
        "eval_mode": lambda: forward_checks.eval_mode(model, data),
        "deterministic": lambda: forward_checks.deterministic(probe),
        "batch_independent": lambda: forward_checks.batch_independent(probe),
        "zero_gradients": lambda: gradient_checks.zero_gradients(probe),
        "true_gradients": lambda: gradient_checks.true_gradients(probe),
        "logit_scale": lambda: attack_checks.logit_scale(probe),
        "black_box": lambda: attack_checks.black_box(probe),
        "more_steps": lambda: attack_checks.more_steps(probe),
        "unbounded": lambda: attack_checks.unbounded(probe),
        "transfer": lambda: attack_checks.transfer(probe, parent),
    }
    checks = []
    with left_as_found(model), own_randomness(data.labels.device, seed):
        for name, run in runs.items():
            if only is not None and name not in only:
                continue
            check = guarded(name, run)
            if check.verdict in ("suspect", "fail"):
                report(f"health     {check.verdict}: {check.name}: {check.reason}")
            checks.append(check)
    return checks


def guarded(name: str, run: Callable[[], Check]) -> Check:
    """Run a check; a network that raises fails it, unless it ran out of memory."""
    try:
        return run()
    except Exception as error:
        if out_of_memory(error):
            raise
        message = (str(error).strip().splitlines() or ["no message"])[0][:200].rstrip(".")
        advice = "make the network map any batch of images to finite logits, with and without gradients"
        return Check(name, None, "fail", f"The network failed with {type(error).__name__}: {message}; {advice}.")


def _check_verdicts(verdicts: Mapping[str, Tensor], count: int) -> None:
    if not count:
        raise ValueError("gradient health needs at least one image")
    missing = {"clean", "pgd"} - verdicts.keys()
    if missing:
        raise ValueError(f"gradient health needs the verdicts {sorted(missing)}")
    wrong = {name: len(bits) for name, bits in verdicts.items() if len(bits) != count}
    if wrong:
        raise ValueError(f"verdicts must be for {count} images, got {wrong}")
