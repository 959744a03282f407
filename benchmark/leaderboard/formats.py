"""How numbers and names look on every page, and foreign text in Markdown, CSV and LaTeX.

Records and tables hold raw numbers and raw text only. Each medium has one function that makes text harmless in it:
`markdown`, `csv_cell` and `tex` here, Jinja's escaping on the site, `terminal` of `benchmark.files.text`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from benchmark.files.text import ascii_forms, visible

# The first line of every generated page, where the format has comments.
GENERATED = "Generated from records by `python -m benchmark leaderboard`. Do not edit."

HINT = "straight_way"  # a check without limits
# Presets, in words. The order of a board's sections is `board.tables.PRESETS`.
PRESET_TITLES = {
    "paper": "Paper preset",
    "short": "Short preset",
    "own": "Own settings",
    "smoke": "Smoke preset",
    "external": "Trained elsewhere",
}
PRESET_NOTES = {
    "paper": "the full schedule of the paper",
    "short": "fewer epochs; not comparable with the paper preset",
    "own": "schedules of their own; not comparable with the paper preset",
    "smoke": "shows that the code runs and says nothing about the methods",
    "external": "networks of others; on what they were trained, and for how long, was not seen here",
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
_TEX_SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\char34{}",
        "`": r"\char96{}",
        "[": "{[}",  # after a line's end it would begin an argument
        "]": "{]}",
        "*": "{*}",  # likewise
        "±": r"$\pm$",
    }
)
_TEX_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0308": '"',
    "\u030a": "r",
    "\u030c": "v",
    "\u0327": "c",
}


def printable(text: str) -> str:
    """Write foreign text in visible characters and on one line, and forms of ASCII characters as these."""
    return visible(ascii_forms(text))


@lru_cache(maxsize=4096)  # most cells of a table are equal to others
def markdown(text: str) -> str:
    """Make text from a record harmless inside GitHub Markdown: no markup, links, mentions, formulas or cell borders."""
    return _MARKUP.sub(_entity, printable(text).strip())


def _entity(mark: re.Match[str]) -> str:
    """Write the last character of a mark as an entity, which means the same in a cell, a list and a heading."""
    separator = "<!-- -->" if mark["reference"] else ""
    return f"{mark[0][:-1]}&#{ord(mark[0][-1])};{separator}"


def clipped(text: str) -> str:
    """Return the first `CLIP` characters of a text that is shown in full on the row's page."""
    return text if len(text) <= CLIP else f"{text[: CLIP - 1]}…"


def csv_cell(text: str) -> str:
    """Make text from a record harmless inside CSV: one line, and nothing that a spreadsheet would run as a formula."""
    text = printable(text)
    return f"'{text}" if _FORMULA.match(text) else text


@lru_cache(maxsize=4096)  # most cells of a table are equal to others
def tex(text: str) -> str:
    """Write text so that LaTeX sets it as it is, in ASCII: specials escaped, accents spelled out, "?" for the rest."""
    escaped = printable(text).translate(_TEX_SPECIAL)
    if not escaped.isascii():
        escaped = "".join(char if char.isascii() else _tex_accent(char) for char in escaped)
    for sign in "-'":  # two of them would become another one
        while sign * 2 in escaped:
            escaped = escaped.replace(sign * 2, f"{sign}{{}}{sign}")
    return escaped


def _tex_accent(char: str) -> str:
    parts = unicodedata.normalize("NFD", char)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in _TEX_ACCENTS:
        return f"{{\\{_TEX_ACCENTS[parts[1]]}{{{parts[0]}}}}}"
    return "?"


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


def architecture(name: str, width: float | None) -> str:
    """Name a network, with its width factor unless that is 1 or it has none."""
    return name if width in (1, None) else f"{name} width {short(width)}"


def allocation(keep_ratio: float | None, p: float | str | None) -> str:
    """Write the exponent of the layer budgets, or the name of how they were chosen.

    It is "-" for a dense network, which needs none, and where it is unknown.
    """
    if keep_ratio in (1, None) or p is None:
        return "-"
    return p if isinstance(p, str) else short(p)


def options_text(options: Mapping[str, Any]) -> str:
    """Write options as 'name=value, name=value'."""
    return ", ".join(f"{name}={value}" for name, value in options.items())


def measured_time(seconds: float) -> str:
    """Return a measured time with three significant digits: 0.0123 is "12.3 ms", 75 is "75 s", 7200 is "2 h"."""
    for limit, factor, unit in ((1, 1e3, "ms"), (100, 1, "s"), (6000, 1 / 60, "min")):
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds / 3600:.3g} h"


def row_page(protocol: str, row_id: str) -> str:
    """Return where the page of a row lies, from the folder of the boards."""
    return f"site/rows/{protocol}/{row_id}.html"
