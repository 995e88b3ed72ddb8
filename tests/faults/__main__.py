"""All campaigns that look for faults, at a budget of one's own: ``python -m tests.faults --minutes 30 [--only NAME]``.

A campaign is a function ``campaign(seconds, seed)`` in a module of this folder. It tries inputs, or accidents, for
about so many seconds, gives text about what it tried, and raises an AssertionError that lists the faults it found.
Most take some of their ``readers``, too, and the ``least`` number of tries of each, as ``--tries`` does:
``python -m tests.faults --only runs --readers marks slides --tries 10000 --minutes 0``.
"""

from __future__ import annotations

import argparse
import inspect
import pkgutil
import sys
import time
from importlib import import_module
from types import ModuleType

from tests import faults


def find_campaigns() -> dict[str, ModuleType]:
    """Module name -> module, of all modules of this folder with a campaign."""
    names = [m.name for m in pkgutil.iter_modules(faults.__path__) if not m.name.startswith(("test_", "__"))]
    modules = {name: import_module(f"{faults.__name__}.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "campaign")}


def main() -> int:
    """Exit code: 1 where a campaign found a fault."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30, help="for all campaigns together (default: 30)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of the campaigns")
    parser.add_argument("--readers", nargs="+", metavar="NAME", help="some of what a campaign reads, by its `READERS`")
    parser.add_argument("--tries", type=int, metavar="N", help="at least so many mutations of each")
    known = find_campaigns()
    for name, module in known.items():
        about = module.__doc__.partition("\n")[0].replace("%", "%%")
        parser.epilog = f"{parser.epilog or 'campaigns:'}\n  {name:10}{about}"
    options = parser.parse_args()
    if unknown := {*(options.only or ())} - known.keys():
        parser.error(f"no campaign is called {min(unknown)}; expected one of {', '.join(known)}")
    campaigns = {n: m for n, m in known.items() if options.only is None or n in options.only}
    print(f"seed {options.seed}; {', '.join(campaigns)}", flush=True)
    failed, asked = [], {"least": options.tries, "readers": options.readers}
    for name, module in campaigns.items():
        known = inspect.signature(module.campaign).parameters
        more = {key: value for key, value in asked.items() if value and key in known}
        began = time.process_time()
        try:
            said = module.campaign(60 * options.minutes / len(campaigns), options.seed, **more)
        except Exception as error:
            failed.append(name)
            said = f"{type(error).__name__}: {error}"
        spent = time.process_time() - began
        print(f"== {name}, {spent:.0f} s of this process\n{said or 'no fault'}", flush=True)
    print(f"faults in {', '.join(failed)}" if failed else "no fault")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
