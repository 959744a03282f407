"""Exact perturbation sizes and the protocol id: two results may share a table only if their ids are equal."""

from __future__ import annotations

import re
from fractions import Fraction

from benchmark.errors import UserError

STANDARD_TARGETS = 9  # target classes of the targeted attacks of AutoAttack standard
MIN_CLASSES = 4  # the targeted DLR loss needs as many logits
DEFAULT_PGD_STEPS = 50
DEFAULT_PGD_RESTARTS = 1
DEFAULT_PGD_STEPS_PER_EPSILON = 4  # the step size is epsilon / 4

# Two exponent digits at most: Fraction("1e-999999999") would fill the memory before any range check.
_NUMBER = re.compile(r"\d+/0*[1-9]\d*|(\d+\.?\d*|\.\d+)(e[+-]?\d{1,2})?", re.IGNORECASE)


def exact_epsilon(value: str | float) -> str:
    """Write a perturbation size as an exact fraction of the pixel range [0, 1].

    Args:
        value: a fraction ("8/255"), a decimal ("0.031", 0.031, 1e-2), or a decimal computed as k / 255.

    Returns:
        "k/255" if 255 * value is an integer, otherwise the fraction in lowest terms.

    Raises:
        UserError: if the value is not a number strictly between 0 and 1.

    >>> exact_epsilon("16/510"), exact_epsilon(8 / 255), exact_epsilon(0.031)
    ('8/255', '8/255', '31/1000')
    """
    text = str(value).replace(" ", "")
    exact = Fraction(text) if _NUMBER.fullmatch(text) else None
    if exact is None or not 0 < exact < 1:
        raise UserError(
            f"{value!r} is not a perturbation size: give a fraction or decimal strictly between 0 and 1, "
            f"such as 8/255 or 0.031."
        )
    if round(exact * 255) / 255 == float(exact):
        # The digits of a float that was computed as k / 255 stand for that fraction.
        exact = Fraction(round(exact * 255), 255)
    return _text(exact)


def default_pgd_step(epsilon: str | float) -> str:
    """Return the protocol's PGD step size for this epsilon, a quarter of it, as an exact fraction.

    >>> default_pgd_step("8/255")
    '2/255'
    """
    return _text(Fraction(exact_epsilon(epsilon)) / DEFAULT_PGD_STEPS_PER_EPSILON)


def autoattack_version(num_classes: int) -> str:
    """Name the AutoAttack that a number of classes allows: below ten, fewer targets are left than the standard's nine.

    >>> autoattack_version(10), autoattack_version(8)
    ('standard', 'standard-t7')
    """
    targets = min(STANDARD_TARGETS, num_classes - 1)
    return "standard" if targets == STANDARD_TARGETS else f"standard-t{targets}"


def protocol_id(
    dataset: str,
    epsilon: str | float,
    n: int,
    pgd_steps: int,
    pgd_restarts: int,
    pgd_step: str | float,
    num_classes: int,
    autoattack_seed: int = 0,
) -> str:
    """Name the evaluation protocol: data set, norm, epsilon, attacks and number of images.

    PGD with 50 steps of epsilon / 4 and one restart is the default and does not show, nor does AutoAttack's seed 0.

    Args:
        dataset: name of the data set with its variant, such as "cifar10" or "cifar10-jpeg".
        epsilon: radius of the L-infinity ball, as `exact_epsilon` takes it.
        n: attacked test images.
        pgd_steps: PGD steps per restart.
        pgd_restarts: PGD restarts.
        pgd_step: PGD step size, as `exact_epsilon` takes it.
        num_classes: decides how many targets AutoAttack has, see `autoattack_version`.
        autoattack_seed: seed of AutoAttack.

    Returns:
        The id, which is also a folder name.

    Raises:
        UserError: if epsilon or the step size is not strictly between 0 and 1.

    >>> protocol_id("cifar10", "8/255", 10000, 50, 1, "2/255", 10)
    'cifar10-linf-8_255-aa-standard-10000'
    >>> protocol_id("digits", "32/255", 128, 20, 1, "4/255", 10)
    'digits-linf-32_255-pgd20x1-step4_255-aa-standard-128'
    """
    radius, step = exact_epsilon(epsilon), exact_epsilon(pgd_step)
    parts = [dataset, "linf", radius]
    usual_step = step == default_pgd_step(radius)
    if not usual_step or (pgd_steps, pgd_restarts) != (DEFAULT_PGD_STEPS, DEFAULT_PGD_RESTARTS):
        parts.append(f"pgd{pgd_steps}x{pgd_restarts}")
    if not usual_step:
        parts.append(f"step{step}")
    parts.append(f"aa-{autoattack_version(num_classes)}")
    if autoattack_seed:
        parts.append(f"seed{autoattack_seed}")
    return "-".join([*parts, str(n)]).replace("/", "_")


def _text(exact: Fraction) -> str:
    scaled = exact * 255
    return f"{scaled.numerator}/255" if scaled.denominator == 1 else f"{exact.numerator}/{exact.denominator}"
