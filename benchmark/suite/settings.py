"""The base of all settings models, and the evaluation settings, which a suite and its experiments share."""

from __future__ import annotations

from operator import not_
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from benchmark.errors import UserError, suggestion
from benchmark.results.protocol import exact_epsilon
from benchmark.suite.scalars import misreading

ExactFraction = Annotated[str, AfterValidator(exact_epsilon)]  # such as "8/255"; exact because protocol ids have it


class Strict(BaseModel):
    """A frozen settings model that refuses unknown keys and suggests a similar one."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, document: Any) -> Any:
        if isinstance(document, dict):
            for key, value in document.items():
                if key not in cls.model_fields:
                    hint = suggestion(str(key), cls.model_fields)
                    raise ValueError(f"{key!r} is not a field.{hint} Known: {', '.join(cls.model_fields)}")
                if reason := misreading(value, cls.model_fields[key].annotation):
                    raise ValueError(f"{key} {reason}")
        return document


class PgdSpec(Strict):
    """The PGD attack of the evaluation: an image is robust only if every visited point is classified correctly."""

    steps: int = Field(default=50, ge=1)
    restarts: int = Field(default=1, ge=1)
    step_size: ExactFraction | None = None  # None means epsilon / 4
    # Images in total, reported beside the row. None means only the protocol's; not dumped, as early configs lack it.
    images: int | None = Field(default=None, ge=1, exclude_if=not_)


class AutoAttackSpec(Strict):
    """Standard AutoAttack. Its result depends on seed and batch size, so both are fixed and recorded."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    batch_size: int = Field(default=500, ge=1)


class EvaluationSpec(Strict):
    """What is measured on the exported network, in float32."""

    images: int | None = Field(default=None, ge=1)  # maximum number of test images; None means all
    pgd: PgdSpec = PgdSpec()
    autoattack: AutoAttackSpec = AutoAttackSpec()

    @model_validator(mode="after")
    def _pgd_covers_the_protocol(self) -> Self:
        if self.pgd.images is not None and self.images is not None and self.pgd.images < self.images:
            raise ValueError(
                f"pgd.images is {self.pgd.images}, fewer than the protocol's {self.images} images; give more, or none"
            )
        return self

    def wide_images(self, whole: int) -> int | None:
        """Return the number of images with clean and PGD verdicts; None if these are only the protocol's.

        `whole` is the size of the test part.

        Raises:
            UserError: if it is larger than the test part or smaller than the protocol's number of images.
        """
        wide, images = self.pgd.images, whole if self.images is None else min(self.images, whole)
        if wide is not None and not images <= wide <= whole:
            raise UserError(
                f"evaluation.pgd.images is {wide}, the protocol has {images} images and the test part {whole}; "
                f"give a number from {images} to {whole}, or leave it out"
            )
        return None if wide == images else wide
