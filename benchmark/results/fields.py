"""Types of a record's fields: their ranges and exact spellings, checked whenever a record is made or read."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, JsonValue

from benchmark.results.bounds import MAX_INTEGER, MAX_NAME, MAX_TEXT, check_setting
from benchmark.results.protocol import exact_epsilon
from methods.allocation import check_allocation


def _is_exact(text: str) -> str:
    if exact_epsilon(text) != text:
        raise ValueError(f"write {exact_epsilon(text)!r} instead of {text!r}")
    return text


def _is_utc(text: str) -> str:
    if datetime.fromisoformat(text).utcoffset() != timedelta(0):
        raise ValueError(f"{text!r} is not a time in UTC")
    return text


def is_plain_url(text: str) -> str:
    """Return an https address without user name or port, as it is; raise ValueError for any other."""
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or parts.netloc != parts.hostname or parts.fragment:
        raise ValueError("the address must be https://host/path, without user name, port or fragment")
    return text


def _is_link(text: str) -> str:
    if not re.fullmatch(r"https://[A-Za-z0-9.-]+(/[A-Za-z0-9._~%+,=@/?&-]*)?", text):
        raise ValueError("must be an https address of plain characters, such as https://example.org/paper")
    return text


def _are_settings(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    check_setting(value)
    return value


Granularity = Literal["weight", "kernel", "channel", "2:4"]  # what a mask keeps or drops together


def is_single(granularity: Granularity) -> bool:
    """Return whether a mask chooses single weights."""
    return granularity == "weight"


StoredWeights = Literal["stored", "seed"]  # what a file holds of the kept weights


def is_stored(weights: StoredWeights) -> bool:
    """Return whether a file holds the kept weights themselves."""
    return weights == "stored"


# Bounded, because pages show the digits.
Integer = Annotated[int, Field(strict=True, ge=-MAX_INTEGER, le=MAX_INTEGER)]
Count = Annotated[int, Field(strict=True, ge=0, le=MAX_INTEGER)]
Positive = Annotated[int, Field(strict=True, ge=1, le=MAX_INTEGER)]
Quantity = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
AllocationName = Annotated[str, Field(max_length=40), AfterValidator(check_allocation)]  # "global", "auto", "auto:0.01"
KeepRatio = Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)]
Width = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ExactSize = Annotated[str, AfterValidator(_is_exact)]
Utc = Annotated[str, AfterValidator(_is_utc)]  # ISO 8601
Name = Annotated[str, Field(max_length=MAX_NAME)]
Text = Annotated[str, Field(max_length=MAX_TEXT)]  # a sentence or more
Settings = Annotated[dict[str, JsonValue], AfterValidator(_are_settings)]
Url = Annotated[str, Field(max_length=200, pattern=r"^https://[!-~]+$"), AfterValidator(is_plain_url)]  # to fetch
# To show on pages: without any character that means something in one of their formats.
Link = Annotated[str, Field(max_length=200), AfterValidator(_is_link), AfterValidator(is_plain_url)]
