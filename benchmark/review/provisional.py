"""`evaluate --provisional`: a first look at a network with the quick half of AutoAttack. It stores no result.

The accuracy it prints is an upper bound of that under the whole attack. The finished batches stay in the journal of the
whole evaluation, which continues from them.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from benchmark.errors import UserError
from benchmark.evaluation.accuracy import clean_verdicts
from benchmark.evaluation.evaluate import PGD_SEED
from benchmark.evaluation.fast import ComputeBatch
from benchmark.evaluation.protocol_attacks import protocol_attacks
from benchmark.results.evaluation import CASCADE
from benchmark.results.statistics import wilson
from benchmark.review.tasks import EvaluateRequest, attackable, load_task

QUICK = CASCADE[:2]  # a fifth of the cost, and nearly all that AutoAttack breaks
WARNING = (
    "PROVISIONAL: FAB-T and Square were not run and gradient health was not checked. The last number is an upper "
    "bound, which no board ranks; nothing was stored."
)


def evaluate_provisionally(request: EvaluateRequest, say: Callable[[str], None]) -> str:
    """Measure clean and PGD accuracy and what survives both APGD attacks; return the text to print.

    Raises:
        UserError: for mistakes in the request, the artifact or the data.
    """
    if request.curve or request.parent:
        raise UserError("--provisional measures neither a curve nor against a parent; leave --curve and --parent out")
    task = load_task(request)
    compute = ComputeBatch(say)
    with attackable(task, request.batch_size, say) as (network, images):
        clean = clean_verdicts(network, images, batch_size=request.batch_size, compute=compute)
        pgd, attacked = protocol_attacks(
            network,
            images,
            task.protocol,
            classes=task.part.info.num_classes,
            pgd_seed=PGD_SEED,
            batch_size=request.batch_size,
            compute=compute,
            journal=task.journal,
            report=say,
            attacks=QUICK,
        )
    rows = {"clean": clean, f"pgd-{task.protocol.pgd_steps}": pgd, "at most": clean & pgd & attacked.verdicts}
    return "\n".join([*(_line(name, right) for name, right in rows.items()), WARNING])


def _line(name: str, right: Tensor) -> str:
    count, total = int(right.sum()), len(right)
    low, high = (100 * bound for bound in wilson(count, total))
    shown = f"{name:<10}{f'{count}/{total}':>10}{100 * count / total:>10.2f}"
    return f"{shown}   95% interval (Wilson) {low:.2f} to {high:.2f}"
