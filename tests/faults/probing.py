"""In the kernel of a notebook: wherever a cell keeps something, forks of the kernel do; in each of them one call fails.

A fork stands for a run of its own that came as far as this call: it goes on with the cell, ends where that ends, and
says how. The kernel goes on as well, on top of what the accidents left. Once its cell has ended, forks of what it was
before the cell run the cell again, for calls that were made elsewhere; they find the rest kept. `STARTUP` is a startup
file of IPython, which begins it; `faulty.c` makes the calls fail.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fico_utils import files

STARTUP = "from tests.faults import probing\n\nprobing.Probe(get_ipython()).watch()\n"
#: Variables of a kernel: the state file of `faulty.c`, and the file to which the forks say how they ended.
STATE, TOLD = "PROBE_STATE", "PROBE_TOLD"
#: Exit code of a fork in which something was kept, and nothing failed that had to end it.
SURVIVED = 7


def probing_environment(folder: Path, state: Path, told: Path) -> dict[str, str]:
    """Variables of a run whose kernels fail in forks; `folder` is to hold IPython's profile."""
    startup = folder / "profile_default/startup"
    startup.mkdir(parents=True)
    (startup / "00-probing.py").write_text(STARTUP)
    return {"IPYTHONDIR": str(folder), STATE: str(state), TOLD: str(told)}


def failed_calls(state: Path) -> list[str]:
    """The calls that have failed, in order."""
    return state.read_text(encoding="utf-8").splitlines() if state.is_file() else []


class Probe:
    """What a kernel does beside its cells."""

    def __init__(self, shell: Any) -> None:
        self.root, self.state, self.told = (Path(os.environ[name]) for name in ("FAULT_BELOW", STATE, TOLD))
        self.shell, self.kernel = shell, os.getpid()
        self.keeper: tuple[int, int] | None = None  # a fork that waits, and the pipe whose end wakes it
        self.tried: set[str] = set()  # what was kept in forks

    def watch(self) -> None:
        """Fork before each cell, and wherever the package changes files; no module that does may be imported yet."""
        self.shell.events.register("pre_run_cell", self.before_cell)
        self.shell.events.register("post_run_cell", self.after_cell)
        atomic_path = files.atomic_path

        @contextmanager
        def path_in_forks(path: Any) -> Iterator[Path]:
            forked = self.fork_at(str(path))
            with atomic_path(path) as temporary:
                yield temporary
            if forked:
                os._exit(SURVIVED)

        files.atomic_path = path_in_forks
        files.note = self.in_forks(files.note, lambda *_: "note")
        from fico_utils.artifacts import Store, Units

        locked = Store.locked

        @contextmanager
        def locked_in_forks(store: Store, path: Path) -> Iterator[None]:
            forked = self.fork_at("lock")
            with locked(store, path):
                if forked:
                    os._exit(SURVIVED)
                yield

        Store.locked = locked_in_forks
        for name in ("write", "remove"):
            place = lambda units, *_, name=name: f"{name} units of {units.folder}"  # noqa: E731
            setattr(Units, name, self.in_forks(getattr(Units, name), place))

    def in_forks(self, function: Callable, place: Callable[..., str]) -> Callable:
        """A function whose calls may fail in forks, which end with it where they do not."""

        def call(*arguments: Any, **keywords: Any) -> Any:
            forked = self.fork_at(place(*arguments))
            result = function(*arguments, **keywords)
            if forked:
                os._exit(SURVIVED)
            return result

        return call

    def fork_at(self, place: str) -> bool:
        """Whether this process is a fork, in which the next call fails that never did; the kernel waits for forks."""
        pattern = re.sub(r"[0-9a-f]{16}|\d{3,}", "*", place)
        if os.getpid() != self.kernel or not self.keeper or pattern in self.tried:
            return False
        self.tried.add(pattern)
        return self.fork_while_something_fails()

    def before_cell(self, cell: Any) -> None:
        """Leave a fork that knows what was before the cell; it returns to the cell in forks of its own."""
        if not cell.store_history:  # the kernel's own, as it starts
            return
        wait, wake = os.pipe()
        keeper = os.fork()
        if keeper:
            os.close(wait)
            self.keeper = keeper, wake
            return
        os.close(wake)
        os.read(wait, 1)  # until the kernel has closed the other end
        if not self.fork_while_something_fails():
            os._exit(0)

    def after_cell(self, _: Any) -> None:
        """Let that fork look for the calls that are left."""
        if os.getpid() == self.kernel and self.keeper:
            (keeper, wake), self.keeper = self.keeper, None
            os.close(wake)
            if os.waitpid(keeper, 0)[1]:
                self.say(new=[], status="the fork before the cell has failed")

    def fork_while_something_fails(self) -> bool:
        """False after a fork in which nothing failed; True in each fork, where a call is going to fail."""
        while True:
            before = failed_calls(self.state)
            child = os.fork()
            if not child:
                self.fail_in_silence(len(before))
                return True
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            files.remove_unfinished(self.root)  # as the runner does
            hidden = [p.name for p in self.root.rglob(".*") if p.is_file() and p.suffix not in (".lock", ".pid")]
            new = failed_calls(self.state)[len(before) :]
            if code not in (0, SURVIVED) or hidden:
                self.say(new=new, status=code, hidden=hidden)
            elif new and code == SURVIVED:
                self.say(new=new, said=None)
            if not new:
                return False

    def fail_in_silence(self, known: int) -> None:
        """Let the next call of this fork fail that never did; it says nothing, and ends with its cell."""

        def end(result: Any) -> None:
            error = result.error_before_exec or result.error_in_exec
            said = error and f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"  # as `Execution`
            self.say(new=failed_calls(self.state)[known:], said=said)
            os._exit(0)

        self.kernel = 0
        self.shell.kernel.session.send = lambda *_, **__: {}
        sys.stdout = sys.stderr = io.StringIO()
        self.shell.events.register("post_run_cell", end)
        os.environ["FAULT_STATE"] = str(self.state)
        os.environ.pop("FAULT_SEEN", None)  # such as what tidies up

    def say(self, **what: Any) -> None:
        """Append a line of JSON to what the forks say."""
        with self.told.open("a", encoding="utf-8") as file:
            file.write(json.dumps(what) + "\n")
