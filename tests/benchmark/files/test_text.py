"""Hidden characters are reported, and become blanks on pages and escapes on a terminal."""

from __future__ import annotations

import pytest

from benchmark.files.text import ascii_forms, concealed, counted, terminal, terminal_line, visible


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "Süsstrunk, naïve café",
        "e\u0301te\u0301",  # combining accents, as macOS writes them
        "a \xd7 b ± 2 \u2013 \u201cquoted\u201d \u2026 \u2264 \u221e, x², µm, \u03b5-ball",
        "\u041f\u0440\u0438\u0432\u0435\u0442",
        "\u4f7f\u7528PGD\u653b\u51fb",
        "\u0e44\u0e17\u0e22 \u0939\u093f\u0928\u094d\u0926\u0940",
    ],
)
def test_ordinary_text_conceals_nothing(text):
    assert concealed(text) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\u200bb", "U+200B"),
        ("a\u202eb", "U+202E"),
        ("a\u115fb", "U+115F"),
        ("a\u3164b", "U+3164"),
        ("a\ufe0fb", "U+FE0F"),
        ("a\U000e0041b", "U+E0041"),
        ("a\u2800b", "U+2800"),
        ("a\nb", "U+000A"),
        ("a\x9bb", "U+009B"),
        ("\uff1cscript\uff1e", "U+FF1C, another form of '<'"),
        ("\uff45xec", "another form of 'e'"),
        ("\U0001d41eval", "another form of 'e'"),
        ("\u0440\u0430ypal", "mixes letters of Cyrillic and Latin"),
        ("\u03b1dam", "mixes letters of Greek and Latin"),
        ("x\u0336", "the mark U+0336"),
        ("é\u0301\u0301\u0301", "the mark U+0301"),
    ],
)
def test_hidden_characters_are_named(text, reason):
    assert reason in concealed(text)


def test_a_terminal_gets_escapes_in_place_of_control_characters():
    text = "a\x1b[2J\x9b31m\x07\x7f\u202e\u200b\udc80\rb\nc"
    assert terminal(text) == "a\\x1b[2J\\x9b31m\\x07\\x7f\\u202e\\u200b\\udc80\\rb\nc"
    assert terminal_line(text).endswith("\\rb\\nc")
    assert terminal("95% ± 2, é") == "95% ± 2, é"


def test_pages_get_blanks_and_ascii():
    assert visible("a\nb\u3164c\u202ed é") == "a b c d é"
    assert ascii_forms("\uff1d\uff11\uff0b\uff57\uff57\uff57\uff0ex² é \u2026 ½") == "=1+www.x² é \u2026 ½"


def test_a_number_has_its_noun_in_the_right_form():
    assert [counted(number, "experiment") for number in (0, 1, 2)] == ["0 experiments", "1 experiment", "2 experiments"]
