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

# What people come for: title, where it leads (a page of the documentation, or a place on this page), text, code. "ROW"
# in quotes is replaced by the id of a row that is on the page.
TASKS = (
    (
        "Look at results",
        "#boards",
        "Sortable tables below, a page for every row; in Python, DataFrames.",
        "import benchmark\nbenchmark.boards()",
    ),
    (
        "Load a network",
        "python.html",
        'The network of any row as a PyTorch module; board="runs" for rows of your own.',
        'import benchmark\nmodel = benchmark.load_model("ROW")',
    ),
    (
        "Evaluate mine",
        "evaluation.html",
        "Clean, PGD and AutoAttack accuracy, and whether gradients misled the attacks.",
        "python -m benchmark evaluate FILE",
    ),
    (
        "Add a method",
        "adding-a-method.html",
        "One class in one file, held to the same rules as all others.",
        "python -m benchmark check FILE.py:Class",
    ),
    (
        "Submit a row",
        "submitting.html",
        "Writes a folder for a pull request; anyone can check it.",
        "python -m benchmark submit ROW --out runs --to FOLDER",
    ),
)
