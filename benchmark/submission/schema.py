"""The content of submission.json: which result, of which kind, with which files. Unknown fields are refused."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from benchmark.results.challenges import is_credit
from benchmark.results.fields import Count, Positive, Sha256, Url
from benchmark.results.parts import Part

SAMPLE_SIZE = 64  # adversarial images, at most
Kind = Literal["method", "result"]


def _credit(text: str) -> str:
    if not is_credit(text):
        raise ValueError("is not a printable name of at most 100 characters")
    return text


SourceName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,59}\.py$")]
Credit = Annotated[str, AfterValidator(_credit)]
Package = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?$")]


class ArtifactClaim(Part):
    """The artifact: in the folder, or at an address."""

    sha256: Sha256
    size_bytes: Positive
    url: Url | None


class SampleClaim(Part):
    """The adversarial images in the folder; see `sample` for how they are chosen."""

    seed: Sha256
    count: Annotated[Count, Field(le=SAMPLE_SIZE)]
    missed: Annotated[list[Count], Field(max_length=SAMPLE_SIZE)]  # images that no attack broke on this machine
    sha256: Sha256 | None  # of the file; None if there is no image to show


class SourceClaim(Part):
    """The file of the submitter's own method. It is read by people, never run here."""

    file: SourceName
    sha256: Sha256


class Labels(Part):
    """What the submitter types besides the row."""

    credit: Credit
    url: Url | None
    package: Package | None


class Submission(Part):
    """One record with everything needed to check it."""

    schema_version: Literal[1]
    kind: Kind
    run: str
    protocol: str
    record_sha256: Sha256
    artifact: ArtifactClaim
    sample: SampleClaim
    source: SourceClaim | None  # of a method that is a file
    package: Package | None  # name of the installed package that brings the method
    credit: Credit

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        given = (self.source is not None) + (self.package is not None)
        if given != (self.kind == "method"):
            raise ValueError("a method needs either its source or its package, a result neither")
        if (self.sample.sha256 is None) != (self.sample.count == 0):
            raise ValueError("sample.sha256 must be given if and only if there are images")
        return self
