"""The commands that a record may hold: `python -m benchmark run` with its options, quoted so no shell acts on them."""

from __future__ import annotations

import re
import shlex

_OPTIONS = frozenset(
    {
        *("--methods", "--dataset", "--preset", "--seeds", "--seed", "--set"),
        *("--data-dir", "--out", "--device", "--jobs"),
    }
)
_START = ["python", "-m", "benchmark", "run"]
_SUITE = re.compile(r"[^-\s].*")


def is_run_command(text: str) -> bool:
    """Return whether a text is `python -m benchmark run`, at most one suite, and options, as `shlex.join` writes them.

    Everything a shell would act on, such as `;`, `|`, `$`, a backtick or a bracket, is then inside single quotes.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        return False
    if shlex.join(words) != text or words[: len(_START)] != _START:
        return False
    suites, rest = 0, words[len(_START) :]
    while rest:
        word = rest.pop(0)
        name, has_value, _ = word.partition("=")
        if name in _OPTIONS:
            if not has_value and not rest:
                return False
            if not has_value:
                rest.pop(0)
        elif _SUITE.fullmatch(word) and not suites:
            suites += 1
        else:
            return False
    return True
