"""A name finds the records of one row, or one sentence says why it does not."""

from __future__ import annotations

import pytest

from benchmark.errors import UserError
from benchmark.leaderboard.board.find import find_pair, find_records

CELL = "cifar10/resnet34-lbn/{}/binary-keep0.01-p0.1-pgd"
PROTOCOL = "cifar10-linf-8_255-aa-standard-100"


@pytest.fixture
def make(make_record):
    """Return a maker of records whose cell, seed and hash tell them apart."""

    def make(method, seed=0, number=0, **changes):
        run_hash = f"{number:02x}{seed:02x}{sum(method.encode()) % 256:02x}".ljust(12, "0")
        run = f"{CELL.format(method)}/seed{seed}-{run_hash[:6]}"
        return make_record(**{"method": method, "seed": seed, "run": run, "run_hash": run_hash} | changes)

    return make


@pytest.fixture
def records(make):
    return [make(method, seed) for method in ("at", "edge_popup", "hydra") for seed in (1, 0)]


def refusal(records, *names, **options):
    with pytest.raises(UserError) as caught:
        if len(names) == 1:
            find_records(records, *names)
        else:
            find_pair(records, *names, **options)
    return str(caught.value)


def test_a_cell_or_a_part_of_its_name_means_all_its_seeds(records):
    hydra = [records[5], records[4]]
    assert find_records(records, CELL.format("hydra")) == hydra
    assert find_records(records, "hydra/bin") == hydra


def test_a_run_or_the_beginning_of_its_hash_means_this_seed(records):
    for record in records:
        assert find_records(records, record.run) == [record]
        assert find_records(records, record.run_hash) == [record]
        assert find_records(records, record.run_hash[:6]) == [record]


def test_a_whole_name_beats_a_part_of_another(make):
    short, long = make("at"), make("at", run="x/" + CELL.format("at") + "/seed0-000011", run_hash="000011000000")
    assert find_records([short, long], CELL.format("at")) == [short]


def test_a_hash_of_fewer_than_four_digits_is_a_part_of_a_name(make):
    record = make("adam")
    assert find_records([record], "ada") == [record]
    assert "no record is called '000'" in refusal([record], "000")


def test_hashes_joined_by_commas_mean_seeds_of_one_row(records):
    joined = f"{records[0].run_hash[:6]}, {records[1].run_hash[:6]}"
    assert find_records(records, joined) == [records[1], records[0]]
    assert "means 2 rows" in refusal(records, f"{records[0].run_hash},{records[2].run_hash}")


def test_an_unknown_name_gets_a_suggestion(records):
    message = refusal(records, "edge_popop")
    assert "no record is called 'edge_popop'" in message
    assert message.endswith("Did you mean edge_popup?")
    assert "no record is called ''" in refusal(records, "")


def test_an_ambiguous_name_lists_five_candidates_with_their_hashes(make):
    records = [make(f"method{number}", seed) for number in range(7) for seed in (0, 1)]
    message = refusal(records, "method")
    assert message.startswith("'method' means 7 rows, ")
    assert f"{CELL.format('method0')} ({records[0].run_hash[:6]},{records[1].run_hash[:6]}; 400 epochs)" in message
    assert message.count(" epochs)") == 5
    assert message.endswith(" and 2 more.")


def test_two_rows_that_share_a_cell_are_distinguished_by_their_hashes(make):
    short = [make("at", seed, 1, training__epochs=6) for seed in (0, 1)]
    long = [make("at", seed, 2, training__epochs=10) for seed in (0, 1)]
    message = refusal([*short, *long], "at")
    candidates = [",".join(record.run_hash[:6] for record in row) for row in (short, long)]
    assert f"({candidates[0]}; 6 epochs)" in message and f"({candidates[1]}; 10 epochs)" in message
    assert find_records([*short, *long], candidates[1]) == long


def test_the_same_setting_and_seed_twice_is_ambiguous(make):
    assert "means 2 rows" in refusal([make("at", 0, 1), make("at", 0, 2)], "at")


def test_a_pair_is_found_under_the_only_protocol_that_has_both(records, make):
    elsewhere = [make("hydra", n=200), make("small", n=200)]
    hydra, at = find_pair([*records, *elsewhere], "hydra", "/at/")
    assert ([record.seed for record in hydra], [record.seed for record in at]) == ([0, 1], [0, 1])
    assert {record.protocol for record in hydra + at} == {PROTOCOL}


def test_of_several_protocols_one_must_be_chosen(records, make):
    elsewhere = [make("hydra", n=200), make("at", n=200)]
    everything = [*records, *elsewhere]
    other = elsewhere[0].protocol
    message = refusal(everything, "hydra", "/at/")
    assert PROTOCOL in message and other in message and "choose one by its protocol" in message
    assert find_pair(everything, "hydra", "/at/", protocol=other) == ([elsewhere[0]], [elsewhere[1]])
    assert "Did you mean" in refusal(everything, "hydra", "/at/", protocol=other.replace("200", "20"))


def test_rows_of_different_protocols_are_never_compared(records, make):
    everything = [*records, make("small", n=200)]
    message = refusal(everything, "hydra", "small")
    assert message.startswith("rows of different protocols are never compared: 'hydra' has " + PROTOCOL)
    assert refusal(everything, "hydra", "small", protocol=PROTOCOL) == message


def test_a_row_is_not_compared_with_itself(records):
    assert "name the same run" in refusal(records, "hydra", records[4].run)
