"""What every settings model keeps to, and the settings of the evaluation, which a suite and its experiments share."""

from __future__ import annotations

from operator import not_
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from benchmark.errors import UserError, suggestion
from benchmark.results.protocol import exact_epsilon
from benchmark.suite.scalars import misreading

ExactFraction = Annotated[str, AfterValidator(exact_epsilon)]  # "8/255", kept exact for the protocol id


class Strict(BaseModel):
    """A frozen settings model that refuses unknown keys and says which one was probably meant."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, given: Any) -> Any:
        if isinstance(given, dict):
            for key in given:
                if key not in cls.model_fields:
                    known = ", ".join(cls.model_fields)
                    raise ValueError(f"{key!r} is not a field.{suggestion(str(key), cls.model_fields)} Known: {known}")
                if reason := misreading(given[key], cls.model_fields[key].annotation):
                    raise ValueError(f"{key} {reason}")
        return given


class PgdSpec(Strict):
    """The PGD attack of the evaluation: an image counts as robust only if every visited point is classified right."""

    steps: int = Field(default=50, ge=1)
    restarts: int = Field(default=1, ge=1)
    step_size: ExactFraction | None = None  # None means epsilon / 4
    # In all, shown beside the row. None means the protocol's alone and is not written: early configs lack the setting.
    images: int | None = Field(default=None, ge=1, exclude_if=not_)


class AutoAttackSpec(Strict):
    """AutoAttack standard. Its result depends on seed and batch size, so both are fixed and recorded."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    batch_size: int = Field(default=500, ge=1)


class EvaluationSpec(Strict):
    """What is measured on the exported network, in float32."""

    images: int | None = Field(default=None, ge=1)  # at most so many fixed test images; None means all
    pgd: PgdSpec = PgdSpec()
    autoattack: AutoAttackSpec = AutoAttackSpec()

    @model_validator(mode="after")
    def _pgd_meets_the_protocols_images(self) -> Self:
        if self.pgd.images is not None and self.images is not None and self.pgd.images < self.images:
            raise ValueError(
                f"pgd.images is {self.pgd.images}, fewer than the protocol's {self.images} images; give more, or none"
            )
        return self

    def wide_images(self, whole: int) -> int | None:
        """Return how many images clean and PGD verdicts are of in all; None if they are the protocol's alone.

        `whole` is the size of the test part.

        Raises:
            UserError: if the test part has fewer, or PGD would meet fewer than the protocol has.
        """
        wide, images = self.pgd.images, whole if self.images is None else min(self.images, whole)
        if wide is not None and not images <= wide <= whole:
            raise UserError(
                f"evaluation.pgd.images is {wide}, the protocol has {images} images and the test part {whole}; "
                f"give a number from {images} to {whole}, or leave it out"
            )
        return None if wide == images else wide
