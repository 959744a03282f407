"""`python -m benchmark check`: every rule of the contract on every target a method accepts, one verdict each."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmark.conformance.exports import Broken
from benchmark.conformance.rules import RULES, Rule
from benchmark.conformance.trial import Trial
from benchmark.errors import CannotWrite
from benchmark.suite.experiment import strategy_label
from benchmark.suite.registry import ResolvedMethod
from methods.base import Target
from methods.granularity import refusal

TARGETS = [
    *(Target(0.3, weights, split) for weights in ("fp", "binary") for split in (0.5, 1.0, "global", "auto")),
    Target(0.3, "binary", 1.0, "kernel"),
    Target(0.3, "fp", 1.0, "channel"),
    Target(0.5, "binary", 1.0, "2:4"),
    Target(1.0, "fp"),
    Target(1.0, "binary"),
]


@dataclass(frozen=True)
class RuleResult:
    """The result of one rule on one target; without a rule, that the method refuses the target."""

    target: Target | None  # None: all of them
    rule: Rule | None
    passed: bool
    seen: str

    def __str__(self) -> str:
        where = "all targets" if self.target is None else target_label(self.target)
        if self.rule is None:
            return f"{'refused' if self.passed else 'FAIL':<8}{where:<24}{self.seen}"
        meaning = "" if self.passed else f" (rule: {self.rule.meaning})"
        return f"{'pass' if self.passed else 'FAIL':<8}{where:<24}{self.rule.name:<11}{self.seen}{meaning}"


def target_label(target: Target) -> str:
    """Return a target as a line of the report shows it."""
    if target.dense:
        return f"{target.weights} dense"
    groups = "" if target.granularity == "weight" else f" {target.granularity}"
    return f"{target.weights} keep {target.keep_ratio:g} {strategy_label(target.allocation)}{groups}"


def check_method(resolved_method: ResolvedMethod, targets: Sequence[Target] | None = None) -> Iterator[RuleResult]:
    """Check a method with its default options against every rule on every target, on a CPU.

    Raises:
        UserError: if the method cannot be made without options, or the folder for temporary files is full.
    """
    resolved_method.create({}, "check")
    accepted = False
    for target in TARGETS if targets is None else targets:
        trial = Trial(resolved_method, target)
        try:
            reason = refusal(trial.method, target)
        except Exception as error:
            yield RuleResult(target, None, False, f"refusal raised {_described(error, resolved_method)}")
            continue
        if reason is not None and not (isinstance(reason, str) and reason):
            yield RuleResult(target, None, False, f"refusal returned {reason!r}, neither a sentence nor None")
            continue
        if reason is not None:
            yield RuleResult(target, None, True, reason)
            continue
        accepted = True
        for rule in RULES:
            with _alone():
                verdict = _verdict(trial, rule)
            if verdict is not None:
                yield verdict
    if not accepted:
        yield RuleResult(None, None, False, "the method refuses every target, so it cannot be measured")


def summary(verdicts: Sequence[RuleResult], name: str) -> str:
    """Return all verdicts summed up in one line."""
    checks = [verdict for verdict in verdicts if verdict.rule is not None or not verdict.passed]
    failed = [verdict for verdict in checks if not verdict.passed]
    refused = len(verdicts) - len(checks)
    targets = len({verdict.target for verdict in checks})
    about = f"{targets} target{'s' if targets > 1 else ''}{f', {refused} refused' if refused else ''}"
    if not failed:
        return f"{name}: all {len(checks)} checks passed on {about}"
    rules = dict.fromkeys(verdict.rule.name if verdict.rule else "refusal" for verdict in failed)
    return f"{name}: {len(failed)} of {len(checks)} checks FAILED on {about}: {', '.join(rules)}"


@contextmanager
def _alone() -> Iterator[None]:
    """Compute with one thread, which is fastest on tiny networks, and leave torch's random state unchanged."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


def _verdict(trial: Trial, rule: Rule) -> RuleResult | None:
    try:
        seen = rule.check(trial)
    except Broken as broken:
        return RuleResult(trial.target, rule, False, str(broken))
    except CannotWrite:
        raise  # the method is not to blame
    except (Exception, SystemExit) as error:  # a method may raise anything
        return RuleResult(trial.target, rule, False, _described(error, trial.resolved_method))
    return None if seen is None else RuleResult(trial.target, rule, True, seen)


def _described(error: BaseException, resolved_method: ResolvedMethod) -> str:
    """Return an error's type, its message and its line in the method's file."""
    message = (str(error).strip().splitlines() or ["without a message"])[0]
    own = inspect.getsourcefile(resolved_method.cls)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    return f"{type(error).__name__}: {message}" + (f" ({Path(own).name}, line {lines[-1]})" if own and lines else "")
