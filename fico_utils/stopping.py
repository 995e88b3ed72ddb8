"""Signals that tell a command to stop: Ctrl-C, what schedulers and `kill` send, and a terminal that closes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """A signal told this process to stop; `exit_code` is what shells give for that signal, 143 for SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


@contextmanager
def stop_by_signals() -> Iterator[None]:
    """Inside, each of the signals raises `Stopped`; after one did, they are ignored, so that nothing disturbs the end.

    A signal that was ignored before, as under nohup, stays ignored.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        set_handlers(_stop)
        yield
    except Stopped:
        before = dict.fromkeys(before, signal.SIG_IGN)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals() -> None:
    """Ignore the signals from now on: the process ends anyway, and tidies up first."""
    set_handlers(signal.SIG_IGN)


def set_handlers(handler: Any) -> None:
    """Handle the signals so, but for those that are ignored."""
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _stop(number: int, frame: Any) -> None:
    raise Stopped(number)
