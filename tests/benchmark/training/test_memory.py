"""Training that runs out of memory ends in one sentence, and no setting is changed silently."""

from __future__ import annotations

import pytest
import torch

from benchmark.errors import UserError
from benchmark.training.memory import memory_errors_explained

CPU = torch.device("cpu")


def on_a_gpu():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def in_a_library_of_a_gpu():
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


def on_a_cpu():
    torch.empty(1 << 46)  # 64 terabytes, refused by torch's allocator


def in_python():
    raise MemoryError


@pytest.mark.parametrize("allocate", [on_a_gpu, in_a_library_of_a_gpu, on_a_cpu, in_python])
def test_a_failed_allocation_names_the_batch_size_and_cheaper_settings(make_experiment, allocate):
    experiment = make_experiment(training={"batch_size": 256})

    with pytest.raises(UserError) as refusal, memory_errors_explained(experiment, CPU):
        allocate()

    message = str(refusal.value)
    assert "ran out of memory on cpu with batches of 256 images in fp32" in message
    assert "--set training.batch_size=128 or --set training.precision=bf16" in message
    assert "another experiment" in message
    assert "\n" not in message


def test_settings_that_are_already_minimal_are_not_advised(make_experiment):
    experiment = make_experiment(training={"batch_size": 2, "precision": "bf16"})

    with pytest.raises(UserError) as refusal, memory_errors_explained(experiment, CPU):
        on_a_gpu()

    assert "training.precision=" not in str(refusal.value)


def test_other_errors_propagate(make_experiment):
    with pytest.raises(RuntimeError, match="shapes"), memory_errors_explained(make_experiment(), CPU):
        raise RuntimeError("shapes do not fit")
