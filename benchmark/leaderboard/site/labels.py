"""The words of the site that do not depend on a board: verdicts, attacks, commands."""

from __future__ import annotations

QUICK_IMAGES = 200  # as many as `reproduce --quick` measures

HEALTH_WORDS = {
    "pass": "no check found a problem",
    "suspect": "at least one check raises a doubt; see the row's page",
    "fail": "a check failed: the attacks were probably misled",
    "not run": "no image was left for this check",
    "not checked": "the row is older than this check",
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

SHOWN_NOTES = 8  # beside a method's name; the row's page has all

COMMANDS = (
    (
        "Run",
        "Trains, compresses, packs and attacks every method, and adds rows to the board of the data set.",
        "python -m benchmark run --methods all --dataset cifar100",
    ),
    (
        "Add a method",
        "One class in one file; the check reports within a minute whether it meets the contract.",
        "python -m benchmark check path/to/file.py:Class",
    ),
    (
        "Submit a result",
        "The first command writes a folder for a pull request; the second is what the reviewers' machine runs on it.",
        "python -m benchmark submit ROW --out runs --to FOLDER\npython -m benchmark verify FOLDER",
    ),
)
