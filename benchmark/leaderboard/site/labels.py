"""The words of the site that do not depend on a board: presets, columns, legends, commands."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.leaderboard.formats import OPPONENT_COLUMNS

QUICK_IMAGES = 200  # as many as `reproduce --quick` measures

PRESET_WORDS = {
    "paper": ("Paper preset", "the full schedule of the paper"),
    "short": ("Short preset", "fewer epochs, not comparable with the paper preset"),
    "own": ("Own settings", "schedules of their own, not comparable with the paper preset"),
    "smoke": ("Smoke preset", "shows that the code runs, says nothing about the methods"),
}
HEALTH_WORDS = {
    "pass": "no check of gradient health found anything",
    "suspect": "at least one check of gradient health raises a doubt, see the row's page",
    "fail": "a check of gradient health failed: the attacks were probably misled",
    "not run": "there was no image left that this check could look at",
    "not checked": "the row is from before this check",
}
ATTACK_WORDS = {
    "clean": "Clean",
    "pgd": "PGD",
    "apgd-ce": "AutoAttack: APGD-CE",
    "apgd-t": "AutoAttack: APGD-T",
    "fab-t": "AutoAttack: FAB-T",
    "square": "AutoAttack: Square",
    "robust": "Robust, under every attack",
}


@dataclass(frozen=True)
class Column:
    """A column of a board's table."""

    key: str
    label: str
    help: str
    down: bool = False  # more is better: the first click sorts downwards


COLUMNS = (
    Column("rank", "Rank", "Within preset and size class; equals share a rank."),
    Column("method", "Method", "With its options, the id of its first seed, and deviations from its paper."),
    Column("robust", "Robust", "Right on the clean image and under every attack, percent; ± is over seeds.", down=True),
    Column("interval", "95% interval", "Of robust accuracy, percent.", down=True),
    Column("autoattack", "AutoAttack", "Percent of the images still right under AutoAttack.", down=True),
    Column("pgd", "PGD", "Percent of the images still right under PGD.", down=True),
    Column("clean", "Clean", "Percent of the images right without any attack.", down=True),
    Column("size", "Size", "Bytes of the artifact's file."),
    Column("passes", "Passes", "Images sent forward and backward in training."),
    Column("precision", "Precision", "Full precision (fp) or binary weights."),
    Column("keep", "Keep", "Ratio of prunable weights that the method was asked to keep."),
    Column("p", "p", "Layer budgets are proportional to (layer size)^p."),
    Column("lbn", "LBN", "Batch norm after the last layer."),
    Column("objective", "Objective", "Training loss."),
    Column("seeds", "Seeds", "Networks trained with this setting.", down=True),
    Column("density", "Density", "Weights kept over prunable weights, counted in the network."),
    Column("gradients", "Gradients", "Worst verdict of the gradient-health checks."),
    *(Column(name, title[0].upper() + title[1:], meaning) for name, (title, meaning) in OPPONENT_COLUMNS.items()),
    Column("network", "Network", "Architecture and width."),
)
REPORTED = Column(
    "reported", "Reported", "AutoAttack accuracy in the publication, and ours less theirs, in points.", down=True
)

SHOWN_NOTES = 8  # beside a method's name; the row's page has all

COMMANDS = (
    (
        "Run",
        "Trains, compresses, packs and attacks every method, and adds rows to the board of the data set.",
        "python -m benchmark run --methods all --dataset cifar100",
    ),
    (
        "Add a method",
        "One class in one file; the check says in a minute whether it keeps the contract.",
        "python -m benchmark check path/to/file.py:Class",
    ),
    (
        "Submit a result",
        "The first command writes a folder for a pull request, the second is what the reviewers' machine runs on it.",
        "python -m benchmark submit ROW --out runs --to FOLDER\npython -m benchmark verify FOLDER",
    ),
)
