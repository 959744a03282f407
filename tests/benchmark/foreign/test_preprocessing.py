"""A normalisation belongs to pixels in [0, 1]; anything else is refused in one sentence."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmark.errors import UserError
from benchmark.foreign.preprocessing import Reading, preprocessed, typed_reading

WRONG = [
    ("0.5,0.5", None, "--mean is given without --std"),
    (None, "0.5", "--std is given without --mean"),
    ("0.5", "0", "std divides the pixels, so it must be above 0; got 0"),
    ("0.5", "-1", "std divides the pixels"),
    ("125.3,123,113.9", "63,62.1,66.7", "divide the numbers for pixels from 0 to 255 by 255"),
    ("0.5", "nan", "must be finite numbers"),
    ("-0.1", "0.5", "it is at least 0"),
    ("half", "0.5", "--mean must be numbers separated by commas"),
    ("", "0.5", "--mean must be numbers separated by commas"),
]


@pytest.mark.parametrize(("mean", "std", "message"), WRONG)
def test_a_normalisation_that_cannot_be_meant_is_refused(mean, std, message):
    with pytest.raises(UserError) as refusal:
        typed_reading(None, mean, std, nhwc=False)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_images_are_normalised_by_channel_and_then_get_their_channels_last():
    images = torch.rand(2, 3, 4, 5)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 1.0)

    result = preprocessed(nn.Identity(), Reading(None, mean, std, nhwc=True))(images)

    expected = torch.stack([(images[:, i] - mean[i]) / std[i] for i in range(3)], dim=3)
    assert result.shape == (2, 4, 5, 3) and torch.allclose(result, expected)


def test_a_network_that_needs_nothing_is_returned_itself():
    network = nn.Identity()
    assert preprocessed(network, Reading()) is network
