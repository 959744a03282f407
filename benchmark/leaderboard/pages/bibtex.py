"""What to cite for a board, as BibTeX: the board itself, the suite, the paper, and the methods and attacks on it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from benchmark.leaderboard.board.state import BoardState
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.formats import GENERATED
from benchmark.leaderboard.tex import tex

BIBTEX_MARKER = f"% {GENERATED}"
_SUITE = "The robust-compression-benchmark authors"


@dataclass(frozen=True)
class Paper:
    """A publication in the proceedings of a conference."""

    key: str
    authors: tuple[str, ...]  # "Family, Given"
    title: str
    booktitle: str
    year: int


_NEURIPS = "Advances in Neural Information Processing Systems"
_ICML = "Proceedings of the International Conference on Machine Learning"
_AT_HAND = Paper(
    "liu2022robust",
    ("Liu, Chen", "Zhao, Ziqi", "Süsstrunk, Sabine", "Salzmann, Mathieu"),
    "Robust Binary Models by Pruning Randomly-Initialized Networks",
    _NEURIPS,
    2022,
)
_PGD = Paper(
    "madry2018towards",
    ("Madry, Aleksander", "Makelov, Aleksandar", "Schmidt, Ludwig", "Tsipras, Dimitris", "Vladu, Adrian"),
    "Towards Deep Learning Models Resistant to Adversarial Attacks",
    "International Conference on Learning Representations",
    2018,
)
_AUTOATTACK = Paper(
    "croce2020reliable",
    ("Croce, Francesco", "Hein, Matthias"),
    "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-Free Attacks",
    _ICML,
    2020,
)
_EDGE_POPUP = Paper(
    "ramanujan2020whats",
    ("Ramanujan, Vivek", "Wortsman, Mitchell", "Kembhavi, Aniruddha", "Farhadi, Ali", "Rastegari, Mohammad"),
    "What's Hidden in a Randomly Weighted Neural Network?",
    "Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition",
    2020,
)
_HYDRA = Paper(
    "sehwag2020hydra",
    ("Sehwag, Vikash", "Wang, Shiqi", "Mittal, Prateek", "Jana, Suman"),
    "HYDRA: Pruning Adversarially Robust Neural Networks",
    _NEURIPS,
    2020,
)
_ATMC = Paper(
    "gui2019model",
    ("Gui, Shupeng", "Wang, Haotao", "Yang, Haichuan", "Yu, Chen", "Wang, Zhangyang", "Liu, Ji"),
    "Model Compression with Adversarial Robustness: A Unified Optimization Framework",
    _NEURIPS,
    2019,
)
_RST = Paper(
    "fu2021drawing",
    ("Fu, Yonggan", "Yu, Qixuan", "Zhang, Yang", "Wu, Shang", "Ouyang, Xu", "Cox, David", "Lin, Yingyan"),
    "Drawing Robust Scratch Tickets: Subnetworks with Inborn Robustness Are Found within Randomly Initialized Networks",
    _NEURIPS,
    2021,
)
_TRADES = Paper(
    "zhang2019theoretically",
    ("Zhang, Hongyang", "Yu, Yaodong", "Jiao, Jiantao", "Xing, Eric P.", "El Ghaoui, Laurent", "Jordan, Michael I."),
    "Theoretically Principled Trade-off between Robustness and Accuracy",
    _ICML,
    2019,
)
# A publication, and whether a board needs it. Every board is attacked with PGD and AutoAttack.
_CITED: tuple[tuple[Paper, Callable[[Board], bool]], ...] = (
    (_AT_HAND, lambda board: True),
    (_AUTOATTACK, lambda board: True),
    (_PGD, lambda board: True),
    (_EDGE_POPUP, lambda board: _has(board, "edge_popup")),
    (_HYDRA, lambda board: _has(board, "hydra")),
    (_ATMC, lambda board: _has(board, "atmc")),
    (_RST, lambda board: _has(board, "rst")),
    (_TRADES, lambda board: any(row.objective == "trades" for row in board.rows)),
)


def to_bibtex(state: BoardState) -> str:
    """Return the entries that whoever quotes the board should cite."""
    board = state.board
    entries = [
        _entry(
            "misc",
            f"board:{re.sub(r'[^A-Za-z0-9.+-]', '-', board.protocol)}",
            {
                "author": f"{{{tex(_SUITE)}}}",
                "title": f"{{Board {tex(board.protocol)}}}",
                "howpublished": "Leaderboard of the Robust compression benchmark",
                "year": state.date[:4],
                "note": f"{len(board.rows)} rows; newest result of {tex(state.date)}; state {state.digest}",
            },
        ),
        _entry(
            "misc",
            "robust-compression-benchmark",
            {
                "author": f"{{{tex(_SUITE)}}}",
                "title": "{Robust compression benchmark}",
                "howpublished": "Software",
            },
        ),
        *(_paper(paper) for paper, needed in _CITED if needed(board)),
    ]
    return "\n\n".join([BIBTEX_MARKER, *entries]) + "\n"


def _has(board: Board, method: str) -> bool:
    return any(row.method == method for row in board.rows)


def _paper(paper: Paper) -> str:
    fields = {
        "author": " and ".join(tex(name) for name in paper.authors),
        "title": f"{{{tex(paper.title)}}}",
        "booktitle": tex(paper.booktitle),
        "year": str(paper.year),
    }
    return _entry("inproceedings", paper.key, fields)


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    lines = [f"  {name:<12} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])
