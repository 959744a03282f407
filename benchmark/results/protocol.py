"""Exact perturbation sizes and the protocol id: two results may share a table only if their ids are equal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from benchmark.errors import UserError

STANDARD_TARGETS = 9  # target classes of the targeted attacks of AutoAttack standard
MIN_CLASSES = 4  # the targeted DLR loss needs as many logits
DEFAULT_PGD_STEPS = 50
DEFAULT_PGD_RESTARTS = 1
DEFAULT_PGD_STEPS_PER_EPSILON = 4  # the step size is epsilon / 4

# At most two exponent digits: Fraction("1e-999999999") would fill the memory before any range check.
_NUMBER = re.compile(r"\d+/0*[1-9]\d*|(\d+\.?\d*|\.\d+)(e[+-]?\d{1,2})?", re.IGNORECASE)


@lru_cache(maxsize=256)  # records repeat a few values
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
        # The value was computed as k / 255 in floating point.
        exact = Fraction(round(exact * 255), 255)
    return _text(exact)


@lru_cache(maxsize=256)
def default_pgd_step(epsilon: str | float) -> str:
    """Return the protocol's PGD step size for this epsilon, a quarter of it, as an exact fraction.

    >>> default_pgd_step("8/255")
    '2/255'
    """
    return _text(Fraction(exact_epsilon(epsilon)) / DEFAULT_PGD_STEPS_PER_EPSILON)


def autoattack_version(num_classes: int) -> str:
    """Return the version of AutoAttack for a number of classes: fewer than ten leave fewer than nine targets.

    >>> autoattack_version(10), autoattack_version(8)
    ('standard', 'standard-t7')
    """
    targets = min(STANDARD_TARGETS, num_classes - 1)
    return "standard" if targets == STANDARD_TARGETS else f"standard-t{targets}"


@dataclass(frozen=True)
class Protocol:
    """How a network is attacked and on what: everything that decides whether two results share a table.

    The defaults, PGD with 50 steps of epsilon / 4 and one restart and AutoAttack's seed 0, do not appear in the id.

    Raises:
        UserError: if epsilon or the step size is not strictly between 0 and 1, or a count is not positive.

    >>> Protocol("cifar10", "8/255", 10000).id
    'cifar10-linf-8_255-aa-standard-10000'
    >>> Protocol("digits", "32/255", 128, pgd_steps=20, pgd_step="4/255").id
    'digits-linf-32_255-pgd20x1-step4_255-aa-standard-128'
    >>> Protocol.parse("cifar10-jpeg-linf-8_255-pgd20x1-aa-standard-200").pgd_steps
    20
    """

    dataset: str  # name with its variant, such as "cifar10" or "cifar10-jpeg"
    epsilon: str  # radius of the L-infinity ball, an exact fraction of the pixel range
    images: int  # attacked test images
    pgd_steps: int = DEFAULT_PGD_STEPS
    pgd_restarts: int = DEFAULT_PGD_RESTARTS
    pgd_step: str = ""  # step size; empty for epsilon / 4
    autoattack: str = "standard"  # version, see `autoattack_version`
    autoattack_seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", exact_epsilon(self.epsilon))
        step = exact_epsilon(self.pgd_step) if self.pgd_step else default_pgd_step(self.epsilon)
        object.__setattr__(self, "pgd_step", step)
        if min(self.images, self.pgd_steps, self.pgd_restarts) < 1:
            raise UserError(f"images, PGD steps and restarts must be whole numbers from 1; got {self}")

    @property
    def id(self) -> str:
        """The id, which is also a folder name."""
        parts = [self.dataset, "linf", self.epsilon]
        usual_step = self.pgd_step == default_pgd_step(self.epsilon)
        if not usual_step or (self.pgd_steps, self.pgd_restarts) != (DEFAULT_PGD_STEPS, DEFAULT_PGD_RESTARTS):
            parts.append(f"pgd{self.pgd_steps}x{self.pgd_restarts}")
        if not usual_step:
            parts.append(f"step{self.pgd_step}")
        parts.append(f"aa-{self.autoattack}")
        if self.autoattack_seed:
            parts.append(f"seed{self.autoattack_seed}")
        return "-".join([*parts, str(self.images)]).replace("/", "_")

    @classmethod
    def parse(cls, text: str) -> Protocol:
        """Read a protocol id; the inverse of `id`.

        Raises:
            UserError: if the text is not such an id.
        """
        match = _ID.fullmatch(text)
        if match is None:
            raise UserError(
                f"{text!r} is not a protocol id; write <data set>-linf-<epsilon>-aa-standard-<images>, "
                "such as cifar10-linf-8_255-aa-standard-10000"
            )
        texts = {name: value for name, value in match.groupdict().items() if value is not None}
        fractions = {name: texts.pop(name).replace("_", "/") for name in ("epsilon", "pgd_step") if name in texts}
        numbers = {name: int(texts.pop(name)) for name in _WHOLE if name in texts}
        protocol = cls(**texts, **fractions, **numbers)  # type: ignore[arg-type]  # the rest is text
        if protocol.id != text:
            raise UserError(f"write the protocol id {text!r} as {protocol.id!r}")
        return protocol


_WHOLE = ("images", "pgd_steps", "pgd_restarts", "autoattack_seed")
_ID = re.compile(
    r"(?P<dataset>[A-Za-z0-9][A-Za-z0-9._+=-]*?)-linf-(?P<epsilon>\d{1,9}_\d{1,9})"
    r"(-pgd(?P<pgd_steps>\d{1,9})x(?P<pgd_restarts>\d{1,9})(-step(?P<pgd_step>\d{1,9}_\d{1,9}))?)?"
    r"-aa-(?P<autoattack>standard(-t\d)?)(-seed(?P<autoattack_seed>\d{1,10}))?-(?P<images>\d{1,9})"
)


def _text(exact: Fraction) -> str:
    scaled = exact * 255
    return f"{scaled.numerator}/255" if scaled.denominator == 1 else f"{exact.numerator}/{exact.denominator}"
