"""Whether people read a method's file as Python does: nothing hidden or out of sight, no look-alikes in code."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator

from benchmark.files.text import concealed, is_hidden

MAX_LINE = 200  # columns; a tab extends to the next multiple of eight
MAX_INDENT = 100  # columns before the first character of a line
MAX_GAP = 40  # blanks within a line
MAX_EMPTY = 20  # empty lines in a row
MAX_LINES = 5_000
# As Python looks for the encoding of a file, in its first two lines.
_ENCODING = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_GAP = re.compile(rf"\S {{{MAX_GAP + 1},}}\S")
_PREFIX = re.compile(r"[A-Za-z]*")


def source_reason(content: bytes) -> str:
    """Return why people could not read a method's file as Python does; empty if they can."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"the method's file is not UTF-8 (byte {error.start})"
    return next(_reasons(text.replace("\r\n", "\n")), "")


def _reasons(text: str) -> Iterator[str]:
    """Yield what is wrong; each check relies on those before it."""
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if hidden := next((char for char in line if is_hidden(char) and char != "\t"), ""):
            yield (
                f"the method's file holds the character U+{ord(hidden):04X}, a control, direction or invisible one, "
                f"in line {number}"
            )
        encoding = _ENCODING.match(line) if number <= 2 else None
        if encoding and encoding[1].lower().replace("_", "-") not in ("utf-8", "utf8"):
            yield f"the method's file declares the encoding {encoding[1]} in line {number}; only utf-8 is allowed"
    yield from _layout(lines)
    for number, line in enumerate(lines, start=1):
        if reason := concealed(line.replace("\t", " ")):
            yield f"the method's file holds {reason}, in line {number}"
    if not text.isascii():
        yield from _code(text)


def _layout(lines: list[str]) -> Iterator[str]:
    if len(lines) > MAX_LINES:
        yield f"the method's file has {len(lines):,} lines, at most {MAX_LINES:,} are allowed"
    empty = 0
    for number, line in enumerate(lines, start=1):
        columns = line.expandtabs()
        bare = columns.strip()
        empty = 0 if bare else empty + 1
        if empty > MAX_EMPTY and number < len(lines):
            yield f"the method's file has more than {MAX_EMPTY} empty lines before line {number + 1}"
        if len(columns) > MAX_LINE:
            yield f"the method's file has {len(columns):,} columns in line {number}, at most {MAX_LINE} are allowed"
        if bare and len(columns) - len(columns.lstrip()) > MAX_INDENT:
            yield f"the method's file begins line {number} after more than {MAX_INDENT} blanks"
        if _GAP.search(columns):
            yield f"the method's file has more than {MAX_GAP} blanks within line {number}"


def _code(text: str) -> Iterator[str]:
    """Yield where characters other than ASCII are neither in a comment nor in a string."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            kind = tokenize.tok_name[token.type]
            template = kind == "STRING" and "f" in _PREFIX.match(token.string)[0].lower()  # type: ignore[index]
            plain = kind == "COMMENT" or (kind == "STRING" and not template)
            # A template holds code: a letter there may be part of a name.
            letters_only = template or kind.endswith("STRING_MIDDLE")
            odd = (char for char in token.string if not char.isascii() and not (letters_only and not char.isalpha()))
            if not plain and (char := next(odd, "")):
                yield (
                    f"the method's file holds the character U+{ord(char):04X} in line {token.start[0]}; names are "
                    "ASCII, other letters are only allowed in comments and plain strings"
                )
    except (tokenize.TokenError, SyntaxError) as error:
        yield f"the method's file is not Python: {error.args[0]}"
