"""Training steps keep the GPU busy without waiting for it, and choose the masks that the CPU chooses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmark.data.load import load_training
from benchmark.runtime import stopping
from benchmark.suite.experiment import ArchitectureSpec, AttackSpec, Experiment, MethodSpec, TrainingSpec
from benchmark.suite.settings import EvaluationSpec
from benchmark.training.compiling import WORTHWHILE_STEPS, compile_network
from benchmark.training.loop import train
from benchmark.training.progress import Progress
from methods.edge_popup import EdgePopup
from methods.holding import attack_weights, held_effective_weights
from methods.layers import compressed_layers
from methods.projections import joint_top_k_masks, two_means

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GPU = torch.device("cuda")
CASES = ("at/pgd", "edge_popup/pgd", "edge_popup/fast", "hydra/trades", "atmc/half_clean")
SETTINGS = ("architecture.name=resnet10", "architecture.width=0.0625", "training.attack.num_steps=2")


@pytest.fixture
def make_gpu_step(make_step):
    """Return the maker of training steps of small networks on the GPU."""

    def make(case, precision="fp32"):
        return make_step(case, *SETTINGS, f"training.precision={precision}", batch_size=16, device=GPU)

    return make


@pytest.fixture
def repeatable():
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    yield
    torch.backends.cudnn.deterministic = before


@pytest.mark.parametrize("precision", ["fp32", "bf16-attack", "bf16"])
@pytest.mark.parametrize("case", CASES)
def test_a_step_never_waits_for_the_device(make_gpu_step, case, precision):
    step = make_gpu_step(case, precision)
    step()  # the first one sets up the optimiser and picks kernels
    before = [parameter.detach().clone() for parameter in step.model.parameters()]
    torch.cuda.synchronize()

    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")

    after = list(step.model.parameters())
    assert all(bool(parameter.isfinite().all()) for parameter in after)
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masks_are_those_of_the_cpu_ties_included(dtype):
    generator = torch.Generator().manual_seed(0)
    tied = torch.randint(5, (64, 32, 3, 3), generator=generator).to(dtype)
    drawn = torch.rand(16, 64, 3, 3, generator=generator).to(dtype).contiguous(memory_format=torch.channels_last)
    for count in (1, 1000, 5000, 20_000, tied.numel() + drawn.numel() - 1):
        on_cpu = joint_top_k_masks([tied, drawn], count)
        on_gpu = joint_top_k_masks([tied.to(GPU), drawn.to(GPU)], count)

        assert sum(int(mask.sum()) for mask in on_gpu) == count
        assert all(torch.equal(one, other.cpu()) for one, other in zip(on_cpu, on_gpu, strict=True))


def test_two_means_are_those_of_the_cpu():
    values = torch.randn(5000, generator=torch.Generator().manual_seed(0)).round(decimals=1)

    assert torch.allclose(two_means(values.to(GPU)).cpu(), two_means(values), rtol=1e-6, atol=0)


def test_edge_popup_keeps_its_budget_on_the_gpu(make_gpu_step):
    step = make_gpu_step("edge_popup/pgd")
    step()

    assert {layer.mask.device.type for layer in compressed_layers(step.model)} == {"cuda"}
    assert all(int(layer.mask.sum()) == layer.keep_count for layer in compressed_layers(step.model))


def test_a_compiled_network_computes_what_the_eager_one_does(make_gpu_step):
    pytest.importorskip("triton")
    step, eager, said = make_gpu_step("edge_popup/pgd"), make_gpu_step("edge_popup/pgd"), []

    done = compile_network(step.model, step.batch.images, step.objective, steps=WORTHWHILE_STEPS, report=said.append)

    assert (done, said) == (True, [])
    logits = []
    for one in (step, eager):
        with held_effective_weights(one.model), attack_weights(one.model), torch.no_grad():
            logits.append(one.model(one.batch.images))
    assert torch.allclose(*logits, rtol=0, atol=1e-2 * float(logits[1].abs().max()))
    step()


class Stopped(Exception):
    """Stands for a kill: raised from the progress report."""


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_stopped_killed_and_resumed_on_the_gpu_ends_as_one_that_was_not(
    tmp_path, repeatable, precision, monkeypatch
):
    experiment = Experiment(
        suite="test",
        preset="own",
        dataset="digits",
        epsilon="32/255",
        architecture=ArchitectureSpec(name="resnet10", width=0.0625),
        method=MethodSpec(name="edge_popup", target="x:Y"),
        weights="binary",
        keep_ratio=0.3,
        allocation=1.0,
        training=TrainingSpec(
            epochs=2, batch_size=16, attack=AttackSpec(num_steps=2), selection_steps=2, precision=precision
        ),
        evaluation=EvaluationSpec(images=8),
        seed=0,
    )
    digits = load_training("digits", None, limit=48)

    def kill(line):
        if "loss" in line:
            raise Stopped

    def run(folder, report):
        return train(experiment, EdgePopup(), digits, folder, device=GPU, report=report)

    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = run(tmp_path / "whole", lambda line: None)
    with monkeypatch.context() as patch, pytest.raises(stopping.Stopped):
        patch.setattr(Progress, "count", lambda progress: stopping.request_stop("SIGTERM"))
        run(tmp_path / "killed", lambda line: None)  # leaves after its first update
    stopping._request.reason = None
    with pytest.raises(Stopped):
        run(tmp_path / "killed", kill)
    lines = []
    resumed = run(tmp_path / "killed", lines.append)
    assert lines[0] == "resumed within epoch 1/2, after 1 of 3 updates"

    expected = whole.network.state_dict()
    for name, value in resumed.network.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_a_batch_of_another_size_needs_nothing_new(make_gpu_step):
    step = make_gpu_step("edge_popup/fast")
    step()
    smaller = replace(step, batch=type(step.batch)(*(part[:15] for part in step.batch)))

    smaller()

    assert all(bool(parameter.isfinite().all()) for parameter in step.model.parameters())
