"""Shards cut the images into contiguous parts that together are all of them."""

from __future__ import annotations

import pytest

from benchmark.errors import UserError
from benchmark.evaluation.shards import Shard


@pytest.mark.parametrize(("n", "count"), [(1, 1), (10, 3), (8, 8), (10_000, 7), (13, 12)])
def test_all_shards_in_order_are_all_rows_and_their_sizes_differ_by_one_at_most(n, count):
    parts = [Shard(index, count).rows(n) for index in range(1, count + 1)]

    assert [row for part in parts for row in part] == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_shard_is_written_as_it_is_read():
    assert Shard.parse("2/8") == Shard(2, 8)
    assert str(Shard.parse("2/8")) == "2/8"


@pytest.mark.parametrize("text", ["", "2", "0/8", "9/8", "-1/8", "2/0", "a/b", "2/8/9", " 2/8", "2/8\n", "²/8"])
def test_anything_else_is_refused_in_one_sentence(text):
    with pytest.raises(UserError, match=r"is not a shard: give i/n with i from 1 to n, such as 2/8\.$"):
        Shard.parse(text)


def test_more_shards_than_images_are_refused():
    with pytest.raises(UserError, match="3 images cannot be cut into 4 shards; ask for 3 shards or fewer"):
        Shard(1, 4).rows(3)
