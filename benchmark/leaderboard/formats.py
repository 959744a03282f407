"""How numbers and names look on every page, and foreign text in Markdown and CSV.

Records and tables hold raw numbers and raw text only. Each medium has one function that makes text harmless in it:
`markdown` and `csv_cell` here, `tex` beside it, Jinja's escaping on the site, `terminal` of `plain_text`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from benchmark.files.text import ascii_forms, visible

# Stands near the beginning of every generated page; a file below the folder that has it and is no page is left over.
GENERATED = "Generated from records by `python -m benchmark leaderboard`. Do not edit."

HINT = "straight_way"  # a check without limits
# The checks of gradient health that came later: title of the column, and what it says in a sentence.
OPPONENT_COLUMNS = {
    "leaky_bpda": (
        "leaky BPDA",
        "Verdict on how many of at most 64 images that survived all other attacks fall to PGD whose gradient also "
        "passes inactive ReLUs; not checked: the row is from before this attack.",
    ),
    "hard_label": (
        "hard label",
        "Verdict on how many of the images left then fall to RayS, an attack that sees the predicted class only.",
    ),
    "straight_way": (
        "straight way",
        "Hint, no verdict: share of the margin that is left at nine tenths of the straight way to another class; a "
        "plateau of the logits keeps all of it, and so do a few honest networks.",
    ),
}

CLIP = 400  # characters that a board's page shows of a row's options, or of why it is refused

# Marks of Markdown, some of them only in their place: emphasis outside words, addresses, what begins a block. The
# references are those that GitHub looks for in what it has rendered already.
_MARKUP = re.compile(
    r"(?P<reference>[@#](?=\w)|:(?=[\w+-]+:))|[&<>|\[\]`*\\$~]|(?<![^\W_])_|_(?![^\W_])"
    r"|:(?=//)|(?<=www)\.|(?<=mailto):|(?<=xmpp):|^[-+=#](?=\W)|^\d{1,9}[.)](?=\s|$)",
    re.IGNORECASE,
)
_FORMULA = re.compile(r"[\s'\"]*[=+@-]")


def printable(text: str) -> str:
    """Write foreign text in visible characters and on one line, and forms of ASCII characters as these."""
    return visible(ascii_forms(text))


def markdown(text: str) -> str:
    """Make text from a record harmless inside GitHub Markdown: no markup, links, mentions, formulas or cell borders."""
    return _MARKUP.sub(_entity, printable(text).strip())


def _entity(found: re.Match[str]) -> str:
    """Write the last character of a mark as an entity, which means the same in a cell, a list and a heading."""
    apart = "<!-- -->" if found["reference"] else ""
    return f"{found[0][:-1]}&#{ord(found[0][-1])};{apart}"


def clipped(text: str) -> str:
    """Return what a board shows of a text whose whole is on the row's page: at most `CLIP` characters."""
    return text if len(text) <= CLIP else f"{text[: CLIP - 1]}…"


def csv_cell(text: str) -> str:
    """Make text from a record harmless inside CSV: one line, and nothing that a spreadsheet would run as a formula."""
    text = printable(text)
    return f"'{text}" if _FORMULA.match(text) else text


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
