"""The first and the last line of texts of any length."""

from __future__ import annotations

import os

import pytest

from benchmark.files.ends import first_and_last_line, last_line


@pytest.mark.parametrize(
    ("content", "first", "last"),
    [
        (b"", "", ""),
        (b"\n \n", "", ""),
        (b"one", "one", "one"),
        (b"\none\ntwo\n\n", "one", "two"),
        (b"one\n" + b"x\n" * 200_000 + b"last\n", "one", "last"),
        (b"one\ntw\xff", "one", "tw\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_the_ends_of_a_text(tmp_path, content, first, last):
    path = tmp_path / "text"
    path.write_bytes(content)

    assert first_and_last_line(path) == (first, last)
    assert last_line(path) == last


def test_what_is_no_file_has_no_lines(tmp_path):
    (tmp_path / "text").write_text("one")
    (tmp_path / "link").symlink_to(tmp_path / "text")
    os.mkfifo(tmp_path / "pipe")

    assert [last_line(tmp_path / name) for name in ("missing", "link", "pipe")] == ["", "", ""]
