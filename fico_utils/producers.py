"""Who makes results: every producer has an id and states a whole number, its ``VERSION``, beside its code.

The number is part of the key of everything that the producer makes. It is raised when the meaning of what is made
changes, and only then; ``check --versions`` notices when it should have been raised. A module states ``VERSIONS``, a
dict of producers, or, as a system's file in ``models/`` does, ``VERSION``, its own. The numbers are read from the text
of the modules, since importing a model loads torch.
"""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

from fico_utils.provenance import PACKAGE

_STATED = re.compile(r"^(VERSIONS?)(?:: [^=]+)? = ((?:\{[^}]*\})|\d+)", re.MULTILINE)
#: Producers whose code others run through: raising the number on the right raises those on the left too. Every system
#: is trained by one loop, and a scene has a picture.
SHARED = {"pictoscenes": ("drawing",), "models": ("training",)}


def version_of(producer: str) -> int:
    """The number that stands in the keys of what a producer makes: its own, and what was raised in shared code."""
    stated, own = stated_versions(), stated_by(producer)
    shared = SHARED["models"] if own in system_producers() else SHARED.get(own, ())
    return stated[own] + sum(stated[other] - 1 for other in shared)


def stated_by(producer: str) -> str:
    """Whose statement counts for a producer: its own; of a system such as ``adv_64``, that of its file, ``adv``."""
    stated = stated_versions()
    if producer not in stated:
        files = (s for s in system_producers() if producer.startswith(f"{s}_"))
        producer = max(files, key=len, default=producer)
    assert producer in stated, f"no module states a VERSION of {producer!r}"
    return producer


def stated_versions() -> dict[str, int]:
    """Producer -> the version that its module states."""
    return {producer: version for producer, (version, _) in _statements().items()}


def stated_in(producer: str) -> Path:
    """The module that states the version of a producer, relative to the package."""
    return _statements()[stated_by(producer)][1]


def system_producers() -> list[str]:
    """Producers that are systems: the files in ``models/`` that state a ``VERSION`` of their own."""
    return [p for p, (_, path) in _statements().items() if path.parts[0] == "models" and p == path.stem]


@lru_cache(maxsize=1)
def _statements() -> dict[str, tuple[int, Path]]:
    """Producer -> (version, module)."""
    statements: dict[str, tuple[int, Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for name, value in _STATED.findall(path.read_text(encoding="utf-8")):
            stated = ast.literal_eval(value) if name == "VERSIONS" else {path.stem: int(value)}
            statements |= {producer: (version, path.relative_to(PACKAGE)) for producer, version in stated.items()}
    return statements
