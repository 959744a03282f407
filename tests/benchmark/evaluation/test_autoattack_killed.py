"""The attack with all its iterations equals a plain call; with fewer queries of Square also if killed again and again.

Run as a script, this file is the parent of the sessions that are killed: it forks them, so torch is imported only once.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path

import pyautoattack
import pytest
import torch
from torch import nn

from benchmark.data.load import Images
from benchmark.evaluation.autoattack import autoattack
from benchmark.evaluation.progress import QUERIES
from benchmark.results.evaluation import CASCADE

ROOT = Path(__file__).resolve().parents[3]
SEED = 5
KILLS, KILLED_EPSILON = 20, 0.006
FEW_QUERIES = 500  # of Square, where sessions are killed: most of the standard 5,000 would be one more of the same pass


class Rugged(nn.Module):
    """Steep and partly flat, with large logits, so that each attack breaks images that the one before missed."""

    def __init__(self, classes):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Linear(128, classes)

    def forward(self, images):
        features = 60 * self.conv(images)
        features = torch.tanh(features) + 0.05 * torch.round(features)
        return 100 * self.fc(features.flatten(1))


def make_case(classes, count):
    """Return a network and images, of which it misclassifies the second; the same in every process."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = Rugged(classes).eval()
        pixels = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8)
        labels = model(pixels.float() / 255).argmax(1)
        labels[1] = (labels[1] + 1) % classes
    return model, Images(pixels, labels)


def plain_call(model, data, *, epsilon, batch_size, targets=9, queries=QUERIES):
    """Return the adversarial images and the verdicts of one call of the package."""
    adversary = pyautoattack.AutoAttack(model, eps=epsilon, norm="Linf", version="standard", seed=SEED, device="cpu")
    adversary.apgd_targeted.n_target_classes = adversary.fab.n_target_classes = targets
    adversary.square.n_queries = queries
    images = data.images.float() / 255
    adversarial, predicted = adversary.run_standard_evaluation(images, data.labels, batch_size=batch_size)
    return adversarial, predicted == data.labels


@pytest.mark.slow
def test_verdicts_and_images_equal_one_plain_call_of_the_whole_attack():
    model, data = make_case(classes=10, count=12)

    settings = {"epsilon": 0.03, "batch_size": 8}

    result = autoattack(model, data, num_classes=10, seed=SEED, report=lambda line: None, **settings)

    adversarial, robust = plain_call(model, data, **settings)
    counts = [int(result.robust[attack].sum()) for attack in CASCADE]
    assert torch.equal(result.adversarial, adversarial)
    assert torch.equal(result.verdicts, robust)
    assert 11 > counts[0] > counts[1] > 4 and counts[3] >= 1  # otherwise the comparison would prove little


def one_session(journal, report=lambda line: None, before_pass=lambda images: None):
    model, data = make_case(classes=4, count=6)
    settings = {"epsilon": KILLED_EPSILON, "batch_size": 2, "num_classes": 4, "seed": SEED, "queries": FEW_QUERIES}
    return autoattack(model, data, journal=journal, report=report, before_pass=before_pass, **settings)


def killer(passes):
    """Return a function that kills this process when it is called after `passes` passes of an attack."""
    remaining = iter(range(passes))

    def before_pass(images):
        if next(remaining, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    return before_pass


@contextmanager
def warm_parent():
    """Yield a function that runs a session in a fork and kills it after some passes, unless it ends before."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as parent:

        def session(journal, passes):
            parent.stdin.write(f"{passes} {journal}\n")
            parent.stdin.flush()
            return parent.stdout.readline().strip()

        yield session
        parent.stdin.close()


def serve():
    """Fork a session for each line of the input, "passes folder", and print whether it was killed."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        passes, folder = line.rstrip("\n").split(" ", 1)
        child = os.fork()
        if child == 0:
            try:
                one_session(Path(folder), before_pass=killer(int(passes)))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else f"ended {os.WEXITSTATUS(status)}", flush=True)


def batches_in(journal):
    return {path.name: path.read_bytes() for path in journal.rglob("*.safetensors")}


@pytest.mark.slow
def test_a_session_killed_twenty_times_ends_with_the_verdicts_and_images_of_a_plain_call(tmp_path):
    model, data = make_case(classes=4, count=6)
    passes: list[int] = []
    model.register_forward_pre_hook(lambda _, inputs: passes.append(len(inputs[0])))
    adversarial, robust = plain_call(model, data, epsilon=KILLED_EPSILON, batch_size=2, targets=3, queries=FEW_QUERIES)
    draw = random.Random(0)
    moments = sorted(draw.randrange(len(passes) // 4) for _ in range(KILLS))  # early ones first: they hit early batches
    kills, rounds, seen = 0, [tmp_path / "1"], set()

    def check_finished(journal):
        lines: list[str] = []
        result = one_session(journal, lines.append)
        assert not any("still robust" in line or "damaged" in line for line in lines)  # everything was in the journal
        assert torch.equal(result.adversarial, adversarial)
        assert torch.equal(result.verdicts, robust)

    with warm_parent() as session:
        while kills < KILLS:
            before = batches_in(rounds[-1])
            outcome = session(rounds[-1], moments[kills])
            after = batches_in(rounds[-1])
            assert before.items() <= after.items()  # finished batches are neither lost nor rewritten
            if outcome == "killed":
                kills += 1
                seen.add(len(after))
            else:
                assert outcome == "ended 0"
                check_finished(rounds[-1])
                rounds.append(tmp_path / str(len(rounds) + 1))
        assert session(rounds[-1], 10 * len(passes)) == "ended 0"
    check_finished(rounds[-1])

    assert len(seen) >= 3  # kills hit at different stages
    assert 1 <= int(robust.sum()) <= 4


if __name__ == "__main__":
    serve()
