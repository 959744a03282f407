"""What pydantic found wrong in settings or in a file, as one sentence in the words of this project."""

from __future__ import annotations

from pydantic import ValidationError

from benchmark.files.text import terminal_line

_LONGEST = 60  # characters of a name or value that are shown: either may come from a hostile file


def first_mistake(error: ValidationError) -> str:
    """Return the first mistake as 'setting: message, got value'.

    >>> from pydantic import BaseModel, Field
    >>> class Settings(BaseModel):
    ...     epochs: list[int] = Field(min_length=1)
    >>> try:
    ...     Settings.model_validate({"epochs": [1, "many"]})
    ... except ValidationError as error:
    ...     first_mistake(error)
    "epochs[1]: must be a valid integer, unable to parse string as an integer, got 'many'"
    """
    problem = error.errors(include_url=False)[0]
    # Names of types, as in function-after[check(), int], are pydantic's own: branches of a union.
    parts = [part for part in problem["loc"] if not (isinstance(part, str) and ("[" in part or "-" in part))]
    setting = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    message = (
        problem["msg"]
        .removeprefix("Value error, ")
        .rstrip(".")
        .replace("Input should", "must")
        .replace("a valid tuple", "a list")
    )
    whole = isinstance(problem["input"], dict | list) or problem["type"] == "json_invalid"
    got = "" if whole else f", got {_shortened(repr(problem['input']))}"
    message = message if message.endswith(got) else message + got
    return f"{_shortened(setting)}: {message}" if setting else message


def _shortened(text: str) -> str:
    text = terminal_line(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
