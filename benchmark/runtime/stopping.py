"""A request to stop: a signal, or the end of the time. Work is left where it can be resumed.

Most work is resumed from files that are written whole or not at all, so it may be left anywhere: the request raises
`Stopped` in the main thread. Training has to save its state first. It does so after the current update, inside of
`between_updates`, where a request only sets a flag.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # of schedulers, before they end a job


class Stopped(BaseException):
    """Work was left on request; what it had reached is on disk. Not an Exception: no handler may take it for a failure.

    Its text is the reason.
    """


class _Request:
    """The process's one request, and whether somebody polls it."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.polled = False


_request = _Request()


def stop_on_signals() -> None:
    """Let the schedulers' signals request a stop from here on; call it in the main thread."""
    for number in SIGNALS:
        signal.signal(number, _handle)


def stop_after(seconds: float) -> None:
    """Request a stop after some seconds from now, in the main thread; call `stop_on_signals` before."""
    timer = threading.Timer(max(0.0, seconds), _time_is_up)
    timer.daemon = True
    timer.start()


def request_stop(reason: str) -> None:
    """Request a stop; call it in the main thread.

    Raises:
        Stopped: at once, unless the work in progress polls.
    """
    if _request.reason is None:
        _request.reason = reason
    if not _request.polled:
        raise Stopped(_request.reason)


def requested() -> str | None:
    """Return why work shall stop; None if it may continue."""
    return _request.reason


def leave_if_requested() -> None:
    """Poll: call it inside of `between_updates` wherever work may be left.

    Raises:
        Stopped: if a stop was requested.
    """
    if _request.reason is not None:
        raise Stopped(_request.reason)


@contextmanager
def between_updates() -> Iterator[None]:
    """Inside, a request only sets what `requested` returns, and the caller polls it.

    Raises:
        Stopped: at the end of the block, if a stop was requested that the block did not act on.
    """
    before, _request.polled = _request.polled, True
    try:
        yield
    finally:
        _request.polled = before
    if not before and _request.reason is not None:
        raise Stopped(_request.reason)


def _handle(number: int, _: FrameType | None) -> None:
    request_stop(_TIME_IS_UP if _timer_fired.is_set() else signal.Signals(number).name)


_TIME_IS_UP = "the time is up"
_timer_fired = threading.Event()


def _time_is_up() -> None:
    """Reach the main thread, which alone may be interrupted, by one of the signals."""
    _timer_fired.set()
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)
