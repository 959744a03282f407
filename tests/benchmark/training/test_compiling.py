"""Compiling changes no bit of state and needs few variants; if it fails, training continues. Needs no GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from benchmark.training.compiling import WORTHWHILE_STEPS, compile_network
from methods.holding import attack_weights, held_effective_weights

# The compiler looks at every tensor's gradient; the eager program never does.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")

PASS_KINDS = {"edge_popup/pgd": 2, "hydra/trades": 3}  # an attack's and an update's; TRADES: the clean prediction, too


@pytest.fixture(autouse=True)
def _fresh_compiler():
    limit = torch._dynamo.config.recompile_limit
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    torch._dynamo.config.recompile_limit = limit


@pytest.fixture(autouse=True)
def _dense(monkeypatch):
    """Compute the eager passes densely, as on a GPU, where networks are compiled."""
    monkeypatch.setattr("methods.sparse.step.MAX_SHARE", -1.0)


SETTINGS = ("architecture.name=resnet6", "architecture.width=0.0625", "training.attack.num_steps=2")


@pytest.fixture
def make_tiny_step(make_step, make_batch):
    """Return the maker of training steps of a tiny network on six images of 8x8 pixels."""

    def make(case="edge_popup/pgd"):
        batch = make_batch(6)
        channels_last = batch.images.contiguous(memory_format=torch.channels_last)
        return replace(make_step(case, *SETTINGS), batch=batch._replace(images=channels_last))

    return make


def compiled(step, backend, *, steps=WORTHWHILE_STEPS, devices=("cpu",)):
    """Compile a step's network; return whether it was compiled, and the reported lines."""
    lines = []
    done = compile_network(
        step.model,
        step.batch.images,
        step.objective,
        steps=steps,
        report=lines.append,
        backend=backend,
        devices=devices,
    )
    return done, lines


def state_of(step):
    tensors = {name: value for name, value in step.model.state_dict().items() if isinstance(value, torch.Tensor)}
    return {name: value.clone() for name, value in tensors.items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_steps_of_a_compiled_network_have_the_bits_of_the_eager_one(make_tiny_step):
    """The backend traces the network but computes with torch's own kernels."""
    eager, step = make_tiny_step(), make_tiny_step()

    assert compiled(step, "eager") == (True, [])
    for _ in range(2):
        eager()
        step()

    assert same(state_of(step), state_of(eager))


def test_a_traced_backward_gives_an_attack_the_same_gradient(make_tiny_step):
    eager, step = make_tiny_step(), make_tiny_step()
    assert compiled(step, "aot_eager") == (True, [])

    def gradient(model):
        images = step.batch.images.clone().requires_grad_()
        with held_effective_weights(model), attack_weights(model):
            logits = model(images)
        return logits.detach(), torch.autograd.grad(logits.square().sum(), images)[0]

    for actual, expected in zip(gradient(step.model), gradient(eager.model), strict=True):
        assert torch.allclose(actual, expected, rtol=0, atol=1e-2 * float(expected.abs().max()))


def test_the_trial_leaves_state_gradients_modes_and_random_streams_as_they_were(make_tiny_step):
    step = make_tiny_step("hydra/trades")
    step.model.layer2.eval()
    before, modes = state_of(step), [module.training for module in step.model.modules()]
    random, drawn = torch.get_rng_state(), step.objective.generator.get_state()

    assert compiled(step, "eager") == (True, [])

    assert same(state_of(step), before)
    assert [module.training for module in step.model.modules()] == modes
    assert all(parameter.grad is None for parameter in step.model.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(step.objective.generator.get_state(), drawn)


@pytest.mark.parametrize("case", PASS_KINDS)
def test_a_training_compiles_no_more_than_the_trial_did_and_a_second_batch_size_once_more(
    case, make_tiny_step, make_batch
):
    """New masks and weights in every step, frozen and thawed parameters, train and eval mode: no new variants."""
    step, counter = make_tiny_step(case), CompileCounterWithBackend("eager")

    compiled(step, counter)
    assert counter.frame_count == PASS_KINDS[case]
    for _ in range(3):
        step()
    assert counter.frame_count == PASS_KINDS[case]
    for count in (5, 6, 5, 7):
        batch = make_batch(count)
        channels_last = batch.images.contiguous(memory_format=torch.channels_last)
        replace(step, batch=batch._replace(images=channels_last))()
    assert counter.frame_count <= 2 * PASS_KINDS[case]


def test_an_export_of_a_compiled_network_is_an_ordinary_network(make_tiny_step):
    step = make_tiny_step()
    compiled(step, "eager")
    step()

    plain = step.method.export(step.model)

    assert plain._compiled_call_impl is None
    step.model.eval()
    with held_effective_weights(step.model):
        assert torch.allclose(plain(step.batch.images), step.model(step.batch.images), atol=1e-5)


def test_a_failing_compiler_costs_one_sentence(make_tiny_step):
    def broken(graph, inputs):
        raise RuntimeError("no such instruction\nat a long address")

    step, eager = make_tiny_step(), make_tiny_step()

    done, said = compiled(step, broken)

    assert not done
    assert len(said) == 1 and "so training continues uncompiled" in said[0] and "\n" not in said[0]
    assert "no such instruction" in said[0]
    step()
    eager()
    assert same(state_of(step), state_of(eager))


@pytest.mark.parametrize(
    "changes", [{"devices": ("cuda",)}, {"steps": WORTHWHILE_STEPS - 1}], ids=["on a CPU", "a short phase"]
)
def test_nothing_is_compiled_where_it_does_not_pay(make_tiny_step, changes):
    def never(graph, inputs):
        raise AssertionError("compiled")

    step = make_tiny_step()

    assert compiled(step, never, **changes) == (False, [])
    assert step.model._compiled_call_impl is None
