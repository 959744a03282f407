"""Every built-in method keeps the contract, and each way to break it is caught by the rule that names it."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

from benchmark.cli.main import app
from benchmark.conformance import check
from benchmark.conformance.rules import RULES
from benchmark.errors import UserError
from benchmark.suite.registry import resolve
from benchmark.training import selection
from methods import BUILT_IN
from methods.base import Target

DENSE, FP, BINARY = Target(1.0, "binary"), Target(0.3, "fp", 1.0), Target(0.3, "binary", 1.0)

# One target each: the full list is what `python -m benchmark check` is for.
TARGETS = {
    "at": DENSE,
    "atmc": BINARY,
    "edge_popup": Target(0.3, "binary", 0.5),
    "hydra": Target(0.3, "fp", "global"),
    "lwm": BINARY,
    "random_pruning": Target(0.3, "fp", 0.5),
    "rst": FP,
    "small_dense": FP,
}

HEAD = '''"""Methods that break the contract, each in one way."""

import random
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from methods.at import AT
from methods.base import Phase
from methods.edge_popup import EdgePopup
from methods.layers import CompressedConv2d, compressed_layers, set_budgets
from methods.prune_finetune import RandomPruning


def convolution(network):
    """Return the widest convolution of a plain network."""
    return max((m for m in network.modules() if isinstance(m, nn.Conv2d)), key=lambda conv: conv.weight.numel())


@dataclass(frozen=True)
class Offender(BASE):
    """Breaks the contract."""

    name: ClassVar[str] = "offender"

'''

# name of the offence: (rule that must catch it, base class, target, what it sees, body of the class)
OFFENCES = {
    "keeps one weight too many": (
        "budget",
        "EdgePopup",
        FP,
        "1 more than the budget of",
        """
    def export(self, model):
        network = super().export(model)
        weight = convolution(network).weight.flatten()
        weight[(weight == 0).nonzero()[0]] = 1.0
        return network
""",
    ),
    "gives one layer another's weights": (
        "allocation",
        "EdgePopup",
        FP,
        "its share at p=1 is",
        """
    def build(self, architecture, target):
        model = super().build(architecture, target)
        small, *_, large = sorted(compressed_layers(model), key=lambda layer: layer.keep_count)
        small.keep_count, large.keep_count = small.keep_count + 1, large.keep_count - 1
        self.after_step(model, None, 0)
        return model
""",
    ),
    "three levels": (
        "levels",
        "EdgePopup",
        BINARY,
        "3 nonzero values",
        """
    def export(self, model):
        network = super().export(model)
        weight = convolution(network).weight.flatten()
        weight[weight.nonzero()[0]] = 0.5
        return network
""",
    ),
    "changes what it froze": (
        "frozen",
        "EdgePopup",
        FP,
        "trains ['scores'], yet changes",
        """
    def after_step(self, model, phase, step):
        super().after_step(model, phase, step)
        with torch.no_grad():
            compressed_layers(model)[0].weight.add_(1.0)
""",
    ),
    "trains nothing": (
        "training",
        "EdgePopup",
        FP,
        "no such parameter changes",
        """
    def phases(self, epochs, target):
        return [Phase("search", epochs, frozenset({"norm"}), 0.1)]
""",
    ),
    "export changes the network": (
        "untouched",
        "AT",
        DENSE,
        "export changed the network",
        """
    def export(self, model):
        with torch.no_grad():
            compressed_layers(model)[0].weight.mul_(0.5)
        return super().export(model)
""",
    ),
    "export shares memory": (
        "untouched",
        "AT",
        DENSE,
        "shares the memory of",
        """
    def export(self, model):
        network = super().export(model)
        network.bn1 = model.bn1
        return network
""",
    ),
    "export in training mode": (
        "plain",
        "AT",
        DENSE,
        "is in training mode",
        """
    def export(self, model):
        return super().export(model).train()
""",
    ),
    "export keeps the method's layers": (
        "plain",
        "AT",
        DENSE,
        "exported convolutions differ",
        """
    def export(self, model):
        import copy
        return copy.deepcopy(model).eval()
""",
    ),
    "unseeded build": (
        "build",
        "AT",
        DENSE,
        "two builds under one seed differ",
        """
    def build(self, architecture, target):
        torch.manual_seed(random.SystemRandom().getrandbits(32))
        return super().build(architecture, target)
""",
    ),
    "unseeded training": (
        "seed",
        "AT",
        DENSE,
        "two trainings with one seed differ",
        """
    def loss(self, model, phase, batch, objective):
        return super().loss(model, phase, batch, objective) * random.SystemRandom().random()
""",
    ),
    "seed of its own": (
        "seed",
        "RandomPruning",
        FP,
        "seeds 0 and 1 end with the same network",
        """
    def export(self, model):
        network = super().export(model)
        with torch.no_grad():
            for name, value in network.named_parameters():
                value.zero_()
            for name, value in network.named_buffers():
                if not name.startswith("normalize"):
                    value.zero_()
        return network
""",
    ),
    "phases that do not add up": (
        "phases",
        "AT",
        DENSE,
        "1 epochs are split into train 2",
        """
    def phases(self, epochs, target):
        return super().phases(epochs + 1, target)
""",
    ),
    "refuses a middling budget": (
        "phases",
        "AT",
        DENSE,
        "7 epochs are refused, though not for being too few: seven",
        """
    def phases(self, epochs, target):
        if epochs == 7:
            raise ValueError("seven")
        return super().phases(epochs, target)
""",
    ),
    "detached input": (
        "gradients",
        "AT",
        DENSE,
        "training: the gradient reaches 0 of 16 images",
        """
    def build(self, architecture, target):
        model = super().build(architecture, target)
        model.normalize.register_forward_hook(lambda module, args, output: output.detach())
        return model
""",
    ),
    "loss of its own": (
        "objective",
        "AT",
        DENSE,
        "never calls the objective",
        """
    def loss(self, model, phase, batch, objective):
        return nn.functional.cross_entropy(model(batch.images), batch.labels)
""",
    ),
    "loss that ignores the batch": (
        "objective",
        "AT",
        DENSE,
        "whatever the batch",
        """
    def loss(self, model, phase, batch, objective):
        return 0.0 * objective(model, batch) + compressed_layers(model)[0].weight.square().sum()
""",
    ),
    "hidden state of the network": (
        "state",
        "AT",
        DENSE,
        "depends on more than the network's parameters and buffers",
        """
    def after_step(self, model, phase, step):
        super().after_step(model, phase, step)
        model.scale = getattr(model, "scale", 1.0) * 1.5

    def export(self, model):
        network = super().export(model)
        conv = convolution(network)
        conv.weight.mul_(getattr(model, "scale", 1.0))
        return network
""",
    ),
    "hidden state of training": (
        "resume",
        "AT",
        DENSE,
        "after a resume",
        """
    def loss(self, model, phase, batch, objective):
        model.seen = getattr(model, "seen", 0) + 1
        return super().loss(model, phase, batch, objective) * (1 + model.seen)
""",
    ),
    "hidden state of the module": (
        "resume",
        "AT",
        DENSE,
        "after a resume",
        """
    seen: ClassVar[list] = []

    def loss(self, model, phase, batch, objective):
        self.seen.append(1)
        return super().loss(model, phase, batch, objective) * (1 + len(self.seen))
""",
    ),
    "keeps a weight outside its groups": (
        "groups",
        "EdgePopup",
        Target(0.3, "binary", 1.0, "kernel"),
        "weights in groups of",
        """
    def export(self, model):
        network = super().export(model)
        weight = convolution(network).weight.flatten()
        weight[weight.nonzero()[0]] = 0.0
        weight[(weight == 0).nonzero()[-1]] = 1.0
        return network
""",
    ),
    "an exception": (
        "plain",
        "AT",
        DENSE,
        "KeyError: 'gone' (offender.py, line 29)",
        """
    def export(self, model):
        return {}["gone"]
""",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_method_keeps_the_contract(name):
    verdicts = list(check.check_method(resolve(name), [TARGETS[name]]))

    assert [str(verdict) for verdict in verdicts if not verdict.passed] == []
    assert len(verdicts) > 10


@pytest.fixture
def only(monkeypatch):
    """Return a function that leaves only the named rules in force."""
    return lambda *names: monkeypatch.setattr(check, "RULES", [rule for rule in RULES if rule.name in names])


@pytest.fixture
def write_offender(tmp_path):
    """Return the writer of a file with one method; it gives back its target."""

    def write(base, body):
        path = tmp_path / "offender.py"
        path.write_text(HEAD.replace("BASE", base) + body.lstrip("\n"), encoding="utf-8")
        return f"{path}:Offender"

    return write


@pytest.mark.parametrize("offence", OFFENCES)
def test_an_offence_is_caught_by_its_rule(offence, write_offender, only):
    rule, base, target, seen, body = OFFENCES[offence]
    only(rule)

    (verdict,) = check.check_method(resolve(write_offender(base, body)), [target])

    assert not verdict.passed
    assert seen in verdict.seen
    assert "\n" not in str(verdict)


# What a method does wrong from an update on, by its rule: (target, what it sees, the wrong-doing in every layer).
LATE = {
    "budget": (FP, "more than the budget of", "layer.mask.fill_(True)"),
    "allocation": (FP, "its share at p=1 is", "layer.mask.fill_(True)"),
    "levels": (BINARY, "nonzero values", "layer.binary = False"),
}


@pytest.mark.parametrize("first", [10, 20])
@pytest.mark.parametrize("rule", LATE)
def test_an_offence_late_in_the_last_phase_is_caught(rule, first, write_offender, only, monkeypatch):
    """From update 20 on it shows only in the network of a whole training."""
    monkeypatch.setattr(selection, "validate", lambda *_: (0.0, 0.0))  # of equally good epochs the last one is selected
    target, seen, offence = LATE[rule]
    only(rule)
    body = f"""
    def after_step(self, model, phase, step):
        super().after_step(model, phase, step)
        if phase.name == "finetune" and step >= {first}:
            for layer in compressed_layers(model):
                {offence}
"""

    (verdict,) = check.check_method(resolve(write_offender("RandomPruning", body)), [target])

    assert not verdict.passed
    assert seen in verdict.seen


def test_every_rule_has_an_offence_that_only_it_is_tested_with():
    assert {offence[0] for offence in OFFENCES.values()} == {rule.name for rule in RULES}


def test_refused_targets_are_shown_with_their_reason_and_one_accepted_target_is_enough(only):
    only("phases")

    verdicts = list(check.check_method(resolve("at")))

    assert len(verdicts) == len(check.TARGETS)
    assert all(verdict.passed for verdict in verdicts)
    assert str(verdicts[0]) == "refused fp keep 0.3 p0.5        at trains dense networks: keep_ratio must be 1, got 0.3"
    assert check.summary(verdicts, "at") == "at: all 2 checks passed on 2 targets, 11 refused"


def test_a_method_that_refuses_everything_fails(only):
    verdicts = list(check.check_method(resolve("at"), [FP, BINARY]))

    assert [verdict.passed for verdict in verdicts] == [True, True, False]
    assert "refuses every target" in str(verdicts[-1])
    assert "1 of 1 checks FAILED" in check.summary(verdicts, "at")


@pytest.mark.parametrize("reason", [True, False, ""])
def test_a_refusal_without_a_sentence_fails(reason, write_offender, only):
    only("build")
    body = f"""
    def refusal(self, target):
        return None if target.dense else {reason!r}
"""

    verdicts = list(check.check_method(resolve(write_offender("AT", body)), [FP, DENSE]))

    assert [verdict.passed for verdict in verdicts] == [False, True]
    assert verdicts[0].seen == f"refusal returned {reason!r}, neither a sentence nor None"
    assert "1 of 2 checks FAILED on 2 targets: refusal" in check.summary(verdicts, "offender")


def test_the_random_numbers_and_threads_outside_stay_as_they_are(only):
    only("build")
    threads, before = torch.get_num_threads(), torch.get_rng_state()

    list(check.check_method(resolve("at"), [DENSE]))

    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), before)


def test_the_command_ends_with_0_if_all_pass_1_if_one_fails(write_offender, only, monkeypatch):
    only("phases", "build")
    monkeypatch.setattr(check, "TARGETS", [DENSE])
    body = OFFENCES["phases that do not add up"][-1]

    good = CliRunner().invoke(app, ["check", "methods.at:AT"])
    bad = CliRunner().invoke(app, ["check", write_offender("AT", body)])

    assert good.exit_code == 0
    assert good.output.splitlines()[-1] == "at: all 2 checks passed on 1 target"
    assert bad.exit_code == 1
    assert "FAIL" in bad.output and "Traceback" not in bad.output
    assert bad.output.splitlines()[-1] == "offender: 1 of 2 checks FAILED on 1 target: phases"


@pytest.mark.parametrize("method", ["nosuch", "missing.py:Class", "no.such.module:Class", "methods.at:Nobody"])
def test_a_method_that_is_not_there_is_the_users_mistake(method):
    result = CliRunner().invoke(app, ["check", method])

    assert isinstance(result.exception, UserError)  # which `python -m benchmark` turns into exit code 2
    assert "\n" not in str(result.exception)


def test_without_room_for_temporary_files_no_rule_blames_the_method(monkeypatch):
    def full(state, file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"checkpoint\.pt cannot be written .*free some space there"):
        list(check.check_method(resolve("at"), [DENSE]))
