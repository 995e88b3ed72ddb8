"""Locks between processes: a name below a folder is held by one process, which a file beside the lock names."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from fico_utils.errors import InputError
from fico_utils.files import refuse_unwritable


@contextmanager
def hold_locks(folder: Path, names: Sequence[str]) -> Iterator[None]:
    """Hold some names below a folder, all or none; a lock that a dead process left is taken over, and that is said.

    InputError where another process holds one of them, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    dead = []
    with ExitStack() as stack:
        for name in names:
            pid_file = folder / f".{name}.pid"
            with refuse_unwritable(folder):
                folder.mkdir(parents=True, exist_ok=True)
                try:
                    stack.enter_context(FileLock(folder / f".{name}.lock", timeout=0))
                except Timeout as error:
                    owner = lock_owner(folder, name)
                    process = f" (process {owner})" if owner else ""
                    raise InputError(
                        f"another run{process} is writing to {folder.parent}; wait for it, or choose another with --out"
                    ) from error
                if pid_file.is_file():
                    dead.append(pid_file.read_text(encoding="utf-8").partition(" ")[0])
                stack.callback(pid_file.unlink, missing_ok=True)
                pid_file.write_text(f"{os.getpid()} {psutil.Process().create_time()}", encoding="utf-8")
        if dead:
            print(f"process {dead[0]} ended without unlocking {folder.parent}; its lock is taken over", file=sys.stderr)
        yield


def lock_owner(folder: Path, name: str) -> int | None:
    """The process that holds a name; None where there is none, or where it has died."""
    try:
        pid, started = (folder / f".{name}.pid").read_text(encoding="utf-8").split(" ")
        return int(pid) if psutil.Process(int(pid)).create_time() == float(started) else None
    except (OSError, ValueError, psutil.Error):
        return None
