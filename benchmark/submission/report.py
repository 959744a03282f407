"""Prints the outcome of each check of foreign files as a line, and collects the reasons against them."""

from __future__ import annotations

from collections.abc import Callable

from benchmark.leaderboard.formats import printable

MAX_SHOWN = 20  # reasons of one check
MAX_REASON = 400  # characters


class Refused(Exception):
    """Ends the checks: the following ones would need what was refused."""


class Report:
    """The checks so far: what was refused, and what could not be checked here."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._print = say
        self.lines = list[str]()
        self.reasons = list[str]()
        self.unchecked = list[str]()

    def say(self, line: str) -> None:
        """Print a line and keep it."""
        self.lines.append(line)
        self._print(line)

    def note(self, check: str, reasons: list[str], note: str = "") -> None:
        """Print the outcome of a check; foreign text is printed without control characters and shortened."""
        for reason in reasons[:MAX_SHOWN]:
            self.reasons.append(f"{check}: {_harmless(reason)}")
            self.say(f"refused  {self.reasons[-1]}")
        if not reasons:
            self.say(f"ok       {check}{': ' + printable(note) if note else ''}")

    def leave(self, check: str, reason: str) -> None:
        """Print that something cannot be checked here, and why."""
        self.unchecked.append(f"{check}: {_harmless(reason)}")
        self.say(f"not checked  {self.unchecked[-1]}")

    def stop_if_refused(self) -> None:
        """End the checks if there is a reason.

        Raises:
            Refused: if there is one.
        """
        if self.reasons:
            raise Refused


def broken_off(error: Exception) -> str:
    """Return the reason against files that made a check raise an error."""
    message = (str(error).splitlines() or [""])[0]
    return f"a check broke off with {type(error).__name__}: {message}"


def _harmless(text: str) -> str:
    return printable(text)[:MAX_REASON].encode("ascii", "backslashreplace").decode()
