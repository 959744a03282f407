"""The caller's settings of torch change no verdict and are restored afterwards."""

from __future__ import annotations

import random
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

from benchmark import evaluate
from benchmark.data.load import Images, load_test
from benchmark.errors import UserError

PROTOCOL = "digits-linf-250_255-pgd1x1-aa-standard-8"


@contextmanager
def default_type(kind):
    before = torch.get_default_dtype()
    torch.set_default_dtype(kind)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def precision(name):
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision(name)
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


AROUND = {
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64 by default": lambda: default_type(torch.float64),
    "products in bfloat16": lambda: precision("medium"),
    "another default device": lambda: torch.device("meta"),
}


def settings_of_torch():
    return (
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_float32_matmul_precision(),
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.get_num_threads(),
        torch.get_rng_state().tolist(),
        random.getstate(),
        np.random.get_state()[1].tolist(),
    )


class Watching(nn.Module):
    """Records the precision and type of its passes, and draws random numbers of all kinds."""

    def __init__(self, part):
        super().__init__()
        self.part, self.seen = part, []

    def forward(self, images):
        torch.rand(1, device="cpu"), random.random(), np.random.rand()
        logits = self.part(images)
        self.seen.append((torch.get_float32_matmul_precision(), logits.dtype))
        return logits


@pytest.mark.parametrize("around", AROUND)
def test_settings_around_the_call_change_no_verdict_and_are_restored(around, viewed):
    expected = evaluate(viewed, "digits", PROTOCOL)
    network = Watching(viewed).eval()

    with AROUND[around]():
        before = settings_of_torch()
        evaluation = evaluate(network, "digits", PROTOCOL)
        after = settings_of_torch()

    assert after == before
    assert evaluation.verdicts == expected.verdicts
    assert {(check.name, check.verdict) for check in evaluation.health} == {
        (check.name, check.verdict) for check in expected.health
    }
    assert {precision for precision, _ in network.seen} == {"highest"}
    assert network.seen[0] == ("highest", torch.float32)


def test_settings_are_restored_after_an_error_too(viewed):
    before = settings_of_torch()

    with pytest.raises(UserError):
        evaluate(lambda images: viewed(images)[:, :3], "digits", PROTOCOL)

    assert settings_of_torch() == before


def test_images_made_in_inference_mode_are_accepted_and_a_network_made_there_is_refused(viewed):
    with torch.inference_mode():
        data = load_test("digits", None, limit=8)
        data = type(data)(
            data.info, Images(data.test.images.clone(), data.test.labels.clone()), data.sha256, data.index
        )
        made_there = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    assert evaluate(viewed, data, PROTOCOL).n_images == 8
    with pytest.raises(
        UserError, match=r"^1.weight of the network was made inside torch.inference_mode\(\) and supports no"
    ):
        evaluate(made_there, data, PROTOCOL)


def test_a_network_that_answers_at_random_has_the_same_numbers_every_time(viewed):
    def noisy(images):
        return viewed(images + 0.3 * torch.randn_like(images))

    torch.manual_seed(1)
    first = evaluate(noisy, "digits", PROTOCOL.replace("standard-8", "standard-2"))
    torch.manual_seed(2)
    assert evaluate(noisy, "digits", PROTOCOL.replace("standard-8", "standard-2")).verdicts == first.verdicts
