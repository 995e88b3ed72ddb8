"""All campaigns that look for faults, at a budget of one's own: ``python -m tests.faults --minutes 30 [--only NAME]``.

A campaign is a function ``campaign(seconds, seed)`` in a module of this folder. It tries inputs, or accidents, for
about so many seconds, gives text about what it tried, and raises an AssertionError that lists the faults it found.
"""

from __future__ import annotations

import argparse
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
    known = find_campaigns()
    for name, module in known.items():
        about = module.__doc__.partition("\n")[0].replace("%", "%%")
        parser.epilog = f"{parser.epilog or 'campaigns:'}\n  {name:10}{about}"
    options = parser.parse_args()
    if unknown := {*(options.only or ())} - known.keys():
        parser.error(f"no campaign is called {min(unknown)}; expected one of {', '.join(known)}")
    campaigns = {n: m for n, m in known.items() if options.only is None or n in options.only}
    print(f"seed {options.seed}; {', '.join(campaigns)}", flush=True)
    failed = []
    for name, module in campaigns.items():
        try:
            said = module.campaign(60 * options.minutes / len(campaigns), options.seed)
        except Exception as error:
            failed.append(name)
            said = f"{type(error).__name__}: {error}"
        print(f"== {name}\n{said or 'no fault'}", flush=True)
    print(f"faults in {', '.join(failed)}" if failed else "no fault")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
