"""Seeds given as text: numbers and ranges in order, every mistake one sentence."""

from __future__ import annotations

import pytest

from benchmark.errors import UserError
from benchmark.suite.seeds import MAX_SEEDS, parse_seeds


def test_numbers_and_ranges_keep_their_order_and_count_once():
    assert parse_seeds("3") == [3]
    assert parse_seeds(" 7, 0..3 ,2,7") == [7, 0, 1, 2, 3]
    assert len(parse_seeds(f"0..{MAX_SEEDS - 1}")) == MAX_SEEDS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--seeds takes whole numbers"),
        ("one", "--seeds takes whole numbers"),
        ("0,,1", "--seeds takes whole numbers"),
        ("-1", "--seeds takes whole numbers"),
        ("0...2", "--seeds takes whole numbers"),
        ("٣", "--seeds takes whole numbers"),
        ("3..1", "3..1 is empty; write the smaller number first"),
        (f"0..{MAX_SEEDS}", "at most 100,000 seeds"),
        ("0..99999999999999999999", "at most 100,000 seeds"),
    ],
)
def test_a_mistake_is_one_sentence(text, message):
    with pytest.raises(UserError) as error:
        parse_seeds(text)

    assert message in str(error.value)
    assert "\n" not in str(error.value)
