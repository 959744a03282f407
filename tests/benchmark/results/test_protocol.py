"""Perturbation sizes are exact, and the protocol id names every evaluation setting that matters."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import UserError
from benchmark.results.protocol import Protocol, default_pgd_step, exact_epsilon


@pytest.mark.parametrize(
    ("given_value", "exact"),
    [
        ("8/255", "8/255"),
        ("16/510", "8/255"),
        (" 4 / 255", "4/255"),
        (8 / 255, "8/255"),
        (str(8 / 255), "8/255"),
        ("0.031", "31/1000"),
        (0.031, "31/1000"),
        ("1/510", "1/510"),
        ("0.2", "51/255"),
        ("1e-2", "1/100"),
        (".5", "1/2"),
    ],
)
def test_a_perturbation_size_becomes_an_exact_fraction(given_value, exact):
    assert exact_epsilon(given_value) == exact


@pytest.mark.parametrize(
    "wrong",
    ["0", "1", 1, True, "255/255", "-8/255", "8/0", "8/00", "8", "nan", float("inf"), "", "1e-999999999"],
)
def test_a_perturbation_size_outside_the_open_unit_interval_is_refused_by_name(wrong):
    with pytest.raises(UserError, match="strictly between 0 and 1") as error:
        exact_epsilon(wrong)
    assert repr(wrong) in str(error.value)


@given(st.integers(1, 254), st.sampled_from([1, 2, 3, 10]))
def test_every_multiple_of_a_grey_level_is_recognised_in_any_spelling(level, factor):
    expected = f"{level}/255"
    assert exact_epsilon(level / 255) == exact_epsilon(f"{level * factor}/{255 * factor}") == expected


@given(st.integers(2, 10**6), st.data())
def test_an_exact_size_keeps_its_value_and_its_spelling(denominator, data):
    value = Fraction(data.draw(st.integers(1, denominator - 1)), denominator)
    text = exact_epsilon(f"{value.numerator}/{value.denominator}")
    assert Fraction(text) == value
    assert exact_epsilon(text) == text


@pytest.mark.parametrize(("epsilon", "step"), [("8/255", "2/255"), ("4/255", "1/255"), ("2/255", "1/510")])
def test_the_usual_pgd_step_is_a_quarter_of_epsilon(epsilon, step):
    assert default_pgd_step(epsilon) == step


CASES = [
    (("cifar10", "8/255", 10000, 50, 1, "2/255"), "cifar10-linf-8_255-aa-standard-10000"),
    (("cifar100", 4 / 255, 10000, 50, 1, "1/255"), "cifar100-linf-4_255-aa-standard-10000"),
    (("cifar10-jpeg", "2/255", 500, 50, 1, "1/510"), "cifar10-jpeg-linf-2_255-aa-standard-500"),
    (("my_images", "2/255", 500, 50, 1, ""), "my_images-linf-2_255-aa-standard-500"),
    (("digits", "32/255", 128, 20, 1, "8/255"), "digits-linf-32_255-pgd20x1-aa-standard-128"),
    (("digits", "32/255", 128, 50, 3, "8/255"), "digits-linf-32_255-pgd50x3-aa-standard-128"),
    (("digits", "32/255", 128, 50, 1, "4/255"), "digits-linf-32_255-pgd50x1-step4_255-aa-standard-128"),
    (("digits", "0.031", 128, 50, 1, "0.00775"), "digits-linf-31_1000-aa-standard-128"),
    (("d-linf-2", "1/255", 8, 50, 1, "", "standard-t3", 7), "d-linf-2-linf-1_255-aa-standard-t3-seed7-8"),
]


@pytest.mark.parametrize(("settings", "expected"), CASES)
def test_only_an_unusual_pgd_or_seed_shows_in_the_protocol_id(settings, expected):
    assert Protocol(*settings).id == expected


@pytest.mark.parametrize(("settings", "text"), CASES)
def test_a_protocol_is_read_back_from_its_id(settings, text):
    assert Protocol.parse(text) == Protocol(*settings)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cifar10",
        "cifar10-linf-8/255-aa-standard-10",
        "cifar10-linf-8_255-aa-custom-10",
        "cifar10-linf-8_255-aa-standard-0",
        "cifar10-linf-16_510-aa-standard-10",
        "cifar10-linf-8_0-aa-standard-10",
        "cifar10-linf-8_255-pgd50x1-aa-standard-10",
        "../cifar10-linf-8_255-aa-standard-10",
    ],
)
def test_text_that_is_no_protocol_id_is_refused(text):
    with pytest.raises(UserError):
        Protocol.parse(text)
