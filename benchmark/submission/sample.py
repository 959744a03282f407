"""The sample of adversarial images: the artifact and the verdicts decide which images it contains, nobody chooses.

Candidates are the images that are classified correctly when clean and broken by an attack, in the order of
SHA-256("<seed>:<place>"), where the seed is the SHA-256 of the artifact's hash, the protocol and all verdicts. The
sample holds the first 64 of them. An image that the record counts as broken may survive the attacks on another machine:
it is then listed as missed, and the next candidate takes its place; more than MAX_MISSED are not accepted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from benchmark.artifact.unpack import Artifact
from benchmark.attacks import ascent_step, random_point
from benchmark.data.load import Images
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images, frozen_eval
from benchmark.evaluation.autoattack import autoattack
from benchmark.evaluation.evaluate import PGD_SEED
from benchmark.evaluation.fast import ComputeBatch
from benchmark.evaluation.opponent.attacks import HARD_LABEL, LEAKY, opponent_attacks, stages_of
from benchmark.foreign.onnx_artifact import OnnxArtifact
from benchmark.results.evaluation import VERDICTS
from benchmark.results.external import AnyRecord
from benchmark.results.protocol import Protocol
from benchmark.review.adversarial import try_content
from benchmark.runtime.seeding import generator_for
from benchmark.submission.files import ADVERSARIAL
from benchmark.submission.schema import SAMPLE_SIZE, SampleClaim

MAX_MISSED = 4
MAX_HEADER = 1024  # bytes of the file besides images and positions; an honest one has 150


@dataclass(frozen=True)
class Sample:
    """The sample, as it is written to the folder."""

    claim: SampleClaim
    content: bytes | None  # of the file; None if the record counts no image as broken by an attack


def sample_seed(record: AnyRecord) -> str:
    """Return the 64 hex digits that decide the order of the candidates."""
    verdicts = [f"{name} {record.evaluation.verdicts[name]}" for name in VERDICTS]
    return hashlib.sha256("\n".join([record.artifact.sha256, record.protocol, *verdicts]).encode()).hexdigest()


def candidates(record: AnyRecord) -> list[int]:
    """Return the positions of the images that an attack broke, in the order in which the sample takes them."""
    seed = sample_seed(record)
    broken = record.evaluation.right("clean") & ~record.evaluation.right("robust")
    places = [int(place) for place in broken.nonzero()[0]]
    return sorted(places, key=lambda place: hashlib.sha256(f"{seed}:{place}".encode()).digest())


def make_sample(
    record: AnyRecord, artifact: Artifact | OnnxArtifact, images: Images, say: Callable[[str], None]
) -> Sample:
    """Attack the candidates until the sample is full.

    Raises:
        UserError: if more than MAX_MISSED images that the record counts as broken survive all attacks.
    """
    order = candidates(record)
    adversarial: dict[int, Tensor] = {}
    missed: list[int] = []
    while order and len(adversarial) < SAMPLE_SIZE:
        asked, order = order[: SAMPLE_SIZE - len(adversarial)], order[SAMPLE_SIZE - len(adversarial) :]
        rows = torch.tensor(sorted(asked))
        broken = attacked(record, artifact, Images(images.images[rows], images.labels[rows]), say)
        adversarial |= {int(rows[place]): image for place, image in broken.items()}
        missed += [place for place in asked if place not in adversarial]
        if len(missed) > MAX_MISSED:
            raise UserError(
                f"nothing breaks {len(missed)} of {len(adversarial) + len(missed)} images that the record counts as "
                "broken; measure the row again on this machine with `python -m benchmark reproduce`"
            )
    places = sorted(adversarial)
    content = None
    if places:
        tensors = {"x_adv": torch.stack([adversarial[place] for place in places]), "index": torch.tensor(places)}
        content = save_tensors(tensors)
    digest = None if content is None else hashlib.sha256(content).hexdigest()
    claim = SampleClaim(seed=sample_seed(record), count=len(places), missed=sorted(missed), sha256=digest)
    say(f"sample     adversarial images for {len(places)} images, {len(missed)} missed")
    return Sample(claim, content)


def attacked(
    record: AnyRecord, artifact: Artifact | OnnxArtifact, images: Images, say: Callable[[str], None]
) -> dict[int, Tensor]:
    """Return an adversarial image (C, H, W) for every image that an attack breaks, by position.

    Each attack meets what those before it left: PGD, then the opponent's attacks if the record has them, and at the end
    AutoAttack, the most expensive.
    """
    evaluation, adversarial = record.evaluation, _pgd_images(record, artifact, images)
    epsilon = float(Fraction(evaluation.epsilon))
    if evaluation.opposed and len(left := _left(images, adversarial)):
        result = opponent_attacks(
            artifact.network,
            images,
            left,
            epsilon=epsilon,
            seed=PGD_SEED,
            compute=ComputeBatch(say),
            report=say,
            stages=(*stages_of(LEAKY), *stages_of(HARD_LABEL)),
        )
        adversarial |= {int(left[row]): result.adversarial[row] for row in result.broken.nonzero().flatten().tolist()}
    if len(left := _left(images, adversarial)):
        rest = Images(images.images[left], images.labels[left])
        auto = autoattack(
            artifact.network,
            rest,
            num_classes=record.dataset.num_classes,
            epsilon=epsilon,
            seed=evaluation.autoattack.seed,
            batch_size=evaluation.autoattack.batch_size,
            report=say,
        )
        for place in (~auto.verdicts).nonzero().flatten().tolist():
            adversarial[int(left[place])] = auto.adversarial[place]
    return adversarial


def _left(images: Images, adversarial: Collection[int]) -> Tensor:
    """Return the (K,) positions of the images without an adversarial one."""
    return torch.tensor([place for place in range(len(images)) if place not in adversarial], dtype=torch.int64)


def _pgd_images(record: AnyRecord, artifact: Artifact | OnnxArtifact, images: Images) -> dict[int, Tensor]:
    """Run the protocol's PGD and keep, for every image, the first point that is misclassified."""
    protocol = Protocol.parse(record.protocol)
    epsilon, step_size = float(Fraction(protocol.epsilon)), float(Fraction(protocol.pgd_step))
    clean, labels = as_float_images(images.images), images.labels
    adversarial: dict[int, Tensor] = {}
    with frozen_eval(artifact.network):
        for restart in range(protocol.pgd_restarts):
            point = random_point(clean, epsilon, generator_for(torch.device("cpu"), "pgd", PGD_SEED, restart))
            for _ in range(protocol.pgd_steps + 1):  # the last point counts as well
                following, logits = ascent_step(
                    artifact.network, point, clean, labels, epsilon=epsilon, step_size=step_size
                )
                for place in (logits.argmax(1) != labels).nonzero().flatten().tolist():
                    adversarial.setdefault(place, point[place].detach().clone())
                point = following
    return adversarial


def check_sample(
    record: AnyRecord,
    claim: SampleClaim,
    content: bytes | None,
    artifact: Artifact | OnnxArtifact,
    images: Images,
) -> list[str]:
    """Return why a sample is not the one that the rule demands, or breaks too few images; empty if it is right."""
    if claim.seed != sample_seed(record):
        return ["the seed does not follow from artifact, protocol and verdicts"]
    order, missed = candidates(record), set(claim.missed)
    if len(missed) > MAX_MISSED or claim.missed != sorted(missed) or not missed <= set(order):
        return [f"missed must name at most {MAX_MISSED} images that the record counts as broken, each once"]
    wanted = sorted([place for place in order if place not in missed][:SAMPLE_SIZE])
    if claim.count != len(wanted):
        return [f"it holds {claim.count} images, the rule demands {len(wanted)}"]
    if content is None:
        return []
    if len(content) - sum(8 + 4 * images.images[0].numel() for _ in wanted) > MAX_HEADER or b"__metadata__" in content:
        return [f"{ADVERSARIAL} holds more than images and their positions"]
    try:
        tried = try_content(content, ADVERSARIAL, record, artifact, images)
    except UserError as error:
        return [str(error)]
    places = tried.places.tolist()
    robust = record.evaluation.right("robust")
    if shown := [place for place, wrong in zip(places, tried.wrong.tolist(), strict=True) if wrong and robust[place]]:
        return [f"it breaks images that the record counts as robust: {_some(shown)}"]
    if places != wanted:
        other = sorted(set(places) ^ set(wanted))
        return [
            f"its images are not those that the rule chooses; they differ at {_some(other) if other else 'the order'}"
        ]
    if right := [place for place, wrong in zip(places, tried.wrong.tolist(), strict=True) if not wrong]:
        return [f"the artifact classifies adversarial images correctly: {_some(right)}"]
    return []


def _some(places: Sequence[int]) -> str:
    shown = ", ".join(str(place) for place in places[:5])
    return f"image {shown}" if len(places) == 1 else f"images {shown}" + (" …" if len(places) > 5 else "")
