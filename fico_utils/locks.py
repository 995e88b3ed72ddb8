"""Locks between processes: a name below a folder is held by one process, which a file beside the lock names."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from fico_utils.errors import InputError
from fico_utils.escaping import one_line
from fico_utils.files import refuse_unwritable

if TYPE_CHECKING:
    from filelock import FileLock


@contextmanager
def hold_locks(folder: Path, names: Sequence[str]) -> Iterator[None]:
    """Hold some names below a folder, all or none; a lock that a dead process left is taken over, and that is said.

    InputError where another process holds one of them, or the folder cannot be written.
    """
    from filelock import Timeout

    dead = []
    with ExitStack() as stack:
        for name in names:
            pid_file = folder / f".{name}.pid"
            with refuse_unwritable(folder):
                folder.mkdir(parents=True, exist_ok=True)
                try:  # for longer than `is_held` holds it
                    stack.enter_context(open_lock(folder / f".{name}.lock", timeout=1))
                except Timeout as error:
                    owner, _ = lock_owner(folder, name) or ("", "")
                    raise InputError(
                        f"another run{owner and f' ({owner})'} is writing to {folder.parent}; wait for it, or choose "
                        "another with --out"
                    ) from error
                if pid_file.is_file():
                    dead.append(one_line(pid_file.read_text(encoding="utf-8", errors="replace").partition(" ")[0]))
                stack.callback(pid_file.unlink, missing_ok=True)
                write_owner(folder, name)
        if dead:
            print(f"process {dead[0]} ended without unlocking {folder.parent}; its lock is taken over", file=sys.stderr)
        yield


def open_lock(path: Path, timeout: float = -1) -> FileLock:
    """A lock, to be held in a ``with`` block, that all may take who may write to its folder."""
    from filelock import FileLock

    return FileLock(path, timeout=timeout, mode=path.parent.stat().st_mode & 0o666)


def write_owner(folder: Path, name: str, working: bool = False) -> None:
    """Write that this process holds a name, for `lock_owner`; `working` once it begins what the name stands for."""
    since = datetime.now().astimezone().isoformat(" ", "seconds") if working else ""
    text = f"{os.getpid()} {psutil.Process().create_time()} {platform.node()} {since}"
    (folder / f".{name}.pid").unlink(missing_ok=True)  # that of somebody else, which may not be written to
    (folder / f".{name}.pid").write_text(text, encoding="utf-8")


def lock_owner(folder: Path, name: str) -> tuple[str, str] | None:
    """Which process holds a name, in words, and since when it works on it (empty: it has not begun).

    None where no process does, or it has died.
    """
    try:
        pid, started, host, since = (folder / f".{name}.pid").read_text(encoding="utf-8").split(" ", 3)
        if host != platform.node():
            return (f"process {pid} on {host}", since) if is_held(folder / f".{name}.lock") else None
        # numbers are used again; a clock that is set moves these times by a little
        same = abs(psutil.Process(int(pid)).create_time() - float(started)) < 60
        return (f"process {pid}", since) if same else None
    except (OSError, ValueError, psutil.Error):
        return None


def is_held(lock: Path) -> bool:
    """Whether a process, maybe on another machine, holds a lock; assumed where its file may not be opened."""
    from filelock import Timeout

    try:
        with open_lock(lock, timeout=0):
            return False
    except (Timeout, OSError):
        return True
