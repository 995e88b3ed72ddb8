"""The command line: ``fico VERB ...`` or ``python -m fico_utils VERB ...``.

A verb is a module of `VERB_PACKAGES`: its name is that of the file, `HELP` is one line about it,
``add_arguments(parser)`` adds its arguments, and ``run(options)`` does the work and returns the exit code.
Exit codes: 0 good, 1 a step failed, 2 bad usage or bad input (one sentence on stderr); one that a signal stops gives
128 and its number, as shells do: 130 after Ctrl-C, 143 after SIGTERM.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from fico_utils import __version__
from fico_utils.errors import InputError
from fico_utils.escaping import one_line, printable
from fico_utils.stopping import stop_by_signals

#: The packages whose modules are verbs.
VERB_PACKAGES = ("fico_utils.verbs", "fico_utils.extras.verbs")
#: Of an option that may be given more than once.
REPEATED: dict[str, Any] = {"action": "append", "default": []}


def find_verbs(only: str | None = None) -> dict[str, ModuleType]:
    """Verb -> its module, in alphabetical order; `only` that verb where there is one, as modules take time to load."""
    packages = [import_module(name) for name in VERB_PACKAGES]
    names = {v.name: f"{package.__name__}.{v.name}" for package in packages for v in iter_modules(package.__path__)}
    return {verb: import_module(names[verb]) for verb in ([only] if only in names else sorted(names))}


def command_parser(verb: str | None = None) -> argparse.ArgumentParser:
    """The argument parser of `verb`; of all verbs, without their arguments, where there is no such verb."""
    description = "Fine-grained and coarse-grained image-text retrieval, compared."
    top = argparse.ArgumentParser("python -m fico_utils", description=description, allow_abbrev=False)
    top.add_argument("--version", action="version", version=__version__)
    subparsers = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, module in find_verbs(verb).items():
        # a slip of the pen must not pass for another option, so that nothing may be abbreviated
        parser = subparsers.add_parser(name, help=module.HELP, allow_abbrev=False)
        if name == verb:
            module.add_arguments(parser)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code of a command line; argparse ends the process itself, with 2, where the usage is wrong."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if sys.version_info < (3, 11):  # noqa: UP036 (a checkout can be run without being installed)
        print(f"Python {sys.version.split()[0]} runs this; set up .venv with 3.11 or newer", file=sys.stderr)
        return 2
    verb = next((a for a in arguments if not a.startswith("-")), None)

    def work() -> int:
        options = command_parser(verb).parse_args(arguments)
        return find_verbs(verb)[options.verb].run(options)

    return guarded(f"fico_utils {verb}", work)


def guarded(name: str, work: Callable[[], int]) -> int:
    """Exit code of the work of a command: its own; or, after one sentence, of bad input or of a signal."""
    if getattr(sys.stdout, "errors", "") == "strict":  # a letter that a terminal does not know ends no command
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with stop_by_signals():
            from fico_utils.files import refuse_unwritable  # numpy comes with it, and a signal may come before

            with refuse_unwritable():  # such as on a disk that is full, or where a name is too long
                return work()
    except InputError as error:
        print(f"{name}: {one_line(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return getattr(error, "exit_code", 130)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        return 0


def add_common_options(
    parser: argparse.ArgumentParser, profile: str = "mini", *, changes: bool = False, force: bool = False
) -> None:
    """Add ``--profile``, ``--out`` and ``--quiet``, and, where asked for, ``--set`` and ``--force``."""
    parser.add_argument("--profile", default=profile, help=f"a file of configs/, without .yaml (default: {profile})")
    out = "results folder (default: results/PROFILE); PROFILE is added where DIR lacks it"
    parser.add_argument("--out", metavar="DIR", help=out)
    parser.add_argument("--quiet", action="store_true", help="say nothing but problems and the last line")
    if changes:
        text = "change a parameter; a YAML literal, a list may be 1,5,10; may be repeated"
        parser.add_argument("--set", "-s", dest="changes", metavar="NAME=VALUE", help=text, **REPEATED)
    if force:
        parser.add_argument("--force", action="store_true", help="execute the notebook even where its step is fresh")


def natural_number(text: str) -> int:
    """A whole number of 0 or more from the command line, in ASCII digits and within int64.

    >>> natural_number("12")
    12
    """
    if not re.fullmatch("[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"expected a whole number of 0 or more, such as 12, got {text[:40]!r}")
    return int(text)


def progress_printer(quiet: bool) -> Callable[[str], None]:
    """What prints a line of progress, or drops it under ``--quiet``."""
    return (lambda line: None) if quiet else (lambda line: print(printable(line), flush=True))


def update_report(batch: Any) -> str:
    """Path of the report of a `Batch`, just written."""
    from fico_utils.batch.pipeline import step_states
    from fico_utils.registry import REPORT, load_entry

    states = step_states(batch).items()
    rows = [{"id": step.id, "notebook": step.notebook, "state": state.name, "why": state.why} for step, state in states]
    return str(load_entry(REPORT)(batch.root, batch.profile, rows))
