"""Untrusted text: finds hidden characters in it and makes it safe to show.

Every page writer passes text through these functions first and then escapes it for its format.
"""

from __future__ import annotations

import re
import unicodedata

# Printable by Python's rule, yet invisible: fillers, joiners, variation selectors, an empty braille cell.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U0001d159\U000e0100-\U000e01ef]"
)
# Decompositions to the same character in another form; a superscript is a different character.
_SAME = ("<wide>", "<narrow>", "<small>", "<font>", "<vertical>")
# Written without blanks between words, even next to Latin letters.
_EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC")
_OF_NO_SCRIPT = ("MICRO", "MASCULINE", "FEMININE", "MODIFIER", "COMBINING")
MAX_MARKS = 2  # accents on one letter


def is_hidden(char: str) -> bool:
    """Return whether a character is invisible or changes how others are displayed: control, direction, invisible."""
    return not char.isprintable() or _INVISIBLE.match(char) is not None


def visible(text: str) -> str:
    """Replace hidden characters, including line breaks, by blanks, so that untrusted text cannot alter a page."""
    if text.isprintable():
        return text if text.isascii() else _INVISIBLE.sub(" ", text)
    return "".join(" " if is_hidden(char) else char for char in text)


def ascii_forms(text: str) -> str:
    """Replace compatibility forms of ASCII characters, such as full-width ones, by ASCII."""
    return text if text.isascii() else "".join(map(_ascii_form, text))


def counted(number: int, noun: str) -> str:
    """Return a number with a noun, such as "1 experiment" or "12 experiments"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def terminal(text: str) -> str:
    r"""Escape hidden characters except line breaks, as in \x1b, so that a terminal does not interpret them."""
    if text.replace("\n", "").isprintable() and not _INVISIBLE.search(text):
        return text
    return "".join(char if char == "\n" or not is_hidden(char) else _escape(char) for char in text)


def terminal_line(text: str) -> str:
    """Return text for a terminal on one line, see `terminal`."""
    return terminal(text).replace("\n", "\\n")


def concealed(text: str) -> str:
    """Return why a text looks different to people than to programs; empty if it does not."""
    for char in text:
        if is_hidden(char):
            return f"the character U+{ord(char):04X}, a control, direction or invisible one"
    if text.isascii():
        return ""
    text = unicodedata.normalize("NFC", text)
    marks = 0
    for before, char in zip(" " + text, text, strict=False):
        if (form := _ascii_form(char)) != char:
            return f"the character U+{ord(char):04X}, another form of {form!r}"
        marks = marks + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        if marks > MAX_MARKS or (marks and before.isascii()):
            return f"the mark U+{ord(char):04X} above or through another character"
    for word in _words(text):
        if len(scripts := _scripts(word)) > 1:
            return f"the word {ascii(word)[:60]}, which mixes letters of {' and '.join(sorted(scripts))}"
    return ""


def _ascii_form(char: str) -> str:
    kind = unicodedata.decomposition(char).partition(" ")[0]
    form = unicodedata.normalize("NFKC", char)
    return form if form.isascii() and (kind in _SAME or not kind.startswith("<")) else char


def _escape(char: str) -> str:
    return char.encode("ascii", "backslashreplace").decode() if ord(char) > 0x7F else repr(char)[1:-1]


def _words(text: str) -> list[str]:
    letters = (char if char.isalpha() or unicodedata.category(char)[0] == "M" else " " for char in text)
    return [word for word in "".join(letters).split() if not word.isascii()]


def _scripts(word: str) -> set[str]:
    """Return the scripts of a word's letters; East Asian ones do not count."""
    names = (unicodedata.name(char, "UNNAMED").split()[0].partition("-")[0] for char in word)
    return {name.capitalize() for name in names if name not in (*_EAST_ASIAN, *_OF_NO_SCRIPT)}
