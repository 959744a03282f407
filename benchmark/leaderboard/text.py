"""How numbers and names look on every page; records and tables hold raw numbers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

# Stands near the beginning of every generated page; a file below the folder that has it and is no page is left over.
GENERATED = "Generated from records by `python -m benchmark leaderboard`. Do not edit."

# Entities rather than backslashes: they mean the same in a table cell, in a list and in a heading.
_ENTITIES = str.maketrans({char: f"&#{ord(char)};" for char in "&<>|[]`*\\"})


def printable(text: str) -> str:
    """Replace control characters, line breaks included, by blanks: foreign text must not shape the page."""
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def markdown(text: str) -> str:
    """Make text from a record harmless inside GitHub Markdown: no markup, no cell borders, no new lines."""
    return printable(text).translate(_ENTITIES)


def percent(fraction: float) -> str:
    """Write a fraction in [0, 1] as percent with two decimals and no sign: 0.4506 is 45.06."""
    return f"{100 * fraction:.2f}"


def points(difference: float) -> str:
    """Write a difference of accuracies in percentage points, always with its sign: -0.0042 is -0.42."""
    return f"{100 * difference:+.2f}"


def short(value: float) -> str:
    """Write a ratio, density or exponent with four significant digits at most."""
    return f"{value:.4g}"


def amount(value: float, unit: str = "") -> str:
    """Write a quantity >= 0 with a decimal prefix: 850604 is "850.6 k", 27100 bytes "B" are "27.1 kB"."""
    if value < 1000:
        return f"{value:.4g} {unit}".strip()
    prefix, divisor = ("k", 1e3) if value < 1e6 else ("M", 1e6) if value < 1e9 else ("G", 1e9)
    return f"{value / divisor:.1f} {prefix}{unit}"


def architecture(name: str, width: float) -> str:
    """Name a network, with its width factor unless that is 1."""
    return name if width == 1 else f"{name} width {short(width)}"


def allocation(keep_ratio: float, p: float | Literal["global"] | None) -> str:
    """Write the exponent of the layer budgets, or "-" for a dense network, which needs none."""
    if keep_ratio == 1 or p is None:
        return "-"
    return p if isinstance(p, str) else short(p)


def options_text(options: Mapping[str, Any]) -> str:
    """Write options as 'name=value, name=value'."""
    return ", ".join(f"{name}={value}" for name, value in options.items())


def duration(seconds: float) -> str:
    """Write a duration with three significant digits: 0.0123 is "12.3 ms", 75 is "75 s", 7200 is "2 h"."""
    for limit, factor, unit in ((1, 1e3, "ms"), (100, 1, "s"), (6000, 1 / 60, "min")):
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds / 3600:.3g} h"


def row_page(protocol: str, row_id: str) -> str:
    """Return where the page of a row lies, from the folder of the boards."""
    return f"site/rows/{protocol}/{row_id}.html"


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; every cell must be harmless already, see `markdown`."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
