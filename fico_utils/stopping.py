"""Signals that tell a command to stop: Ctrl-C, what schedulers and `kill` send, and a terminal that closes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """A signal told this process to stop; `exit_code` is what shells give for that signal, 143 for SIGTERM."""

    def __init__(self, number: int, frame: Any) -> None:
        super().__init__()
        self.exit_code = 128 + number


@contextmanager
def stop_by_signals() -> Iterator[None]:
    """Inside, each of the signals raises `Stopped`, but for those ignored before, as under nohup; later they do not.

    A process that is forked inside is ended by the signal, as it would be without this.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    process = os.getpid()

    def stop(number: int, frame: Any) -> None:
        if os.getpid() == process:
            raise Stopped(number, frame)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    try:
        handle_signals(stop)
        yield
    except Stopped:
        before = dict.fromkeys(before, signal.SIG_IGN)  # nothing may disturb the end of the process
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def handle_signals(handler: Any) -> None:
    """Give the signals a handler, or ``SIG_IGN``, but for those that are ignored."""
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)
